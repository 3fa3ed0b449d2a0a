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
Video-LaVIT for lmms-eval (https://github.com/EvolvingLMMs-Lab/lmms-eval), which finds it by its entry point:

    lmms_eval --model videolavit --model_args pretrained=video-lavit-sft --tasks mme,seedbench --batch_size 8
    lmms_eval --model videolavit_generation --tasks vbench --batch_size 4 \\
        --model_args pretrained=video-lavit,detokenizer=video-lavit-detokenizer,output_dir=vbench

lmms-eval pins older libraries than this package: see "Other evaluation suites" in CONTRIBUTING.md for an environment with both.
"""

from typing import Any


def manifests() -> list[Any]:
    """What lmms-eval is to know: the names of the models, and where their classes are."""
    # Only lmms-eval calls this.
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(model_id="videolavit", chat_class_path="videolavit_lmms_eval.models.VideoLaVIT"),
        ModelManifest(
            model_id="videolavit_generation", chat_class_path="videolavit_lmms_eval.models.VideoLaVITGeneration"
        ),
    ]
