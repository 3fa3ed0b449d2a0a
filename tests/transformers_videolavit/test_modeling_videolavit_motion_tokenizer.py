"""The motion tokenizer: golden parity, batching, precision, saving, training and errors."""

import model_checks
import pytest
import torch
from model_checks import assert_close
from safetensors.torch import load_file
from tiny_models import FIXTURES, load_tiny_motion_tokenizer

from transformers_videolavit.configuration_videolavit import VideoLaVITMotionTokenizerConfig
from transformers_videolavit.modeling_videolavit_motion_tokenizer import VideoLaVITMotionTokenizer


@pytest.fixture(scope="module")
def expected():
    return load_file(FIXTURES / "tiny" / "expected.safetensors")


@pytest.fixture(scope="module")
def golden_model():
    return load_tiny_motion_tokenizer()


@pytest.fixture
def model():
    """Small enough to train, with the released strides."""
    torch.manual_seed(0)
    config = VideoLaVITMotionTokenizerConfig(
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_layers_per_stage=1,
        num_frames=8,
        motion_height=8,
        motion_width=12,
        codebook_size=16,
        codebook_dim=8,
        codebook_decay=0.9,
        codebook_revival_threshold=0.1,
        initializer_range=0.1,
    )
    return VideoLaVITMotionTokenizer(config)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(4, 2, 1, 1, 1, generator=generator)
    return {"motion_vectors": clips + 0.1 * torch.randn(4, 2, 8, 8, 12, generator=generator)}


def test_golden_codes(golden_model, expected):
    codes = golden_model.encode(expected["motion/motion_vectors"])
    assert codes.dtype == torch.long
    assert torch.equal(codes, expected["motion/token_ids"])


@torch.no_grad()
def test_golden_quantized_features(golden_model, expected):
    features = golden_model.encoder_projection(golden_model.encoder(expected["motion/motion_vectors"]))
    quantized, _, _ = golden_model.quantizer(features)
    assert_close(quantized.view(expected["motion/quantized"].shape), expected["motion/quantized"])


@torch.no_grad()
def test_golden_decoded_motion(golden_model, expected):
    codes = expected["motion/token_ids"]
    assert_close(golden_model.decode(codes), expected["motion/decoded"])
    assert_close(golden_model.decode(codes, height=8, width=16), expected["motion/reconstructed_8x16"])


@torch.no_grad()
def test_evaluation_output_is_decoded_codes(model, inputs):
    model.eval()
    output = model(**inputs)
    assert torch.equal(output.codes, model.encode(**inputs))
    assert torch.equal(output.reconstruction, model.decode(output.codes))
    expected_loss = (output.reconstruction - inputs["motion_vectors"]).square().mean()
    torch.testing.assert_close(output.reconstruction_loss, expected_loss)


@torch.no_grad()
def test_batch_equals_singles(model, inputs):
    codes = model.encode(**inputs)
    motion = model.decode(codes)
    for index, clip in enumerate(inputs["motion_vectors"]):
        assert torch.equal(model.encode(clip[None])[0], codes[index])
        assert_close(model.decode(codes[index : index + 1])[0], motion[index], 1e-5)


@torch.no_grad()
def test_codes_follow_time_height_width(model, inputs):
    """Each code sees the whole clip, but a change of its place in the code grid moves the decoded motion there most."""
    codes = torch.zeros(1, model.config.num_motion_tokens, dtype=torch.long)
    changed = codes.clone()
    changed[0, -1] = 5
    difference = (model.decode(changed) - model.decode(codes)).abs().sum(dim=(0, 1, 2))  # (height, width)
    row, column = divmod(int(difference.argmax()), model.config.motion_width)
    time, height, width = model.config.latent_shape
    assert (time, height, width) == (1, 2, 3)
    assert row >= model.config.motion_height / height and column >= 2 * model.config.motion_width / width


def test_full_size_on_meta():
    with torch.device("meta"):
        model = VideoLaVITMotionTokenizer(VideoLaVITMotionTokenizerConfig())
        codes = torch.zeros(1, 2, 24, 20, 36)
        assert model.encoder(codes).shape == (1, 135, 512)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == 158.5


def test_example():
    model_checks.check_example(VideoLaVITMotionTokenizer.encode)


def test_save_and_load(model, inputs, tmp_path):
    model_checks.check_save_and_load(model, inputs, tmp_path)


def test_disk_offload(model, inputs, tmp_path):
    def run(model):
        codes = model.encode(**inputs)
        return [codes, model.decode(codes, height=4, width=6), *model(**inputs).to_tuple()]

    model_checks.check_disk_offload(model, run, tmp_path)


def test_half_precision(model, inputs, tmp_path):
    model_checks.check_half_precision(model, inputs, tmp_path)


def test_missing_weights(model, tmp_path, monkeypatch):
    model_checks.check_missing_weights(model, tmp_path, monkeypatch)


def test_tuple_equals_dict(model, inputs):
    model_checks.check_tuple_equals_dict(model, inputs)


def test_attention_implementations(model, inputs):
    model_checks.check_attention_implementations(model, inputs, "reconstruction")


@torch.no_grad()
def test_compiles_to_one_graph(model, inputs):
    model.eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_close(compiled(**inputs).reconstruction, model(**inputs).reconstruction, 1e-6)


@torch.no_grad()
def test_hidden_states_and_attentions(model, inputs):
    model.eval()
    model.set_attn_implementation("eager")
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    # The input, then four layers of the encoder and four of the decoder.
    positions = [(8, 96), (8, 96), (8, 24), (4, 24), (2, 24), (2, 24), (4, 24), (8, 24), (8, 96)]
    assert [tuple(state.shape[1:3]) for state in output.hidden_states] == positions
    sizes = [size for time, grid in positions[1:] for size in (grid, time)]
    assert [attention.shape[-1] for attention in output.attentions] == sizes
    assert model(**inputs).attentions is None


def test_gradient_checkpointing(model, inputs):
    model_checks.check_gradient_checkpointing(model, lambda model: model(**inputs).loss)


def test_all_parameters_train(model, inputs):
    gradients = model_checks.compute_gradients(model.train(), lambda model: model(**inputs).loss)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == trainable == dict(model.named_parameters()).keys() - {"quantizer.codebook"}
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


def test_loss_parts(model, inputs):
    output = model.eval()(**inputs)
    weight = model.config.commitment_loss_weight
    torch.testing.assert_close(output.loss, output.reconstruction_loss + weight * output.commitment_loss)
    counts = torch.bincount(output.codes.flatten(), minlength=model.config.codebook_size)
    assert float(output.codebook_usage) == float((counts > 0).float().mean())
    assert 1 <= float(output.perplexity) <= int((counts > 0).sum()) + 1e-4


def test_evaluation_and_encoding_leave_the_codebook(model, inputs):
    state = {name: value.clone() for name, value in model.state_dict().items() if "quantizer" in name}
    model.eval()(**inputs)
    model.train().encode(**inputs)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    model(**inputs)
    assert not torch.equal(model.quantizer.codebook, state["quantizer.codebook"])


def test_learns_a_small_batch(model, inputs):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        output = model(**inputs)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    variance = inputs["motion_vectors"].var()
    assert model.eval()(**inputs).reconstruction_loss < 0.2 * variance


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 8), (1, 3, 8, 8, 12), (2, 8, 8, 12), (1, 2, 24, 20, 36)])
def test_wrong_motion_size(model, shape):
    with pytest.raises(ValueError, match=rf"\(clips, 2, 8, 8, 12\), not \({', '.join(map(str, shape))}\)"):
        model.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="`motion_vectors` must have the shape"):
        model(torch.zeros(shape))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.full((1, 6), 16), "between 0 and 15, but they are between 16 and 16"),
        (torch.tensor([[0, 1, 2, 3, -1, 5]]), "but they are between -1 and 5"),
        (torch.zeros(1, 7, dtype=torch.long), r"\(clips, 6\), not torch.int64 of \(1, 7\)"),
        (torch.zeros(6, dtype=torch.long), r"\(clips, 6\), not torch.int64 of \(6,\)"),
        (torch.zeros(1, 6), r"must be integers of shape \(clips, 6\), not torch.float32"),
        (torch.zeros(1, 6, dtype=torch.bool), "not torch.bool"),
    ],
)
def test_wrong_codes(model, codes, message):
    with pytest.raises(ValueError, match=message):
        model.decode(codes)


@pytest.mark.parametrize("size", [{"height": 8}, {"width": 8}, {"height": 0, "width": 8}])
def test_wrong_decoded_size(model, size):
    with pytest.raises(ValueError, match="`height` and `width`, both positive, or neither"):
        model.decode(torch.zeros(1, 6, dtype=torch.long), **size)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"motion_height": 22}, r"\(24, 22, 36\) must be multiples of the total strides \(8, 4, 4\)"),
        ({"downsampling_strides": [[1, 4, 4]]}, "must be triples .* of 1 and 2"),
    ],
)
def test_wrong_config(sizes, message):
    with pytest.raises(ValueError, match=message):
        VideoLaVITMotionTokenizerConfig(**sizes)
