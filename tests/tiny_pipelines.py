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
"""The tiny reference checkpoint in `tests/fixtures/tiny/checkpoint`, loaded into the pipelines."""

import torch
from tiny_diffusers_models import (
    CHECKPOINT,
    load_keyframe_scheduler,
    load_keyframe_token_decoder,
    load_keyframe_unet,
    load_keyframe_vae,
    load_motion_encoder,
    load_video_scheduler,
    load_video_unet,
    load_video_vae,
    sizes,
)
from tiny_models import load_tiny_causal_lm, load_tiny_motion_tokenizer

from diffusers_videolavit import VideoLaVITDetokenizerPipeline, VideoLaVITKeyframePipeline
from transformers_videolavit import (
    VideoLaVITImageProcessor,
    VideoLaVITProcessor,
    VideoLaVITVideoProcessor,
    build_videolavit_tokenizer,
)


def generators(*seeds: int) -> list[torch.Generator]:
    """One generator a seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def load_keyframe_pipeline() -> VideoLaVITKeyframePipeline:
    pipe = VideoLaVITKeyframePipeline(
        token_decoder=load_keyframe_token_decoder(),
        unet=load_keyframe_unet(),
        vae=load_keyframe_vae(),
        scheduler=load_keyframe_scheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_processor() -> VideoLaVITProcessor:
    size = {"height": sizes()["img"], "width": sizes()["img"]}
    return VideoLaVITProcessor(
        image_processor=VideoLaVITImageProcessor(size=size),
        tokenizer=build_videolavit_tokenizer(str(CHECKPOINT / "language_model")),
        video_processor=VideoLaVITVideoProcessor(size=size),
        num_image_tokens=(sizes()["img"] // 14) ** 2,
    )


def load_detokenizer_pipeline(
    with_keyframes: bool = True, with_motion_tokenizer: bool = True, with_language_model: bool = False
) -> VideoLaVITDetokenizerPipeline:
    """The pipeline with those of its optional components that a test needs."""
    components = {}
    if with_keyframes:
        components |= {
            "keyframe_token_decoder": load_keyframe_token_decoder(),
            "keyframe_unet": load_keyframe_unet(),
            "keyframe_vae": load_keyframe_vae(),
            "keyframe_scheduler": load_keyframe_scheduler(),
        }
    if with_motion_tokenizer:
        components["motion_tokenizer"] = load_tiny_motion_tokenizer()
    if with_language_model:
        components |= {"language_model": load_tiny_causal_lm(instruction_tuned=False), "processor": load_processor()}
    pipe = VideoLaVITDetokenizerPipeline(
        vae=load_video_vae(),
        unet=load_video_unet(),
        scheduler=load_video_scheduler(),
        motion_encoder=load_motion_encoder(),
        **components,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
