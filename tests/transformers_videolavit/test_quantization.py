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
"""Quantized loading: weights in eight bits for the language model, full precision for what makes tokens."""

import pytest
import torch
from torchao.quantization import Int8WeightOnlyConfig
from torchao.utils import TorchAOBaseTensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, QuantoConfig, TorchAoConfig
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small random model and its processor, saved."""
    from small_random_model import build_language_model

    folder = tmp_path_factory.mktemp("small")
    model, processor = build_language_model()
    model.save_pretrained(folder)
    return model, processor, folder


@pytest.fixture(scope="module")
def quantized(small):
    config = TorchAoConfig(Int8WeightOnlyConfig())
    return AutoModelForCausalLM.from_pretrained(small[2], quantization_config=config)


def is_quantized(weight):
    return isinstance(weight, TorchAOBaseTensor)


def test_the_language_model_is_quantized_and_what_makes_tokens_is_not(quantized):
    converted = {name for name, parameter in quantized.named_parameters() if is_quantized(parameter)}
    assert converted == {
        name
        for name, _ in quantized.named_parameters()
        if name.startswith("model.language_model.layers.") and name.endswith("_proj.weight")
    }
    for part in ("keyframe_tokenizer", "motion_tokenizer", "multi_modal_projector"):
        assert all(parameter.dtype == torch.float32 for parameter in getattr(quantized.model, part).parameters())


@torch.no_grad()
def test_logits_are_near_those_of_the_whole_model(small, quantized):
    ids = torch.arange(3, 40)[None]
    logits, expected = quantized(ids).logits, small[0](ids).logits
    assert (logits - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("mode", ["text", "image", "video"])
def test_a_quantized_model_generates_in_every_mode(small, quantized, mode):
    inputs = small[1](text="a sailboat", generation_mode=mode, return_tensors="pt")
    ids = quantized.generate(**inputs, generation_mode=mode, max_new_tokens=4)
    assert ids.shape[1] > inputs["input_ids"].shape[1]


def test_a_quantized_model_saves_and_loads(quantized, tmp_path):
    quantized.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(3, 40)[None]
    assert is_quantized(again.model.language_model.layers[0].mlp.up_proj.weight)
    assert torch.equal(again(ids).logits, quantized(ids).logits)


@pytest.mark.parametrize(
    "config",
    [BitsAndBytesConfig(load_in_8bit=True), BitsAndBytesConfig(load_in_4bit=True), QuantoConfig(weights="int8")],
    ids=["bitsandbytes-8bit", "bitsandbytes-4bit", "quanto"],
)
def test_other_quantizers_are_told_to_leave_the_tokenizers_alone(small, config):
    """All of transformers' quantizers ask the same function what to leave as it is."""
    skipped = HfQuantizer.get_modules_to_not_convert(small[0], None, small[0]._keep_in_fp32_modules)
    modules = {name for name, module in small[0].named_modules() if isinstance(module, torch.nn.Linear)}
    converted = {name for name in modules if should_convert_module(name, skipped)}
    assert converted and all(name.startswith("model.language_model.layers.") for name in converted)
    assert config.to_dict()


def test_in_half_precision_of_few_digits_tokens_are_still_made_in_float32(small):
    model = AutoModelForCausalLM.from_pretrained(small[2], dtype=torch.float16)
    assert model.lm_head.weight.dtype == model.dtype == torch.float16
    for name, parameter in model.named_parameters():
        is_kept = any(part in model._keep_in_fp32_modules for part in name.split("."))
        assert parameter.dtype == (torch.float32 if is_kept else torch.float16), name
    pixel_values = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)).half()
    codes = model.model.keyframe_tokenizer.encode(pixel_values)
    expected = small[0].model.keyframe_tokenizer.encode(pixel_values.float())
    assert all(torch.equal(left, right) for left, right in zip(codes, expected))
