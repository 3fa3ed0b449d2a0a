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
"""Video-LaVIT (https://arxiv.org/abs/2402.03161) for transformers."""

import importlib


_MODULES = {
    "VideoDecodingError": "video_decoding",
    "VideoLaVITConfig": "configuration_videolavit",
    "VideoLaVITForCausalLM": "modeling_videolavit",
    "VideoLaVITImageProcessor": "image_processing_videolavit",
    "VideoLaVITImageProcessorPil": "image_processing_pil_videolavit",
    "VideoLaVITKeyframeTokenizer": "modeling_videolavit_keyframe_tokenizer",
    "VideoLaVITKeyframeTokenizerConfig": "configuration_videolavit",
    "VideoLaVITModel": "modeling_videolavit",
    "VideoLaVITMotionTokenizer": "modeling_videolavit_motion_tokenizer",
    "VideoLaVITMotionTokenizerConfig": "configuration_videolavit",
    "VideoLaVITProcessor": "processing_videolavit",
    "VideoLaVITVideoProcessor": "video_processing_videolavit",
    "VideoLaVITVisionConfig": "configuration_videolavit",
    "VideoLaVITVisionModel": "modeling_videolavit_vision",
    "build_videolavit_tokenizer": "tokenization_videolavit",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
