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
import json

import pytest
import tiny_diffusers_models as tiny
import torch

from diffusers_videolavit import (
    KeyframeTokenDecoder,
    MotionConditionEncoder,
    UNetSpatioTemporalMotionConditionModel,
)


DECODER_FILE = "visual_tokenizer/highres_tokenizer_decoder.bin"


@pytest.fixture(scope="module")
def conversion():
    return tiny.load_conversion_module("parameter_names_diffusers")


def original_on_meta(file):
    shapes = json.loads((tiny.FIXTURES / "original_parameters.json").read_text())[file]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def num_parameters(*models):
    return sum(parameter.numel() for model in models for parameter in model.parameters())


def test_video_detokenizer_at_full_size(conversion):
    motion_encoder_weights, unet_weights = conversion.convert_video_3d_unet(original_on_meta("video_3d_unet.bin"))
    with torch.device("meta"):
        motion_encoder, unet = MotionConditionEncoder(), UNetSpatioTemporalMotionConditionModel()
    assert shapes(motion_encoder_weights) == shapes(motion_encoder.state_dict())
    assert shapes(unet_weights) == shapes(unet.state_dict())
    assert num_parameters(motion_encoder, unet) == 1_575_723_882


def test_keyframe_token_decoder_at_full_size(conversion):
    codebook = original_on_meta("visual_tokenizer/tokenizer_encoder.bin")[conversion.CODEBOOK_NAME]
    weights = conversion.convert_keyframe_token_decoder(original_on_meta(DECODER_FILE), codebook)
    with torch.device("meta"):
        decoder = KeyframeTokenDecoder()
    assert shapes(weights) == shapes(decoder.state_dict())
    assert num_parameters(decoder) == 414_002_304


def test_video_detokenizer_there_and_back(conversion):
    original = tiny.load_pickle("video_3d_unet.bin")
    reverted = conversion.revert_video_3d_unet(*conversion.convert_video_3d_unet(original))
    assert reverted.keys() == original.keys()
    assert all(torch.equal(reverted[name], tensor) for name, tensor in original.items())


def test_keyframe_token_decoder_there_and_back(conversion):
    original = tiny.load_pickle(DECODER_FILE)
    codebook = tiny.load_pickle("visual_tokenizer/tokenizer_encoder.bin")[conversion.CODEBOOK_NAME]
    weights = conversion.convert_keyframe_token_decoder(original, codebook)
    reverted, reverted_codebook = conversion.revert_keyframe_token_decoder(weights)
    assert torch.equal(reverted_codebook, codebook)
    assert reverted.keys() == original.keys()
    assert all(torch.equal(reverted[name], tensor) for name, tensor in original.items())


def test_every_weight_has_one_place(conversion):
    for names in (conversion.motion_encoder_names(12), conversion.keyframe_token_decoder_names(12)):
        assert len(set(names.values())) == len(names)


def test_unknown_and_missing_names_are_refused(conversion):
    original = tiny.load_pickle(DECODER_FILE)
    with pytest.raises(ValueError, match=r"Unknown names: \['more'\]"):
        conversion.convert_keyframe_token_decoder(original | {"more": torch.zeros(1)}, torch.zeros(1))
    del original["norm.bias"]
    with pytest.raises(ValueError, match=r"missing names: \['norm.bias'\]"):
        conversion.convert_keyframe_token_decoder(original, torch.zeros(1))
    with pytest.raises(ValueError, match="neither of the motion encoder nor of the U-Net"):
        conversion.convert_video_3d_unet({"vae.weight": torch.zeros(1)})
