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
"""Videos and images as training data of the tokenizers and detokenizers."""

import itertools
from abc import abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.nn import functional as F
from transformers.image_utils import load_image
from transformers.utils import logging

from training.sources import READING_ERRORS, InputSpec, read_units
from transformers_videolavit import VideoDecodingError
from transformers_videolavit.video_decoding import VideoFileFrames, resample


logger = logging.get_logger(__name__)

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def find_media(paths: list[str], kind: str) -> list[str]:
    """
    Paths of videos or images.

    Args:
        paths (`list[str]`): Folders, which are searched with all that is in them, files, and tables (see [`InputSpec`]).
        kind (`str`): `"video"` or `"image"`.

    Raises:
        ValueError: If there is none.
    """
    suffixes = VIDEO_SUFFIXES if kind == "video" else IMAGE_SUFFIXES
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in suffixes)
        elif path.suffix.lower() in suffixes:
            found.append(str(path))
        elif not path.exists():
            raise ValueError(f"There are no {kind}s in {str(path)!r}: it does not exist.")
        else:
            units = read_units(InputSpec(str(path), kind), "all", unit_size=10**9)
            found += [item.media for unit in units for item in unit.items]
    if not found:
        raise ValueError(f"There are no {kind}s in {paths}.")
    return found


class _ReadableSamples(torch.utils.data.Dataset):
    """Samples of which one that cannot be read is named in a warning and replaced by another, the same in every run."""

    # Files in a row that may fail before their folder is to blame.
    max_replacements = 16

    def __init__(self, files: list[str], seed: int):
        self.files = files
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.files)

    def set_epoch(self, epoch: int) -> None:
        """Has what is drawn at random drawn anew."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = np.random.default_rng((self.seed, self.epoch, index))
        replacements = generator.integers(len(self), size=self.max_replacements).tolist()
        for candidate in (index, *replacements):
            try:
                return self.read(self.files[candidate], generator)
            except READING_ERRORS as error:
                logger.warning(f"{self.files[candidate]!r} is left out: {error}")
                last_error = error
        raise ValueError(f"{self.files[index]!r} and {self.max_replacements} others cannot be read.") from last_error

    @abstractmethod
    def read(self, file: str, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        """Reads a file."""


class ImageDataset(_ReadableSamples):
    """
    Images, as the image encoder takes them.

    Args:
        files (`list[str]`): Paths.
        image_processor ([`VideoLaVITImageProcessor`]): Resizes and normalises.
        frame_size (`tuple[int, int]`, *optional*): Height and width of the picture that is also returned for a detokenizer. The
            image is cut to their aspect ratio first, around its centre.
        seed (`int`, defaults to 0): Seed of the replacements.

    Returns:
        `dict[str, torch.Tensor]`: An item has `pixel_values`, of shape (3, height, width), normalised, and with `frame_size`
        `image`, of shape (3, *frame_size), -1 ... 1, and `original_size`, its height and width.
    """

    def __init__(
        self, files: list[str], image_processor: Any, frame_size: tuple[int, int] | None = None, seed: int = 0
    ):
        super().__init__(files, seed)
        self.image_processor = image_processor
        self.frame_size = frame_size

    def read(self, file: str, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        image = np.array(load_image(file))
        if self.frame_size is not None:
            image = crop_to_aspect(image[None], self.frame_size)[0]
        pixel_values = self.image_processor(image, input_data_format="channels_last", return_tensors="pt")[
            "pixel_values"
        ]
        item = {"pixel_values": pixel_values[0]}
        if self.frame_size is not None:
            item["image"] = resize_frames(image[None], self.frame_size)[0]
            item["original_size"] = torch.tensor(image.shape[:2])
        return item


class VideoClipDataset(_ReadableSamples):
    """
    One clip of each video, of frames at the motion codec's rate, at a place that is drawn anew in each epoch.

    The place depends on the seed, the epoch and the index only, so that a run that resumes sees the same clips. A video that is
    shorter than a clip is followed by still frames.

    Args:
        files (`list[str]`): Paths.
        video_processor ([`VideoLaVITVideoProcessor`]): Extracts the keyframe and the motion.
        frame_size (`tuple[int, int]`, *optional*): Height and width of the frames that are also returned, for the video detokenizer. The
            video is cut to their aspect ratio first, around its centre.
        seed (`int`, defaults to 0): Seed of the places.

    Returns:
        `dict[str, torch.Tensor]`: An item has `pixel_values`, the keyframe, of shape (3, height, width), normalised;
        `motion_vectors`, of shape (2, frames, rows, columns), in tenths of their standard deviation; and with `frame_size`
        `frames`, of shape (frames, 3, *frame_size), -1 ... 1.
    """

    def __init__(
        self, files: list[str], video_processor: Any, frame_size: tuple[int, int] | None = None, seed: int = 0
    ):
        super().__init__(files, seed)
        self.video_processor = video_processor
        self.frame_size = frame_size

    def read(self, file: str, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        num_frames = self.video_processor.num_frames
        frames = read_frames(file, self.video_processor.fps, num_frames, generator.random())
        if self.frame_size is not None:
            frames = crop_to_aspect(frames, self.frame_size)
        video = self.video_processor(
            [frames],
            video_metadata=[{"fps": self.video_processor.fps}],
            do_sample_frames=False,
            clip_sampling="all",
            return_tensors="pt",
        )
        item = {"pixel_values": video["pixel_values_videos"][0], "motion_vectors": video["motion_vectors"][0]}
        if self.frame_size is not None:
            resized = resize_frames(frames, self.frame_size)
            missing = num_frames - len(resized)
            item["frames"] = torch.cat((resized, resized[-1:].expand(missing, -1, -1, -1))) if missing else resized
        return item


class JoinedSamples(torch.utils.data.ConcatDataset):
    """Several sets, one after another, that are told of epochs."""

    def set_epoch(self, epoch: int) -> None:
        """Has what is drawn at random drawn anew."""
        for dataset in self.datasets:
            dataset.set_epoch(epoch)


def read_frames(file: str, fps: float, num_frames: int, place: float) -> np.ndarray:
    """
    Decodes a clip of a video.

    Args:
        file (`str`): The video.
        fps (`float`): Frames per second to resample to.
        num_frames (`int`): Frames of the clip; a shorter video gives all it has.
        place (`float`): Where the clip is: 0 is the beginning, 1 the last place at which the video still has a whole clip.

    Returns:
        `np.ndarray` of shape (frames, height, width, 3): RGB, 0 ... 255.

    Raises:
        VideoDecodingError: If the file is no video, or has no two frames.
    """
    try:
        with av.open(file) as container:
            seconds = _video_seconds(container)
    except av.FFmpegError as error:
        raise VideoDecodingError(f"{file!r} cannot be opened: {error}") from error
    start = int(place * (max(0, int(seconds * fps) - num_frames) + 1))
    with closing(resample(VideoFileFrames(file), fps)) as frames:
        decoded = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(frames, start, start + num_frames)]
    if len(decoded) < 2:
        raise VideoDecodingError(f"{file!r} has no two frames from frame {start} on at {fps} frames per second.")
    return np.stack(decoded)


def _video_seconds(container: av.container.InputContainer) -> float:
    """Duration of a file's video, which may end before its sound; the file's where the video announces none."""
    for stream in container.streams.video:
        is_cover = stream.disposition & av.stream.Disposition.attached_pic
        if stream.duration is not None and not is_cover:
            return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / av.time_base


def crop_to_aspect(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cuts frames of shape (frames, height, width, 3) to the aspect ratio of a height and a width, around the centre."""
    height, width = frames.shape[1:3]
    new_height, new_width = (
        min(height, round(width * size[0] / size[1])),
        min(width, round(height * size[1] / size[0])),
    )
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return frames[:, top : top + new_height, left : left + new_width]


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Frames of shape (frames, height, width, 3), 0 ... 255, at another size: (frames, 3, *size), -1 ... 1."""
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(tensor, size=size, mode="bicubic", antialias=True).clamp(-1, 1)
