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
import doctest
import importlib
import subprocess
import sys

import pytest
import torch

import diffusers_videolavit


torch.set_num_threads(1)


def test_import_is_light():
    code = (
        "import sys, diffusers_videolavit; "
        "heavy = {'torch', 'diffusers', 'transformers', 'transformers_videolavit'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_models_do_not_import_the_other_package():
    code = (
        "import sys; from diffusers_videolavit import KeyframeTokenDecoder, MotionConditionEncoder, "
        "UNetSpatioTemporalMotionConditionModel; assert 'transformers_videolavit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    assert set(diffusers_videolavit.__all__) <= set(dir(diffusers_videolavit))
    for name in ("KeyframeTokenDecoder", "MotionConditionEncoder", "UNetSpatioTemporalMotionConditionModel"):
        assert getattr(diffusers_videolavit, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'NoSuchModel'"):
        _ = diffusers_videolavit.NoSuchModel


@pytest.mark.parametrize(
    "module", ["keyframe_token_decoder", "motion_condition_encoder", "unet_spatio_temporal_motion_condition"]
)
def test_examples(module):
    torch.manual_seed(0)
    results = doctest.testmod(importlib.import_module(f"diffusers_videolavit.{module}"))
    assert results.attempted > 0 and results.failed == 0
