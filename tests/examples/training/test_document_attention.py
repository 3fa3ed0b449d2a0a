"""Attention within packed documents, against transformers' own."""

import pytest
import torch
from tiny_models import tiny_config
from torch import nn
from training.document_attention import NAME, document_attention_forward
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from transformers_videolavit import VideoLaVITForCausalLM


class Layer(nn.Module):
    is_causal = True
    num_key_value_groups = 2


def small_config():
    return LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def packed(lengths):
    return torch.cat([torch.arange(length) for length in lengths])[None]


def test_it_equals_documents_by_themselves():
    torch.manual_seed(0)
    lengths = [5, 70, 1, 33, 64, 5]
    total = sum(lengths)
    query, key, value = (torch.randn(1, heads, total, 8, requires_grad=True) for heads in (4, 2, 2))
    output, _ = document_attention_forward(Layer(), query, key, value, None, scaling=0.3, position_ids=packed(lengths))
    parts = [
        sdpa_attention_forward(Layer(), *(states.detach() for states in split), None, scaling=0.3)[0]
        for split in zip(*(states.split(lengths, dim=2) for states in (query, key, value)))
    ]
    torch.testing.assert_close(output, torch.cat(parts, dim=1))
    output.square().sum().backward()
    assert value.grad.abs().sum(-1).all()


@pytest.mark.parametrize("shared", [1, 12])
def test_branches_equal_documents_that_begin_alike(shared):
    torch.manual_seed(0)
    model = LlamaForCausalLM(small_config()).eval()
    model.set_attn_implementation(NAME)
    first, *branches = (torch.randint(50, (length,)) for length in (12, 9, 40, 1, 9))
    other = torch.randint(50, (30,))
    pieces = [other, first, *branches, other.flip(0)]
    places = [shared + torch.arange(len(branch)) for branch in branches]
    positions = [torch.arange(30), torch.arange(12), *places, torch.arange(30)]
    packed = {"input_ids": torch.cat(pieces)[None], "position_ids": torch.cat(positions)[None], "use_cache": False}
    expected = [model(piece[None]).logits[0] for piece in (other, first)]
    for branch in branches:
        expected.append(model(torch.cat((first[:shared], branch))[None]).logits[0, shared:])
    expected.append(model(other.flip(0)[None]).logits[0])
    logits = model(**packed).logits[0]
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-5, rtol=1e-4)

    def gradients(logits):
        model.zero_grad()
        logits.square().sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    torch.testing.assert_close(gradients(logits), gradients(torch.cat(expected)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lengths", [[7, 20, 3], [30]])
def test_a_language_model_gives_the_same_losses_and_gradients(lengths):
    torch.manual_seed(0)
    model = LlamaForCausalLM(small_config())
    ids = torch.randint(50, (1, sum(lengths)))
    losses, gradients = {}, {}
    for name in ("sdpa", NAME):
        model.set_attn_implementation(name)
        model.zero_grad()
        losses[name] = model(ids, labels=ids, position_ids=packed(lengths), use_cache=False).loss
        losses[name].backward()
        gradients[name] = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(losses[NAME], losses["sdpa"])
    torch.testing.assert_close(gradients[NAME], gradients["sdpa"], atol=1e-6, rtol=1e-4)


def test_layers_share_the_groups_of_a_pass():
    from training.document_attention import group_documents

    positions = packed([7, 40, 3])
    groups, order = group_documents(positions)
    assert group_documents(positions)[0] is groups and group_documents(positions.clone())[0] is not groups
    places = torch.cat([group.queries.flatten()[group.is_token] for group in groups])
    assert torch.equal(places[order], torch.arange(50))
    assert group_documents(packed([5])) == ([], None)


def test_padded_batches_and_generation_go_to_sdpa():
    torch.manual_seed(0)
    model = VideoLaVITForCausalLM(tiny_config()).eval()
    inputs = {"input_ids": torch.randint(3, 30, (2, 6)), "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6])}
    expected = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    model.set_attn_implementation(NAME)
    assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False), expected)
