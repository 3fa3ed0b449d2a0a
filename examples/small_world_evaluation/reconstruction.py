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
"""What is left of a video that goes through keyframe and motion tokens."""

from collections import defaultdict

import numpy as np
import torch
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure
from tqdm.auto import tqdm

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import VideoLaVITKeyframeTokenizer, VideoLaVITVideoProcessor
from videolavit_metrics import mean


# Pixels that differ from the keyframe by more than this, of 1, in some frame around them have moved.
MOVING_DIFFERENCE = 0.08


@torch.no_grad()
def measure_reconstruction(
    pipe: VideoLaVITDetokenizerPipeline,
    keyframe_tokenizer: VideoLaVITKeyframeTokenizer,
    video_processor: VideoLaVITVideoProcessor,
    clips: list[dict[str, torch.Tensor]],
    num_inference_steps: int,
    seed: int = 0,
    batch_size: int = 8,
) -> dict:
    """
    Rebuilds clips in several ways and compares the frames with those that there were.

    Args:
        pipe ([`VideoLaVITDetokenizerPipeline`]): The detokenizer, with its motion tokenizer.
        keyframe_tokenizer ([`VideoLaVITKeyframeTokenizer`]): For the way in which the keyframe goes through its tokens, too.
        video_processor ([`VideoLaVITVideoProcessor`]): Has the motion's scale.
        clips (`list[dict[str, torch.Tensor]]`): Items of `VideoClipDataset` with `frames`.
        num_inference_steps (`int`): Denoising steps.
        seed (`int`, defaults to 0): Seed of the noise.
        batch_size (`int`, defaults to 8): Clips at a time.

    Returns:
        `dict`: "ways": for each way "psnr", "psnr_moving" (of the pixels that move, in clips where some do) and "ssim";
        "gain_moving": how much higher the PSNR of moving pixels is than with the keyframe repeated; "motion": the error of
        the motion after its tokens, as the mean length of the difference over that of the motion, and as decibels.
    """
    measured: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    gains: dict[str, list[float]] = defaultdict(list)
    motion_errors, motion_decibels = [], []
    for start in tqdm(range(0, len(clips), batch_size), desc="Rebuilding videos"):
        batch = clips[start : start + batch_size]
        frames = torch.stack([item["frames"] for item in batch]) / 2 + 0.5
        motion_vectors = torch.stack([item["motion_vectors"] for item in batch]).to(pipe.unet.device)
        pixel_values = torch.stack([item["pixel_values"] for item in batch]).to(pipe.unet.device)
        keyframes = [clip[0] for clip in frames]
        motion_codes = pipe.motion_tokenizer.encode(motion_vectors)
        restored = pipe.motion_tokenizer.decode(motion_codes).float()
        for original, decoded in zip(motion_vectors.float(), restored):
            length = original.norm(dim=0).mean()
            if length > 0:
                motion_errors.append(float((original - decoded).norm(dim=0).mean() / length))
                motion_decibels.append(
                    float(10 * torch.log10(original.square().mean() / F.mse_loss(decoded, original)))
                )
        sources = {
            "keyframe and motion tokens": {"image": keyframes, "motion_codes": motion_codes},
            "keyframe and codec motion": {"image": keyframes, "motion_vectors": motion_vectors},
            "keyframe tokens and motion tokens": {
                "visual_codes": keyframe_tokenizer.encode(pixel_values),
                "motion_codes": motion_codes,
            },
        }
        rebuilt = {"keyframe repeated": frames[:, :1].expand_as(frames)}
        for name, source in sources.items():
            rebuilt[name] = pipe(
                **source,
                height=frames.shape[-2],
                width=frames.shape[-1],
                num_inference_steps=num_inference_steps,
                keyframe_num_inference_steps=num_inference_steps,
                fps=video_processor.fps,
                generator=[torch.Generator().manual_seed(seed + start + index) for index in range(len(batch))],
                output_type="pt",
            ).frames.cpu()
        moving = moving_pixels(frames)
        for name, result in rebuilt.items():
            for clip, original, mask in zip(result.float(), frames, moving):
                values = measured[name]
                values["psnr"].append(decibels(clip, original))
                values["psnr_moving"].append(decibels(clip, original, mask))
                values["ssim"].append(float(structural_similarity_index_measure(clip, original, data_range=1.0)))
                still = decibels(original[:1].expand_as(original), original, mask)
                gains[name].append(values["psnr_moving"][-1] - still)
    return {
        "ways": {
            name: {measure: mean(numbers) for measure, numbers in values.items()} for name, values in measured.items()
        },
        "gain_moving": {name: mean(values) for name, values in gains.items() if name != "keyframe repeated"},
        "motion": {"relative_error": mean(motion_errors), "signal_to_noise": mean(motion_decibels)},
    }


def moving_pixels(frames: torch.Tensor) -> torch.BoolTensor:
    """
    Which pixels of videos change.

    Args:
        frames (`torch.Tensor` of shape (batch_size, num_frames, 3, height, width)): Values from 0 to 1.

    Returns:
        `torch.BoolTensor` of shape (batch_size, num_frames, 1, height, width).
    """
    changes = (frames - frames[:, :1]).abs().amax(dim=2, keepdim=True)
    around = F.max_pool2d(changes.flatten(0, 1), kernel_size=3, stride=1, padding=1).unflatten(0, frames.shape[:2])
    return around > MOVING_DIFFERENCE


def decibels(frames: torch.Tensor, original: torch.Tensor, mask: torch.Tensor | None = None) -> float:
    """
    Peak signal-to-noise ratio, of the pixels of a mask if there is one.

    Args:
        frames (`torch.Tensor` of shape (num_frames, 3, height, width)): Values from 0 to 1.
        original (`torch.Tensor` of the same shape): What they should be.
        mask (`torch.BoolTensor` of shape (num_frames, 1, height, width), *optional*): Which pixels count.

    Returns:
        `float`: The ratio, at most 100; not a number where no pixel counts.
    """
    errors = (frames - original).square()
    if mask is not None:
        errors = errors[mask.expand_as(errors)]
    if errors.numel() == 0:
        return float("nan")
    return float(-10 * np.log10(max(float(errors.mean()), 1e-10)))
