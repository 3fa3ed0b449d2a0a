"""The image encoder: golden parity, batching, precision, saving, hidden states, gradients and errors."""

import model_checks
import pytest
import torch
from model_checks import assert_close
from safetensors.torch import load_file
from tiny_models import FIXTURES, load_tiny_vision_model

from transformers_videolavit.configuration_videolavit import VideoLaVITVisionConfig
from transformers_videolavit.modeling_videolavit_vision import VideoLaVITVisionModel


@pytest.fixture(scope="module")
def expected():
    return load_file(FIXTURES / "tiny" / "expected.safetensors")


@pytest.fixture
def model():
    return load_tiny_vision_model()


@pytest.fixture
def inputs(expected):
    return {"pixel_values": expected["visual/pixel_values"]}


@torch.no_grad()
def test_golden_features(model, inputs, expected):
    assert_close(model(**inputs).last_hidden_state, expected["visual/encoder_features"])


@torch.no_grad()
def test_pooler_output_is_head_of_normed_class_token(model, inputs):
    output = model(**inputs)
    class_token = output.last_hidden_state[:, 0]
    class_token = (class_token - class_token.mean(1, keepdim=True)) / (
        class_token.var(1, unbiased=False, keepdim=True) + model.config.layer_norm_eps
    ).sqrt()
    class_token = class_token * model.layernorm.weight + model.layernorm.bias
    assert_close(output.pooler_output, class_token @ model.head.weight.T + model.head.bias, 1e-5)


@torch.no_grad()
def test_batch_equals_singles(model, inputs):
    batch = model(**inputs).last_hidden_state
    for index, image in enumerate(inputs["pixel_values"]):
        assert_close(model(image[None]).last_hidden_state[0], batch[index], 1e-5)


def test_full_size_on_meta():
    with torch.device("meta"):
        model = VideoLaVITVisionModel(VideoLaVITVisionConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_012_588_928
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


@torch.no_grad()
def test_hidden_states_and_attentions(model, inputs):
    model.set_attn_implementation("eager")
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == model.config.num_hidden_layers + 1
    torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state, rtol=0, atol=0)
    torch.testing.assert_close(output.hidden_states[0], model.embeddings(**inputs), rtol=0, atol=0)
    assert [tuple(attention.shape) for attention in output.attentions] == [(3, 2, 17, 17)] * 2
    assert_close(torch.stack(output.attentions).sum(-1), torch.ones(2, 3, 2, 17), 1e-5)
    assert model(**inputs).hidden_states is None


def test_hidden_states_have_gradients(model, inputs):
    output = model(**inputs, output_hidden_states=True)
    for hidden_state in output.hidden_states:
        hidden_state.retain_grad()
    output.pooler_output.sum().backward()
    assert all(hidden_state.grad.abs().sum() > 0 for hidden_state in output.hidden_states)


def test_example():
    model_checks.check_example(VideoLaVITVisionModel.forward)


def test_save_and_load(model, inputs, tmp_path):
    model_checks.check_save_and_load(model, inputs, tmp_path)


def test_disk_offload(model, inputs, tmp_path):
    model_checks.check_disk_offload(model, lambda model: model(**inputs).to_tuple(), tmp_path)


def test_half_precision(model, inputs, tmp_path):
    model_checks.check_half_precision(model, inputs, tmp_path)


def test_missing_weights(model, tmp_path, monkeypatch):
    model_checks.check_missing_weights(model, tmp_path, monkeypatch)


def test_initialisation():
    config = VideoLaVITVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.3
    )
    torch.manual_seed(0)
    model = VideoLaVITVisionModel(config)
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            assert 0.2 < parameter.std() < 0.4, name


def test_tuple_equals_dict(model, inputs):
    model_checks.check_tuple_equals_dict(model, inputs)


def test_attention_implementations(model, inputs):
    model_checks.check_attention_implementations(model, inputs, "last_hidden_state")


def test_gradient_checkpointing(model, inputs):
    def compute_loss(model):
        return model(**inputs).pooler_output.square().sum()

    model_checks.check_gradient_checkpointing(model, compute_loss)


@torch.no_grad()
def test_compiles_to_one_graph(model, inputs):
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_close(compiled(**inputs).last_hidden_state, model(**inputs).last_hidden_state, 1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 56, 55), (1, 1, 56, 56), (3, 56, 56), (1, 3, 112, 112)])
def test_wrong_image_size(model, shape):
    with pytest.raises(ValueError, match=rf"\(images, 3, 56, 56\), not \({', '.join(map(str, shape))}\)"):
        model(torch.zeros(shape))
