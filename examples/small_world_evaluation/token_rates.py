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
"""How many tokens a second of video takes, and what they buy."""

from collections.abc import Sequence

import numpy as np
import torch
from tqdm.auto import tqdm

from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import (
    VideoLaVITImageProcessor,
    VideoLaVITKeyframeTokenizer,
    VideoLaVITMotionTokenizer,
)
from videolavit_metrics import mean

from .reconstruction import decibels


# Into how many pictures a clip of 24 frames is cut when every picture has tokens of its own.
NUM_PICTURES = (1, 2, 3, 4, 6, 8, 12, 24)


def measure_frame_tokens(
    pipe: VideoLaVITDetokenizerPipeline,
    keyframe_tokenizer: VideoLaVITKeyframeTokenizer,
    image_processor: VideoLaVITImageProcessor,
    clips: list[dict[str, torch.Tensor]],
    fps: float,
    num_inference_steps: int,
    seed: int = 0,
) -> list[dict]:
    """
    Codes a clip as pictures with tokens of their own, each shown until the next, at several rates.

    Args:
        pipe ([`VideoLaVITDetokenizerPipeline`]): With the keyframe detokenizer.
        keyframe_tokenizer ([`VideoLaVITKeyframeTokenizer`]): Tokenizes every frame.
        image_processor ([`VideoLaVITImageProcessor`]): Prepares the frames for it.
        clips (`list[dict[str, torch.Tensor]]`): Items of `VideoClipDataset` with `frames`.
        fps (`float`): Frames per second.
        num_inference_steps (`int`): Denoising steps of a picture.
        seed (`int`, defaults to 0): Seed of the noise, the same for all frames of a clip.

    Returns:
        `list[dict]`: For each rate "pictures" a clip, "tokens_per_second" with `[IMG]` and `[/IMG]`, and "psnr".
    """
    results = {number: {"tokens": [], "psnr": []} for number in NUM_PICTURES}
    for number, item in enumerate(tqdm(clips, desc="Tokenizing every frame")):
        frames = item["frames"] / 2 + 0.5
        seconds = len(frames) / fps
        pixels = (frames * 255).round().byte()
        pixel_values = image_processor(list(pixels), return_tensors="pt")["pixel_values"]
        codes = keyframe_tokenizer.encode(pixel_values.to(pipe.unet.device))
        generators = [torch.Generator().manual_seed(seed + number) for _ in codes]
        decoded = pipe.keyframe(
            visual_codes=codes,
            height=frames.shape[-2],
            width=frames.shape[-1],
            num_inference_steps=num_inference_steps,
            generator=generators,
            output_type="pt",
        ).images.cpu()
        for pictures, values in results.items():
            shown = np.arange(len(frames)) * pictures // len(frames) * len(frames) // pictures
            values["tokens"].append(sum(len(codes[index]) + 2 for index in np.unique(shown)) / seconds)
            values["psnr"].append(decibels(decoded[shown].float(), frames))
    return [
        {"pictures": pictures, "tokens_per_second": mean(values["tokens"]), "psnr": mean(values["psnr"])}
        for pictures, values in results.items()
    ]


@torch.no_grad()
def measure_motion_tokens(
    pipe: VideoLaVITDetokenizerPipeline,
    motion_tokenizers: Sequence[VideoLaVITMotionTokenizer],
    clips: list[dict[str, torch.Tensor]],
    num_inference_steps: int,
    seed: int = 0,
    batch_size: int = 8,
) -> list[dict]:
    """
    What the number of motion tokens changes: clips are rebuilt from their keyframe and the motion that is left of it.

    Returns:
        `list[dict]`: For each motion tokenizer "tokens" a clip, "signal_to_noise" of the motion in decibels, and "psnr".
    """
    results = []
    for tokenizer in motion_tokenizers:
        tokenizer = tokenizer.to(pipe.unet.device).eval()
        ratios, ratios_of_frames = [], []
        for start in tqdm(
            range(0, len(clips), batch_size), desc=f"{tokenizer.config.num_motion_tokens} motion tokens"
        ):
            batch = clips[start : start + batch_size]
            frames = torch.stack([item["frames"] for item in batch]) / 2 + 0.5
            motion = torch.stack([item["motion_vectors"] for item in batch]).to(pipe.unet.device)
            restored = tokenizer.decode(tokenizer.encode(motion)).float()
            power = motion.square().mean(dim=(1, 2, 3, 4))
            errors = (restored - motion).square().mean(dim=(1, 2, 3, 4))
            ratios += (10 * torch.log10(power / errors))[power > 0].tolist()
            rebuilt = pipe(
                image=list(frames[:, 0]),
                motion_vectors=restored,
                height=frames.shape[-2],
                width=frames.shape[-1],
                num_inference_steps=num_inference_steps,
                generator=[torch.Generator().manual_seed(seed + start + index) for index in range(len(batch))],
                output_type="pt",
            ).frames.cpu()
            ratios_of_frames += [decibels(clip.float(), original) for clip, original in zip(rebuilt, frames)]
        results.append(
            {
                "tokens": tokenizer.config.num_motion_tokens,
                "signal_to_noise": mean(ratios),
                "psnr": mean(ratios_of_frames),
            }
        )
    return results
