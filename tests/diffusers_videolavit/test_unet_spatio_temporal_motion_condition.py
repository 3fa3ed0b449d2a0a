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
import copy
import json
from collections import Counter

import pytest
import tiny_diffusers_models as tiny
import torch
from accelerate import disk_offload
from diffusers import PyramidAttentionBroadcastConfig, UNetSpatioTemporalConditionModel
from diffusers.hooks.pyramid_attention_broadcast import _PYRAMID_ATTENTION_BROADCAST_HOOK
from diffusers.models import modeling_utils
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers.training_utils import EMAModel
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from diffusers_videolavit import UNetSpatioTemporalMotionConditionModel
from diffusers_videolavit.unet_spatio_temporal_motion_condition import MotionAttnProcessor


torch.set_num_threads(1)

# The reference's call was made with this timestep: it is the only one with which the outputs agree.
REFERENCE_TIMESTEP = 1.234
LORA_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]


@pytest.fixture(scope="module")
def expected():
    return tiny.expected()


@pytest.fixture
def unet():
    return tiny.load_video_unet()


@pytest.fixture
def inputs(expected):
    """Three frames of the reference's inputs, in one corner."""
    return {
        "sample": expected["video/unet_sample"][:, :3, :, :4, :8],
        "timestep": REFERENCE_TIMESTEP,
        "encoder_hidden_states": expected["video/motion_features"][:, :3],
        "added_time_ids": expected["video/unet_added_time_ids"],
    }


def new_model(**kwargs):
    torch.manual_seed(0)
    return UNetSpatioTemporalMotionConditionModel(**tiny.video_unet_config() | kwargs)


def to_dtype(inputs, dtype):
    return {
        name: value.to(dtype) if isinstance(value, torch.Tensor) and name != "added_time_ids" else value
        for name, value in inputs.items()
    }


@torch.no_grad()
def output(model, inputs, **kwargs):
    return model(**inputs | kwargs).sample


def has_adapter(model):
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


# The reference


@torch.no_grad()
def test_output_equals_reference(unet, expected):
    sample = unet(
        expected["video/unet_sample"],
        REFERENCE_TIMESTEP,
        expected["video/motion_features"],
        expected["video/unet_added_time_ids"],
    ).sample
    torch.testing.assert_close(sample, expected["video/unet_out"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_precomputed_contexts_equal_reference(unet, expected):
    contexts = unet.precompute_motion_contexts(expected["video/motion_features"], height=16, width=32)
    sample = unet(
        expected["video/unet_sample"],
        REFERENCE_TIMESTEP,
        None,
        expected["video/unet_added_time_ids"],
        motion_contexts=contexts,
    ).sample
    torch.testing.assert_close(sample, expected["video/unet_out"], atol=1e-5, rtol=0)


def test_parameters_are_those_of_the_diffusers_unet(unet):
    diffusers_unet = UNetSpatioTemporalConditionModel(**tiny.video_unet_config())
    names = {name: parameter.shape for name, parameter in diffusers_unet.named_parameters()}
    assert names == {name: parameter.shape for name, parameter in unet.named_parameters()}


@torch.no_grad()
def test_equals_the_diffusers_unet_when_all_motion_tokens_are_one(inputs):
    # With one context for all frames and positions the two models attend to the same.
    model = new_model().eval()
    diffusers_unet = UNetSpatioTemporalConditionModel(**tiny.video_unet_config()).eval()
    diffusers_unet.load_state_dict(model.state_dict())
    context = torch.randn(2, 1, 16)
    inputs["encoder_hidden_states"] = context[:, None].expand(2, 3, 256, 16)
    theirs = diffusers_unet(
        inputs["sample"], inputs["timestep"], context, added_time_ids=inputs["added_time_ids"]
    ).sample
    torch.testing.assert_close(output(model, inputs), theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_temporal_cross_attention_reads_the_nearest_cell(unet):
    transformer = unet.down_blocks[0].attentions[0]
    contexts = {}

    def keep(module, args, kwargs):
        contexts["temporal"] = kwargs["encoder_hidden_states"]

    transformer.temporal_transformer_blocks[0].register_forward_pre_hook(keep, with_kwargs=True)
    features = torch.randn(2, 3, 256, 16)
    transformer(torch.randn(6, 32, 5, 40), features, torch.zeros(2, 3))
    maps = features.reshape(6, 16, 16, 16).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(maps, size=(5, 40), mode="nearest").reshape(2, 3, 16, 200)
    torch.testing.assert_close(contexts["temporal"], resized.permute(0, 3, 1, 2).flatten(0, 1), atol=0, rtol=0)


# Precomputed contexts


@pytest.mark.parametrize("size", [(4, 8), (16, 16), (24, 40), (7, 13), (82, 2)])
@torch.no_grad()
def test_precomputed_contexts_equal_in_place(unet, inputs, size):
    # 82 is the smallest size at which nearest resizing in float32 rounds differently from integers.
    inputs["sample"] = torch.randn(2, 3, 10, *size)
    contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"], *size)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    torch.testing.assert_close(precomputed, output(unet, inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention_bias", [False, True])
@torch.no_grad()
def test_unconditional_contexts_equal_features_of_zero(inputs, attention_bias):
    unet = new_model().eval()
    if attention_bias:
        for name, module in unet.named_modules():
            if name.endswith(("attn2.to_k", "attn2.to_v")):
                module.bias = torch.nn.Parameter(torch.randn(module.out_features))
    features = inputs["encoder_hidden_states"].clone()
    features[0] = 0
    contexts = unet.precompute_motion_contexts(features[1:], 4, 8, num_unconditional=1)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    in_place = output(unet, inputs, encoder_hidden_states=features)
    torch.testing.assert_close(precomputed, in_place, atol=1e-5, rtol=0)


@torch.no_grad()
def test_unconditional_batch_alone(unet, inputs):
    contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"][:0], 4, 8, num_unconditional=2)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    zeros = torch.zeros_like(inputs["encoder_hidden_states"])
    torch.testing.assert_close(precomputed, output(unet, inputs, encoder_hidden_states=zeros), atol=1e-5, rtol=0)


def test_keys_and_values_are_projected_once_a_generation(unet, inputs):
    calls, rows = Counter(), Counter()

    def count(name):
        def hook(module, args):
            calls[name] += 1
            rows[name] += args[0].shape[:-1].numel()

        return hook

    for name, module in unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            module.register_forward_pre_hook(count(name))

    inputs["sample"] = torch.randn(2, 3, 10, 24, 40)
    with torch.no_grad():
        contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"][1:], 24, 40, num_unconditional=1)
    before = calls.copy()
    for timestep in (1.0, 0.5, -0.5):
        output(unet, inputs, timestep=timestep, encoder_hidden_states=None, motion_contexts=contexts)
    assert calls == before
    # The 24×40 positions share the keys of the map's 256 cells: none is projected more than once.
    temporal = "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn2.to_k"
    assert rows[temporal] == 3 * 256
    output(unet, inputs)
    assert rows[temporal] == 3 * 256 + 2 * 3 * 24 * 40


def test_precomputed_contexts_have_the_same_gradients(inputs):
    model = new_model()
    model(**inputs).sample.square().mean().backward()
    in_place = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    contexts = model.precompute_motion_contexts(inputs.pop("encoder_hidden_states"), 4, 8)
    model(**inputs, encoder_hidden_states=None, motion_contexts=contexts).sample.square().mean().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, in_place[name], atol=1e-6, rtol=1e-4)


def test_precomputed_contexts_follow_an_adapter(unet, inputs):
    unet.add_adapter(LoraConfig(r=4, target_modules=LORA_LAYERS, init_lora_weights=False))
    features = inputs["encoder_hidden_states"].clone()
    features[0] = 0
    with torch.no_grad():
        contexts = unet.precompute_motion_contexts(features[1:], 4, 8, num_unconditional=1)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    in_place = output(unet, inputs, encoder_hidden_states=features)
    torch.testing.assert_close(precomputed, in_place, atol=1e-5, rtol=0)


def test_precomputed_contexts_refuse_other_attention_processors(unet, inputs):
    unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(ValueError, match="set_default_attn_processor"):
        unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)


# Inputs


@torch.no_grad()
def test_batch_equals_singles(unet, inputs):
    batch = output(unet, inputs)
    for i in range(2):
        single = {
            name: value[i : i + 1] if isinstance(value, torch.Tensor) else value for name, value in inputs.items()
        }
        torch.testing.assert_close(output(unet, single), batch[i : i + 1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_timestep_may_be_a_number_a_tensor_or_one_per_sample(unet, inputs):
    number = output(unet, inputs)
    assert torch.equal(number, output(unet, inputs, timestep=torch.tensor(REFERENCE_TIMESTEP)))
    assert torch.equal(number, output(unet, inputs, timestep=torch.tensor([REFERENCE_TIMESTEP])))
    two = output(unet, inputs, timestep=torch.tensor([REFERENCE_TIMESTEP, -0.5]))
    torch.testing.assert_close(two[0], number[0], atol=1e-5, rtol=0)
    assert not torch.allclose(two[1], number[1], atol=1e-3)
    assert torch.equal(output(unet, inputs, timestep=3), output(unet, inputs, timestep=torch.tensor(3)))


def test_inputs_that_do_not_fit_are_refused(unet, inputs):
    contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)
    for change, message in [
        ({"sample": inputs["sample"][0]}, "sample.*of shape"),
        ({"sample": inputs["sample"][:, :, :8]}, "sample.*10, height, width"),
        ({"encoder_hidden_states": inputs["encoder_hidden_states"][:, :, :255]}, "256, channels"),
        ({"encoder_hidden_states": inputs["encoder_hidden_states"][:, 0]}, "256, channels"),
        ({"encoder_hidden_states": inputs["encoder_hidden_states"][:, :2]}, r"\(2, 2\).*\(2, 3\)"),
        ({"encoder_hidden_states": inputs["encoder_hidden_states"][:1]}, r"\(1, 3\).*\(2, 3\)"),
        ({"added_time_ids": inputs["added_time_ids"][:1]}, "added_time_ids.*1 rows"),
        ({"encoder_hidden_states": None}, "either"),
        ({"motion_contexts": contexts}, "either"),
        (
            {"encoder_hidden_states": None, "motion_contexts": contexts, "sample": torch.zeros(2, 3, 10, 8, 8)},
            r"\(2, 3, 4, 8\).*\(2, 3, 8, 8\)",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            unet(**inputs | change)
    with pytest.raises(ValueError, match="num_unconditional"):
        unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8, num_unconditional=-1)
    with pytest.raises(ValueError, match="256, channels"):
        unet.precompute_motion_contexts(inputs["encoder_hidden_states"][0], 4, 8)


# Saving and loading


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_save_and_load(unet, inputs, tmp_path, dtype):
    unet.to(dtype).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]
    for low_cpu_mem_usage in (True, False):
        loaded = UNetSpatioTemporalMotionConditionModel.from_pretrained(
            tmp_path, torch_dtype=dtype, low_cpu_mem_usage=low_cpu_mem_usage
        )
        assert loaded.dtype == dtype
        inputs = to_dtype(inputs, dtype)
        assert torch.equal(output(loaded, inputs), output(unet, inputs))


def test_save_and_load_variant(unet, inputs, tmp_path):
    unet.save_pretrained(tmp_path, variant="fp16")
    loaded = UNetSpatioTemporalMotionConditionModel.from_pretrained(tmp_path, variant="fp16")
    assert torch.equal(output(loaded, inputs), output(unet, inputs))
    with pytest.raises(OSError, match="no file named diffusion_pytorch_model"):
        UNetSpatioTemporalMotionConditionModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("parallel", [False, True])
def test_save_and_load_shards(unet, inputs, tmp_path, monkeypatch, variant, parallel):
    unet.save_pretrained(tmp_path, max_shard_size="500KB", variant=variant)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    monkeypatch.setattr(modeling_utils, "HF_ENABLE_PARALLEL_LOADING", parallel)
    loaded = UNetSpatioTemporalMotionConditionModel.from_pretrained(tmp_path, variant=variant)
    assert torch.equal(output(loaded, inputs), output(unet, inputs))


def test_from_single_file(unet, inputs, tmp_path):
    unet.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    loaded = UNetSpatioTemporalMotionConditionModel.from_single_file(str(file), config=str(tmp_path))
    assert torch.equal(output(loaded, inputs), output(unet, inputs))
    half = UNetSpatioTemporalMotionConditionModel.from_single_file(
        load_file(file), config=str(tmp_path), torch_dtype=torch.bfloat16
    )
    assert half.dtype == torch.bfloat16


def test_from_single_file_of_the_original_checkpoint(unet, inputs):
    loaded = UNetSpatioTemporalMotionConditionModel.from_single_file(
        str(tiny.CHECKPOINT / "video_3d_unet.bin"), config=str(tiny.CHECKPOINT / "video_detokenizer" / "unet")
    )
    assert torch.equal(output(loaded, inputs), output(unet, inputs))


def test_config(unet, tmp_path):
    assert unet.config.in_channels == 10 and unet.config.motion_size == 16
    assert list(unet.config.block_out_channels) == [32, 64]
    unet.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["_class_name"] == "UNetSpatioTemporalMotionConditionModel"
    loaded = UNetSpatioTemporalMotionConditionModel.from_pretrained(tmp_path)
    names = [name for name in unet.config if not name.startswith("_")]
    assert all(list_of(loaded.config[name]) == list_of(unet.config[name]) for name in names)
    unet.register_to_config(test_attribute=5)
    with pytest.warns(FutureWarning):
        assert unet.test_attribute == 5
    with pytest.raises(AttributeError, match="has no attribute 'does_not_exist'"):
        _ = unet.does_not_exist


def list_of(value):
    return list(value) if isinstance(value, (list, tuple)) else value


# Outputs and numbers


def test_deterministic(unet, inputs):
    assert torch.equal(output(unet, inputs), output(unet, inputs))


@torch.no_grad()
def test_tuple_equals_dict(unet, inputs):
    result = unet(**inputs, return_dict=False)
    assert isinstance(result, tuple) and len(result) == 1
    assert torch.equal(result[0], unet(**inputs).sample)
    assert result[0].shape == (2, 3, 4, 4, 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(unet, inputs, dtype):
    full = output(unet, inputs)
    half = output(unet.to(dtype), to_dtype(inputs, dtype))
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0)


def test_no_float64_and_no_numpy_in_forward(unet, inputs):
    dtypes = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **kwargs or {})
            if isinstance(result, torch.Tensor):
                dtypes.add((result.dtype, result.device.type))
            return result

    # On the meta device anything that leaves for NumPy fails.
    unet = unet.to(torch.bfloat16).to("meta")
    inputs = {
        name: value.to("meta") if isinstance(value, torch.Tensor) else value
        for name, value in to_dtype(inputs, torch.bfloat16).items()
    }
    with torch.no_grad(), Watch():
        assert unet(**inputs).sample.dtype == torch.bfloat16
    assert torch.float64 not in {dtype for dtype, _ in dtypes}
    assert (torch.bfloat16, "meta") in dtypes


# Training


def test_training(inputs):
    model = new_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    target = torch.zeros(2, 3, 4, 4, 8)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.mse_loss(model(**inputs).sample, target)
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_training_with_ema(inputs):
    model = new_model().train()
    start = copy.deepcopy(model.state_dict())
    ema = EMAModel(model.parameters(), decay=0.5, model_cls=type(model), model_config=model.config)
    model(**inputs).sample.square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    ema.step(model.parameters())
    averaged = new_model()
    ema.copy_to(averaged.parameters())
    name = "conv_out.bias"
    decay = ema.cur_decay_value
    wanted = decay * start[name] + (1 - decay) * model.state_dict()[name]
    torch.testing.assert_close(averaged.state_dict()[name], wanted)


@pytest.mark.parametrize("precomputed", [False, True])
def test_gradient_checkpointing(inputs, precomputed):
    gradients, losses = [], []
    for checkpointing in (False, True):
        model = new_model().train()
        assert not model.is_gradient_checkpointing
        if checkpointing:
            model.enable_gradient_checkpointing()
            assert model.is_gradient_checkpointing
        call = dict(inputs)
        if precomputed:
            features = call.pop("encoder_hidden_states")
            call["encoder_hidden_states"] = None
            call["motion_contexts"] = model.precompute_motion_contexts(features, 4, 8)
        loss = model(**call).sample.square().mean()
        loss.backward()
        losses.append(loss)
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(losses[0], losses[1])
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0 or name.endswith("attn2.to_k.weight"), name
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_gradient_checkpointing_is_applied():
    model = new_model()
    model.enable_gradient_checkpointing()
    enabled = {type(module).__name__: module.gradient_checkpointing for module in checkpointed(model)}
    assert enabled == dict.fromkeys(
        [
            "TransformerSpatioTemporalMotionModel",
            "CrossAttnDownBlockSpatioTemporal",
            "DownBlockSpatioTemporal",
            "UNetMidBlockSpatioTemporal",
            "UpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
        ],
        True,
    )
    model.disable_gradient_checkpointing()
    assert not any(module.gradient_checkpointing for module in checkpointed(model))


def checkpointed(model):
    return [module for module in model.modules() if "gradient_checkpointing" in vars(module)]


# Attention processors and backends


def test_set_attention_processors(unet, inputs):
    before = output(unet, inputs)
    processors = unet.attn_processors
    assert len(processors) == 16
    assert all(isinstance(processor, MotionAttnProcessor) for processor in processors.values())
    unet.set_attn_processor({name: AttnProcessor() for name in processors})
    assert all(type(processor) is AttnProcessor for processor in unet.attn_processors.values())
    torch.testing.assert_close(output(unet, inputs), before, atol=1e-5, rtol=0)
    unet.set_default_attn_processor()
    assert all(isinstance(processor, MotionAttnProcessor) for processor in unet.attn_processors.values())


def test_set_attention_processors_of_wrong_count(unet):
    name = next(iter(unet.attn_processors))
    with pytest.raises(ValueError, match="number of processors 1 does not match"):
        unet.set_attn_processor({name: AttnProcessor()})


def test_attention_backend(unet, inputs):
    before = output(unet, inputs)
    active, _ = _AttentionBackendRegistry.get_active_backend()
    try:
        unet.set_attention_backend("_native_math")
        backends = {processor._attention_backend for processor in unet.attn_processors.values()}
        assert backends == {AttentionBackendName._NATIVE_MATH}
        with torch.no_grad():
            contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)
        torch.testing.assert_close(output(unet, inputs), before, atol=1e-5, rtol=0)
        precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
        torch.testing.assert_close(precomputed, before, atol=1e-5, rtol=0)
    finally:
        unet.reset_attention_backend()
        _AttentionBackendRegistry.set_active_backend(active)
    assert all(processor._attention_backend is None for processor in unet.attn_processors.values())
    with pytest.raises(ValueError, match="must be one of the following"):
        unet.set_attention_backend("no_such_backend")


# Adapters


@pytest.mark.parametrize("use_dora", [False, True])
def test_lora(unet, inputs, tmp_path, use_dora):
    base = output(unet, inputs)
    unet.add_adapter(LoraConfig(r=4, target_modules=LORA_LAYERS, init_lora_weights=False, use_dora=use_dora))
    adapted = output(unet, inputs)
    assert not torch.allclose(adapted, base, atol=1e-4)
    # Every attention has the four layers.
    assert sum(isinstance(module, BaseTunerLayer) for module in unet.modules()) == 4 * len(unet.attn_processors)

    unet.save_lora_adapter(tmp_path)
    unet.unload_lora()
    assert not has_adapter(unet)
    assert torch.equal(output(unet, inputs), base)

    unet.load_lora_adapter(tmp_path, prefix=None, use_safetensors=True)
    torch.testing.assert_close(output(unet, inputs), adapted, atol=1e-6, rtol=0)
    unet.disable_lora()
    assert torch.equal(output(unet, inputs), base)
    unet.enable_lora()

    unet.fuse_lora()
    torch.testing.assert_close(output(unet, inputs), adapted, atol=1e-4, rtol=0)
    unet.unfuse_lora()
    torch.testing.assert_close(output(unet, inputs), adapted, atol=1e-4, rtol=0)


def test_lora_of_wrong_name(unet, tmp_path):
    unet.add_adapter(LoraConfig(r=4, target_modules=LORA_LAYERS))
    with pytest.raises(ValueError, match="Adapter name foo not found in the model"):
        unet.save_lora_adapter(tmp_path, adapter_name="foo")
    with pytest.raises(ValueError, match="already exists"):
        unet.add_adapter(LoraConfig(r=4, target_modules=LORA_LAYERS))
    with pytest.raises(ValueError, match="no_such_layer"):
        new_model().add_adapter(LoraConfig(r=4, target_modules=["no_such_layer"]))


# Memory and speed


def test_pyramid_attention_broadcast(unet, inputs):
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, cross_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    )
    changed = inputs | {"sample": inputs["sample"] + 0.5}
    exact = output(unet, changed)
    unet.enable_cache(config)
    assert unet.is_cache_enabled
    hooked = [
        module
        for module in unet.modules()
        if "_diffusers_hook" in vars(module) and module._diffusers_hook.get_hook(_PYRAMID_ATTENTION_BROADCAST_HOOK)
    ]
    assert len(hooked) == len(unet.attn_processors)
    with pytest.raises(ValueError, match="already been enabled"):
        unet.enable_cache(config)
    first = output(unet, inputs)
    second = output(unet, changed)
    assert not torch.allclose(second, exact, atol=1e-5)
    unet._reset_stateful_cache()
    assert torch.equal(output(unet, inputs), first)
    unet.disable_cache()
    assert torch.equal(output(unet, changed), exact)


def test_layerwise_casting(unet, inputs):
    unet = unet.to(torch.bfloat16)
    inputs = to_dtype(inputs, torch.bfloat16)
    full, size = output(unet, inputs), unet.get_memory_footprint()
    unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    assert unet.get_memory_footprint() < 0.6 * size
    assert unet.conv_in.weight.dtype == torch.float8_e4m3fn
    assert unet.conv_norm_out.weight.dtype == torch.bfloat16
    cast = output(unet, inputs)
    torch.testing.assert_close(cast, full, atol=0.3, rtol=0)
    with torch.no_grad():
        contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    torch.testing.assert_close(precomputed, cast, atol=0.02, rtol=0)


def test_compile_repeated_blocks(unet, inputs):
    before = output(unet, inputs)
    torch.compiler.reset()
    unet.compile_repeated_blocks(fullgraph=True, backend="eager")
    compiled = [module for module in unet.modules() if module._compiled_call_impl is not None]
    assert len(compiled) == len(unet.attn_processors) // 2
    torch.testing.assert_close(output(unet, inputs), before, atol=1e-5, rtol=0)
    features = inputs["encoder_hidden_states"].clone()
    with torch.no_grad():
        contexts = unet.precompute_motion_contexts(features, 4, 8)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    torch.testing.assert_close(precomputed, before, atol=1e-5, rtol=0)
    torch.compiler.reset()


def test_compile_whole_without_graph_breaks_or_recompilation(unet, inputs):
    before = output(unet, inputs)
    torch.compiler.reset()
    unet.compile(fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            torch.testing.assert_close(output(unet, inputs), before, atol=1e-5, rtol=0)
    torch.compiler.reset()
    with torch._dynamo.config.patch(error_on_recompile=True), torch.no_grad():
        for _ in range(2):
            contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)
            precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
            torch.testing.assert_close(precomputed, before, atol=1e-5, rtol=0)
    torch.compiler.reset()


def test_offload_to_disk(unet, inputs, tmp_path):
    before = output(unet, inputs)
    disk_offload(unet, tmp_path, execution_device=torch.device("cpu"))
    assert unet.conv_in.weight.device.type == "meta"
    torch.testing.assert_close(output(unet, inputs), before, atol=1e-6, rtol=0)
    with torch.no_grad():
        contexts = unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)
    precomputed = output(unet, inputs, encoder_hidden_states=None, motion_contexts=contexts)
    torch.testing.assert_close(precomputed, before, atol=1e-5, rtol=0)


def test_precomputing_brings_an_offloaded_model_back(unet, inputs):
    moved = []

    class Hook:
        def pre_forward(self, module, *args, **kwargs):
            moved.append(module)

    unet._hf_hook = Hook()
    unet.precompute_motion_contexts(inputs["encoder_hidden_states"], 4, 8)
    assert moved == [unet]


def test_modules_that_are_not_split():
    names = {type(module).__name__ for module in new_model().modules()}
    assert set(UNetSpatioTemporalMotionConditionModel._no_split_modules) <= names
    assert set(UNetSpatioTemporalMotionConditionModel._repeated_blocks) <= names


def test_forward_chunking(unet, inputs):
    before = output(unet, inputs)
    unet.enable_forward_chunking(chunk_size=1, dim=1)
    torch.testing.assert_close(output(unet, inputs), before, atol=1e-5, rtol=0)
