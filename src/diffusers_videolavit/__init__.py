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
"""From Video-LaVIT's tokens to pixels, on diffusers. Classes are imported when they are first used."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .keyframe_token_decoder import KeyframeTokenDecoder
    from .motion_condition_encoder import MotionConditionEncoder
    from .pipeline_videolavit_detokenizer import VideoLaVITDetokenizerPipeline
    from .pipeline_videolavit_keyframe import VideoLaVITKeyframePipeline
    from .unet_spatio_temporal_motion_condition import UNetSpatioTemporalMotionConditionModel

__all__ = [
    "KeyframeTokenDecoder",
    "MotionConditionEncoder",
    "UNetSpatioTemporalMotionConditionModel",
    "VideoLaVITDetokenizerPipeline",
    "VideoLaVITKeyframePipeline",
]

_MODULES = {
    "KeyframeTokenDecoder": "keyframe_token_decoder",
    "MotionConditionEncoder": "motion_condition_encoder",
    "UNetSpatioTemporalMotionConditionModel": "unet_spatio_temporal_motion_condition",
    "VideoLaVITDetokenizerPipeline": "pipeline_videolavit_detokenizer",
    "VideoLaVITKeyframePipeline": "pipeline_videolavit_keyframe",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
