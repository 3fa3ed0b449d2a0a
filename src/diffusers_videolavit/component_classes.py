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
Where diffusers looks up the classes of a saved pipeline's components that are not its own.

It resolves a class in a module that has been imported, and finds out how to load it from the base class of the same
name in the same module: hence the base classes here, which are not used otherwise.
"""

import importlib
from typing import Any

from diffusers import ModelMixin
from transformers import PreTrainedModel, ProcessorMixin


# The package of each class, which is imported when the class is first asked for.
COMPONENT_PACKAGES = {
    "KeyframeTokenDecoder": "diffusers_videolavit",
    "MotionConditionEncoder": "diffusers_videolavit",
    "UNetSpatioTemporalMotionConditionModel": "diffusers_videolavit",
    "VideoLaVITForCausalLM": "transformers_videolavit",
    "VideoLaVITMotionTokenizer": "transformers_videolavit",
    "VideoLaVITProcessor": "transformers_videolavit",
}

__all__ = ["COMPONENT_PACKAGES", "ModelMixin", "PreTrainedModel", "ProcessorMixin"]


def __getattr__(name: str) -> Any:
    if name not in COMPONENT_PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(COMPONENT_PACKAGES[name]), name)
