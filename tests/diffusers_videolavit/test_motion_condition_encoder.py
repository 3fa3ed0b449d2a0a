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
import torch.nn.functional as F
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from peft import LoraConfig

from diffusers_videolavit import MotionConditionEncoder


torch.set_num_threads(1)


@pytest.fixture(scope="module")
def expected():
    return tiny.expected()


@pytest.fixture
def encoder():
    return tiny.load_motion_encoder()


@pytest.fixture
def motion(expected):
    return expected["video/motion_latents"][:, :, :4]


@torch.no_grad()
def output(model, motion):
    return model(motion)


def new_model():
    torch.manual_seed(0)
    return MotionConditionEncoder(**tiny.motion_encoder_config())


@torch.no_grad()
def test_features_equal_reference(encoder, expected):
    features = encoder(expected["video/motion_latents"])
    torch.testing.assert_close(features, expected["video/motion_features"], atol=1e-5, rtol=0)


def test_motion_latents_are_the_decoded_motion_resized(expected):
    # How the motion tokenizer's output becomes the encoder's input (spec of the checkpoint: bicubic, a tenth).
    decoded = expected["motion/decoded"][:2] / 10
    resized = F.interpolate(decoded.transpose(1, 2).flatten(0, 1), size=(16, 32), mode="bicubic")
    resized = resized.unflatten(0, (2, 24)).transpose(1, 2)
    torch.testing.assert_close(resized, expected["video/motion_latents"], atol=1e-6, rtol=0)


@torch.no_grad()
def test_motion_of_any_size_is_resized(encoder, motion):
    for size in [(20, 36), (7, 40), (16, 16)]:
        field = torch.randn(1, 2, 3, *size)
        resized = F.interpolate(field[0].transpose(0, 1), size=(16, 16), mode="bicubic").transpose(0, 1)[None]
        assert output(encoder, field).shape == (1, 3, 256, 16)
        torch.testing.assert_close(output(encoder, field), output(encoder, resized), atol=1e-6, rtol=0)


def test_batch_equals_singles(encoder, motion):
    batch = output(encoder, motion)
    singles = torch.cat([output(encoder, motion[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(batch, singles, atol=1e-6, rtol=0)
    assert torch.equal(batch, output(encoder, motion))


@pytest.mark.parametrize("shape", [(2, 3, 4, 8, 8), (2, 4, 8, 8), (1, 4, 2, 8, 8)])
def test_other_shapes_are_refused(encoder, shape):
    with pytest.raises(ValueError, match="num_frames, height, width"):
        encoder(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_save_and_load(encoder, motion, tmp_path, dtype):
    full = output(encoder, motion)
    encoder.to(dtype).save_pretrained(tmp_path)
    loaded = MotionConditionEncoder.from_pretrained(tmp_path, torch_dtype=dtype)
    assert loaded.dtype == dtype
    features = output(loaded, motion.to(dtype))
    assert features.dtype == dtype
    assert torch.equal(features, output(encoder, motion.to(dtype)))
    torch.testing.assert_close(features.float(), full, atol=0.1, rtol=0)


def test_save_and_load_variant_shards_and_single_file(encoder, motion, tmp_path):
    wanted = output(encoder, motion)
    encoder.save_pretrained(tmp_path / "variant", variant="fp16")
    loaded = MotionConditionEncoder.from_pretrained(tmp_path / "variant", variant="fp16")
    assert torch.equal(output(loaded, motion), wanted)
    encoder.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert torch.equal(output(MotionConditionEncoder.from_pretrained(tmp_path / "shards"), motion), wanted)
    file = tmp_path / "variant" / "diffusion_pytorch_model.fp16.safetensors"
    loaded = MotionConditionEncoder.from_single_file(str(file), **tiny.motion_encoder_config())
    assert torch.equal(output(loaded, motion), wanted)


@torch.no_grad()
def test_motion_is_cast_after_resizing(encoder, motion):
    # A motion field in float32 loses nothing before it has the encoder's size.
    encoder = encoder.to(torch.bfloat16)
    assert encoder(motion).dtype == torch.bfloat16


def test_gradient_checkpointing(motion):
    gradients = []
    for checkpointing in (False, True):
        model = new_model().train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        assert model.is_gradient_checkpointing == checkpointing
        model(motion).square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-7, rtol=1e-4)


def test_keys_have_no_bias(encoder):
    names = [name for name, _ in encoder.named_parameters()]
    assert sum(name.endswith("q_bias") for name in names) == sum(name.endswith("v_bias") for name in names) == 4
    assert not any(name.endswith(("k_bias", "to_qkv.bias")) for name in names)


def test_attention_backend_and_processors(encoder, motion):
    before = output(encoder, motion)
    active, _ = _AttentionBackendRegistry.get_active_backend()
    try:
        encoder.set_attention_backend("_native_math")
        backends = {processor._attention_backend for processor in encoder.attn_processors.values()}
        assert backends == {AttentionBackendName._NATIVE_MATH}
        torch.testing.assert_close(output(encoder, motion), before, atol=1e-5, rtol=0)
    finally:
        encoder.reset_attention_backend()
        _AttentionBackendRegistry.set_active_backend(active)
    with pytest.raises(ValueError, match="number of processors"):
        encoder.set_attn_processor({"one": None})
    encoder.fuse_qkv_projections()
    assert torch.equal(output(encoder, motion), before)


def test_lora(encoder, motion, tmp_path):
    before = output(encoder, motion)
    encoder.add_adapter(LoraConfig(r=2, target_modules=["to_qkv", "to_out.0"], init_lora_weights=False))
    adapted = output(encoder, motion)
    assert not torch.allclose(adapted, before, atol=1e-4)
    encoder.save_lora_adapter(tmp_path)
    encoder.unload_lora()
    assert torch.equal(output(encoder, motion), before)
    encoder.load_lora_adapter(tmp_path, prefix=None, use_safetensors=True)
    torch.testing.assert_close(output(encoder, motion), adapted)


def test_compile_repeated_blocks(encoder, motion):
    before = output(encoder, motion)
    torch.compiler.reset()
    encoder.compile_repeated_blocks(fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        torch.testing.assert_close(output(encoder, motion), before, atol=1e-6, rtol=0)
    torch.compiler.reset()


def test_layerwise_casting(encoder, motion):
    encoder = encoder.to(torch.bfloat16)
    full = output(encoder, motion)
    encoder.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    assert encoder.transformer_blocks[0].spatial_attn.to_qkv.weight.dtype == torch.float8_e4m3fn
    torch.testing.assert_close(output(encoder, motion), full, atol=0.5, rtol=0)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="16 is not divisible by the number of heads 3"):
        MotionConditionEncoder(**tiny.motion_encoder_config() | {"num_attention_heads": 3})
