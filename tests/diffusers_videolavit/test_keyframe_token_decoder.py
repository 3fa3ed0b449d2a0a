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
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from peft import LoraConfig

from diffusers_videolavit import KeyframeTokenDecoder


torch.set_num_threads(1)


@pytest.fixture(scope="module")
def expected():
    return tiny.expected()


@pytest.fixture
def decoder():
    return tiny.load_keyframe_token_decoder()


@pytest.fixture
def codes(expected):
    return tiny.visual_codes(expected)


@torch.no_grad()
def output(model, *args, **kwargs):
    return model(*args, **kwargs, return_dict=False)


def new_model():
    torch.manual_seed(0)
    return KeyframeTokenDecoder(**tiny.keyframe_token_decoder_config())


def assert_outputs_close(outputs, wanted, atol=1e-6):
    for one, other in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=0)


@torch.no_grad()
def test_embeddings_equal_reference(decoder, codes, expected):
    assert [len(frame_codes) for frame_codes in codes] == [9, 8, 4]
    result = decoder(codes)
    torch.testing.assert_close(result.prompt_embeds, expected["keyframe_decoder/prompt_embeds"], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        result.pooled_prompt_embeds, expected["keyframe_decoder/pooled_prompt_embeds"], atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_tuple_equals_dict(decoder, codes):
    outputs = decoder(codes, return_dict=False)
    result = decoder(codes)
    for values, name in zip(outputs, ("prompt_embeds", "pooled_prompt_embeds", "features"), strict=True):
        assert torch.equal(values, result[name])


@torch.no_grad()
def test_features_of_all_patches_are_what_the_embeddings_are_made_of(decoder, codes):
    result = decoder(codes)
    assert result.features.shape == (len(codes), decoder.config.num_positions, decoder.config.out_channels)
    parts = [projection(result.features) for projection in (decoder.prompt_proj_1, decoder.prompt_proj_2)]
    assert torch.equal(result.prompt_embeds, torch.cat(parts, dim=-1))
    assert torch.equal(result.pooled_prompt_embeds, decoder.pooling(result.features))


def test_batch_equals_singles(decoder, codes):
    batch = output(decoder, codes)
    for i, frame_codes in enumerate(codes):
        single = output(decoder, frame_codes[None])
        assert_outputs_close([embeds[i : i + 1] for embeds in batch], single)


def test_padding_does_not_matter(decoder, codes):
    padded, mask = decoder.pad_codes(codes)
    assert padded.shape == mask.shape == (3, 9) and mask.sum(dim=1).tolist() == [9, 8, 4]
    wanted = output(decoder, codes)
    assert_outputs_close(output(decoder, padded, mask), wanted)
    wider = torch.nn.functional.pad(padded, (0, 5), value=63)
    wider_mask = torch.nn.functional.pad(mask.long(), (0, 5))
    assert_outputs_close(output(decoder, wider.masked_fill(wider_mask == 0, 7), wider_mask), wanted)


def test_the_order_of_the_codes_matters(decoder, codes):
    forward, backward = output(decoder, [codes[0]])[0], output(decoder, [codes[0].flip(0)])[0]
    assert not torch.allclose(forward, backward, atol=1e-3)


def test_integer_codes_are_all_it_needs(decoder, codes, tmp_path):
    decoder.save_pretrained(tmp_path)
    loaded = KeyframeTokenDecoder.from_pretrained(tmp_path)
    assert torch.equal(loaded.codebook, decoder.codebook)
    assert "codebook" not in dict(loaded.named_parameters())
    assert_outputs_close(output(loaded, codes), output(decoder, codes), atol=0)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([], "empty"),
        ([torch.zeros(17, dtype=torch.long)], r"codes\[0\].*\(17,\)"),
        ([torch.zeros(3, dtype=torch.long), torch.zeros(0, dtype=torch.long)], r"codes\[1\].*\(0,\)"),
        ([torch.zeros(1, 3, dtype=torch.long)], r"codes\[0\].*\(1, 3\)"),
        ([torch.tensor([3, 64])], "0 to 63.*3 to 64"),
        ([torch.tensor([-1, 5])], "0 to 63.*-1 to 5"),
        ([torch.tensor([0.5])], "integers"),
        (torch.zeros(2, 17, dtype=torch.long), r"1 to 16.*\(2, 17\)"),
        (torch.zeros(3, dtype=torch.long), r"1 to 16.*\(3,\)"),
    ],
)
def test_codes_that_do_not_fit_are_refused(decoder, codes, message):
    with pytest.raises(ValueError, match=message):
        decoder(codes)


def test_masks_that_do_not_fit_are_refused(decoder, codes):
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(1, 4\)"):
        decoder(torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 3))
    with pytest.raises(ValueError, match="not with a list"):
        decoder(codes, torch.ones(3, 9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_save_and_load(decoder, codes, tmp_path, dtype):
    full = output(decoder, codes)
    decoder.to(dtype).save_pretrained(tmp_path)
    loaded = KeyframeTokenDecoder.from_pretrained(tmp_path, torch_dtype=dtype)
    assert loaded.dtype == loaded.codebook.dtype == dtype
    half = output(loaded, codes)
    assert_outputs_close(half, output(decoder, codes), atol=0)
    assert all(embeds.dtype == dtype for embeds in half)
    assert_outputs_close([embeds.float() for embeds in half], full, atol=0.1)


def test_save_and_load_variant_shards_and_single_file(decoder, codes, tmp_path):
    wanted = output(decoder, codes)
    decoder.save_pretrained(tmp_path / "variant", variant="fp16")
    loaded = KeyframeTokenDecoder.from_pretrained(tmp_path / "variant", variant="fp16")
    assert_outputs_close(output(loaded, codes), wanted, atol=0)
    decoder.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert_outputs_close(output(KeyframeTokenDecoder.from_pretrained(tmp_path / "shards"), codes), wanted, atol=0)
    file = tmp_path / "variant" / "diffusion_pytorch_model.fp16.safetensors"
    loaded = KeyframeTokenDecoder.from_single_file(str(file), config=str(tmp_path / "variant"))
    assert_outputs_close(output(loaded, codes), wanted, atol=0)


def test_gradient_checkpointing(codes):
    gradients = []
    for checkpointing in (False, True):
        model = new_model().train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        assert model.is_gradient_checkpointing == checkpointing
        result = model(codes)
        (result.prompt_embeds.square().mean() + result.pooled_prompt_embeds.square().mean()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        # A bias of the keys adds the same to all scores of a query.
        assert gradient.abs().max() > 0 or name.endswith("to_k.bias"), name
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-7, rtol=1e-4)


def test_attention_backend_and_processors(decoder, codes):
    before = output(decoder, codes)
    active, _ = _AttentionBackendRegistry.get_active_backend()
    try:
        decoder.set_attention_backend("_native_math")
        backends = {processor._attention_backend for processor in decoder.attn_processors.values()}
        assert backends == {AttentionBackendName._NATIVE_MATH}
        assert_outputs_close(output(decoder, codes), before, atol=1e-5)
    finally:
        decoder.reset_attention_backend()
        _AttentionBackendRegistry.set_active_backend(active)
    with pytest.raises(ValueError, match="number of processors"):
        decoder.set_attn_processor({"one": None})


def test_lora(decoder, codes, tmp_path):
    before = output(decoder, codes)
    decoder.add_adapter(
        LoraConfig(r=2, target_modules=["to_qkv", "to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False)
    )
    adapted = output(decoder, codes)
    assert not torch.allclose(adapted[0], before[0], atol=1e-4)
    decoder.save_lora_adapter(tmp_path)
    decoder.unload_lora()
    assert_outputs_close(output(decoder, codes), before, atol=0)
    decoder.load_lora_adapter(tmp_path, prefix=None, use_safetensors=True)
    assert_outputs_close(output(decoder, codes), adapted)


def test_compile_repeated_blocks(decoder, codes):
    before = output(decoder, codes)
    torch.compiler.reset()
    decoder.compile_repeated_blocks(fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_outputs_close(output(decoder, codes), before)
    torch.compiler.reset()
