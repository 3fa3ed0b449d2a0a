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
import pytest
import tiny_diffusers_models as tiny
import torch

from diffusers_videolavit import MotionConditionEncoder


@pytest.fixture
def weights():
    return dict(tiny.load_motion_encoder().state_dict())


def test_weights_are_taken_from_a_dictionary(weights):
    model = MotionConditionEncoder.from_single_file(weights, **tiny.motion_encoder_config())
    assert not model.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_weights_are_cast(weights):
    model = MotionConditionEncoder.from_single_file(weights, torch_dtype=torch.float16, **tiny.motion_encoder_config())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}


def test_weights_of_another_model_are_refused(weights):
    config = tiny.motion_encoder_config()
    with pytest.raises(ValueError, match=r"missing \['proj_in.bias'\]"):
        MotionConditionEncoder.from_single_file({k: v for k, v in weights.items() if k != "proj_in.bias"}, **config)
    with pytest.raises(ValueError, match=r"unknown \['more'\]"):
        MotionConditionEncoder.from_single_file(weights | {"more": torch.zeros(1)}, **config)
    with pytest.raises(ValueError, match=r"other shapes \['proj_in.bias'\]"):
        MotionConditionEncoder.from_single_file(weights | {"proj_in.bias": torch.zeros(1)}, **config)
    with pytest.raises(ValueError, match="not those of MotionConditionEncoder"):
        MotionConditionEncoder.from_single_file(weights)
