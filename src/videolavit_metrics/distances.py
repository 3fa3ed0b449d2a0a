# Copyright 2026 The transformers-videolavit authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
Distances between the features of sets of pictures or videos, and how varied and certain the classes of one set are.

The number depends on the network, its weights, how pictures are resized, how many frames a video has and how many there are. None of
this has a default here, and all of it is part of the result.
"""

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore as TorchmetricsInceptionScore


NUM_RESAMPLES = 16


@dataclass(frozen=True)
class FeatureProtocol:
    """
    What features are of.

    Args:
        network (`str`): What the network is called, such as "I3D, Kinetics-400".
        weights (`str` or `os.PathLike`): Its TorchScript file, which takes `float32` of shape (batch, 3, frames, height, width), of
            pictures (batch, 3, height, width), and returns (batch, features), or class scores for the Inception score.
        size (`tuple[int, int]`): Height and width that frames are resized to, bicubic with antialiasing.
        num_frames (`int`): Frames of a clip, the first ones of a video; 1 for pictures.
        mean (`tuple[float, float, float]`): Subtracted from pixels of 0 to 1, and
        std (`tuple[float, float, float]`): what the rest is divided by.
        seed (`int`): Of whatever is drawn at random.
    """

    network: str
    weights: str | os.PathLike
    size: tuple[int, int]
    num_frames: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int

    def describe(self) -> dict:
        """The protocol as JSON can hold it, with the hash of the weights."""
        digest = hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()
        return {**asdict(self), "weights": Path(self.weights).name, "weights_sha256": digest}


class _Identity(nn.Module):
    """What torchmetrics takes for a network: features are computed before."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


class _FeatureMetric:
    def __init__(self, protocol: FeatureProtocol, device: str = "cpu"):
        self.protocol = protocol
        self.device = device
        self.network = torch.jit.load(str(protocol.weights), map_location=device).eval()

    @torch.no_grad()
    def extract(self, videos: list[np.ndarray]) -> torch.Tensor:
        """
        Features of videos or pictures.

        Args:
            videos (`list[np.ndarray]`): Videos of shape (frames, height, width, 3), or pictures of shape (height, width, 3),
                `uint8`.

        Raises:
            ValueError: If one is no `uint8` array of such a shape, or has fewer frames than the protocol wants.
        """
        batch = torch.stack([self._prepare(video) for video in videos]).to(self.device)
        return self.network(batch).float().flatten(1)

    def _prepare(self, video: np.ndarray) -> torch.Tensor:
        protocol = self.protocol
        is_picture = protocol.num_frames == 1
        frames = video[None] if is_picture and video.ndim == 3 else video
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"A video must be uint8 of shape (frames, height, width, 3), not {video.dtype} of {video.shape}."
            )
        if len(frames) < protocol.num_frames:
            raise ValueError(f"A video has {len(frames)} frames, but the protocol wants {protocol.num_frames}.")
        pixels = (
            torch.from_numpy(np.ascontiguousarray(frames[: protocol.num_frames])).permute(0, 3, 1, 2).float() / 255
        )
        pixels = F.interpolate(pixels, size=protocol.size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(values)[:, None, None] for values in (protocol.mean, protocol.std))
        pixels = ((pixels - mean) / std).transpose(0, 1)  # (channels, frames, height, width)
        return pixels[:, 0] if is_picture else pixels


class FrechetDistance(_FeatureMetric):
    """
    Fréchet distance between the features of generated and of real videos (FVD, https://arxiv.org/abs/1812.01717) or pictures (FID,
    https://arxiv.org/abs/1706.08500).

    Args:
        protocol ([`FeatureProtocol`]): What the features are of.
        device (`str`, defaults to `"cpu"`): Where to compute them.
    """

    def __init__(self, protocol: FeatureProtocol, device: str = "cpu"):
        super().__init__(protocol, device)
        self._features: dict[str, list[torch.Tensor]] = {"real": [], "generated": []}

    def add(self, videos: list[np.ndarray], real: bool) -> None:
        """
        Takes videos or pictures into account.

        Args:
            videos (`list[np.ndarray]`): Of shape (frames, height, width, 3), or (height, width, 3), `uint8`.
            real (`bool`): Whether they are real, or generated.
        """
        self._features["real" if real else "generated"].append(self.extract(videos).cpu())

    def compute(self) -> dict:
        """
        The distance of what was added.

        Returns:
            `dict`: "distance", with "low" and "high" of its 95 % interval, "real" and "generated", how many there were, and
            "protocol". The interval is the distance's deviation over resamples of both sets, of the protocol's seed; it does not tell
            that the distance of fewer samples is larger.

        Raises:
            ValueError: If there are fewer than two real or two generated ones.
        """
        counts = {name: sum(map(len, features)) for name, features in self._features.items()}
        if min(counts.values()) < 2:
            raise ValueError(f"At least two real and two generated samples are needed, but there are {counts}.")
        sets = {name: torch.cat(features) for name, features in self._features.items()}
        distance = _frechet_distance(sets["real"], sets["generated"])
        generator = torch.Generator().manual_seed(self.protocol.seed)
        resampled = [
            _frechet_distance(
                *(
                    features[torch.randint(len(features), (len(features),), generator=generator)]
                    for features in (sets["real"], sets["generated"])
                )
            )
            for _ in range(NUM_RESAMPLES)
        ]
        half_width = 1.96 * stdev(resampled)
        return {
            "distance": distance,
            "low": max(0.0, distance - half_width),
            "high": distance + half_width,
            **counts,
            "protocol": self.protocol.describe(),
        }


def _frechet_distance(real: torch.Tensor, generated: torch.Tensor) -> float:
    metric = FrechetInceptionDistance(feature=_Identity(real.shape[1]))
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return float(metric.compute())


class InceptionScore(_FeatureMetric):
    """
    Inception score (https://arxiv.org/abs/1606.03498) of generated videos or pictures, of a network that gives class scores; for
    UCF-101 a C3D that was tuned on it.

    Args:
        protocol ([`FeatureProtocol`]): What the class scores are of. Its seed decides how samples are split.
        splits (`int`): Into how many parts they are split, over which the score is averaged.
        device (`str`, defaults to `"cpu"`): Where to compute.
    """

    def __init__(self, protocol: FeatureProtocol, splits: int, device: str = "cpu"):
        super().__init__(protocol, device)
        self.splits = splits
        self._scores: list[torch.Tensor] = []

    def add(self, videos: list[np.ndarray]) -> None:
        """Takes videos of shape (frames, height, width, 3), or pictures, `uint8`, into account."""
        self._scores.append(self.extract(videos).cpu())

    def compute(self) -> dict:
        """
        The score of what was added.

        Returns:
            `dict`: "inception_score", its "deviation" over the splits, with "low" and "high" of the 95 % interval of their mean, "count", "splits" and "protocol".

        Raises:
            ValueError: If there are fewer samples than splits.
        """
        scores = torch.cat(self._scores) if self._scores else torch.empty(0, 0)
        if len(scores) < self.splits:
            raise ValueError(f"{len(scores)} samples cannot be split into {self.splits} parts.")
        metric = TorchmetricsInceptionScore(feature=_Identity(scores.shape[1]), splits=self.splits)
        metric.update(scores)
        # The splits are drawn from the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.protocol.seed)
            score, deviation = metric.compute()
        return {
            "inception_score": float(score),
            "deviation": float(deviation),
            "low": float(score - 1.96 * deviation / self.splits**0.5),
            "high": float(score + 1.96 * deviation / self.splits**0.5),
            "count": len(scores),
            "splits": self.splits,
            "protocol": self.protocol.describe(),
        }
