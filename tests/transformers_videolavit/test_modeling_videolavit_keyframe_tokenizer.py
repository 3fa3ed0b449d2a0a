"""The keyframe tokenizer: golden parity, kept rows against full rows, batching, saving, both training phases, errors."""

import model_checks
import pytest
import torch
from model_checks import assert_close
from safetensors.torch import load_file
from tiny_models import FIXTURES, load_tiny_causal_lm, load_tiny_keyframe_tokenizer
from torch.nn.functional import cosine_similarity
from transformers import modeling_flash_attention_utils

from transformers_videolavit.configuration_videolavit import VideoLaVITKeyframeTokenizerConfig
from transformers_videolavit.modeling_videolavit_keyframe_tokenizer import VideoLaVITKeyframeTokenizer


@pytest.fixture(scope="module")
def expected():
    return load_file(FIXTURES / "tiny" / "expected.safetensors")


@pytest.fixture
def golden_model():
    return load_tiny_keyframe_tokenizer()


@pytest.fixture
def pixel_values(expected):
    return expected["visual/pixel_values"]


@pytest.fixture
def model():
    """Small enough to train, with the decoder of stage-1 training."""
    torch.manual_seed(0)
    sizes = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = VideoLaVITKeyframeTokenizerConfig(
        vision_config={**sizes, "hidden_size": 32, "image_size": 56, "initializer_range": 0.2},
        **sizes,
        decoder_num_hidden_layers=2,
        codebook_size=16,
        codebook_dim=8,
        codebook_decay=0.9,
        codebook_revival_threshold=0.1,
    )
    model = VideoLaVITKeyframeTokenizer(config)
    # A new selector is undecided: let it keep some patches of each image and drop others.
    torch.nn.init.normal_(model.selector.fc3.weight, std=2.0)
    torch.nn.init.normal_(model.selector.fc1.weight, std=0.5)
    torch.nn.init.normal_(model.selector.fc2.weight, std=0.5)
    torch.nn.init.normal_(model.selector.proj_in.weight, std=0.5)
    return model.eval()


def merge_full_rows(model, features, keep_mask):
    """The reference's merger: all rows, with masks, the small constant in its softmax included."""
    model.train()  # the selector's training path is the reference's formula
    model.requires_grad_(False)
    merged, _ = model._merge_all(features, keep_mask.float())
    model.eval()
    return merged


# Golden numbers of the reference model


@torch.no_grad()
def test_golden_selection(golden_model, pixel_values, expected):
    outputs = golden_model.select_and_merge(pixel_values)
    assert torch.equal(outputs.keep_mask, expected["visual/keep"].bool())
    assert torch.equal(outputs.num_kept, expected["visual/keep"].sum(1).long())
    log_probabilities = golden_model.selector(outputs.vision_last_hidden_state[:, 1:])
    assert_close(log_probabilities, expected["visual/keep_logprobs"])
    assert_close(outputs.vision_last_hidden_state, expected["visual/encoder_features"])


@torch.no_grad()
def test_golden_merged_features(golden_model, pixel_values, expected):
    features = golden_model.get_features(pixel_values)
    keep = expected["visual/keep"].bool()
    for index, image_features in enumerate(features):
        assert_close(image_features, expected["visual/merged_features"][index][keep[index]])


def test_golden_codes(golden_model, pixel_values, expected):
    visual_code_offset = 32002
    for index, codes in enumerate(golden_model.encode(pixel_values)):
        assert codes.dtype == torch.long
        assert torch.equal(codes + visual_code_offset, expected[f"visual/token_ids.{index}"][1:-1])


@torch.no_grad()
def test_golden_continuous_embeddings(pixel_values, expected):
    model = load_tiny_causal_lm(instruction_tuned=True).model
    for index, features in enumerate(model.keyframe_tokenizer.get_features(pixel_values)):
        embeddings = model.multi_modal_projector(features)
        assert_close(embeddings, expected[f"visual/continuous_embeds.{index}"])


# Kept rows


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_kept_rows_equal_full_rows(model, pixel_values, implementation):
    model.set_attn_implementation(implementation)
    features = model.vision_model(pixel_values).last_hidden_state[:, 1:]
    keep_mask = torch.rand(3, 16, generator=torch.Generator().manual_seed(0)) < 0.4
    keep_mask[:, 3] = True
    merged, is_kept, _ = model.merge_kept(features, keep_mask)
    assert merged.shape[1] == keep_mask.sum(1).max() < 16
    assert_close(merged[is_kept], merge_full_rows(model, features, keep_mask)[keep_mask], 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_image_without_dropped_patches(model, pixel_values, implementation):
    """The reference then attends to the mean of all patches; beside it in the batch is an image with one kept patch."""
    model.set_attn_implementation(implementation)
    features = model.vision_model(pixel_values[:2]).last_hidden_state[:, 1:]
    keep_mask = torch.ones(2, 16, dtype=torch.bool)
    keep_mask[1, 1:] = False
    merged, is_kept, _ = model.merge_kept(features, keep_mask)
    assert_close(merged[is_kept], merge_full_rows(model, features, keep_mask)[keep_mask], 1e-4)
    alone, is_kept, _ = model.merge_kept(features[:1], keep_mask[:1])
    assert_close(alone[0], merged[0], 1e-5)


@torch.no_grad()
def test_batch_equals_singles(model, pixel_values):
    features, codes = model.get_features(pixel_values), model.encode(pixel_values)
    assert len({len(image_codes) for image_codes in codes}) > 1
    for index, image in enumerate(pixel_values):
        assert_close(model.get_features(image[None])[0], features[index], 1e-5)
        assert torch.equal(model.encode(image[None])[0], codes[index])


@torch.no_grad()
def test_image_with_nothing_kept_keeps_its_best_patch(model, pixel_values):
    model.selector.fc3.bias.copy_(torch.tensor([-1e3, 1e3]))
    outputs = model.select_and_merge(pixel_values)
    assert outputs.num_kept.tolist() == [1, 1, 1]
    scores = model.selector(outputs.vision_last_hidden_state[:, 1:])[..., 0]
    assert torch.equal(outputs.keep_mask.float().argmax(1), scores.argmax(1))
    sampled = model.select_and_merge(pixel_values, do_sample=True)
    assert torch.equal(sampled.keep_mask, outputs.keep_mask)
    # In training the decision of that patch is 1, too.
    policy = model._sample_policy(outputs.vision_last_hidden_state[:, 1:])
    assert torch.equal(policy > 0.5, outputs.keep_mask)


@torch.no_grad()
def test_sampling_is_seeded_and_follows_the_probabilities(model, pixel_values):
    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.select_and_merge(pixel_values, do_sample=True, generator=generator).keep_mask

    assert torch.equal(sample(0), sample(0))
    masks = torch.stack([sample(seed) for seed in range(150)])
    assert len(masks.flatten(1).unique(dim=0)) > 1
    features = model.vision_model(pixel_values).last_hidden_state[:, 1:]
    probabilities = model.selector(features)[..., 0].exp()
    assert (masks.float().mean(0) - probabilities).abs().max() < 0.2
    codes = model.encode(pixel_values, do_sample=True, generator=torch.Generator().manual_seed(0))
    assert [len(image_codes) for image_codes in codes] == sample(0).sum(1).tolist()
    features = model.get_features(pixel_values, do_sample=True, generator=torch.Generator().manual_seed(0))
    assert [len(image_features) for image_features in features] == sample(0).sum(1).tolist()


@torch.no_grad()
def test_flash_attention(model, pixel_values, monkeypatch):
    """The calls of flash attention, answered by SDPA: no mask, lengths of queries and keys each on their own."""
    calls = []

    def attend(query, key, value, softmax_scale, causal):
        states = (tensor.transpose(1, 2) for tensor in (query, key, value))
        output = torch.nn.functional.scaled_dot_product_attention(*states, scale=softmax_scale, is_causal=causal)
        return output.transpose(1, 2)

    def flash(query, key, value, softmax_scale, causal, **kwargs):
        calls.append("dense")
        return attend(query, key, value, softmax_scale, causal)

    def flash_varlen(
        query, key, value, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, **kwargs
    ):
        calls.append("varlen")
        lengths_q, lengths_k = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
        assert max(lengths_q) <= max_seqlen_q and max(lengths_k) <= max_seqlen_k
        parts = zip(query.split(lengths_q), key.split(lengths_k), value.split(lengths_k))
        return torch.cat([attend(q[None], k[None], v[None], softmax_scale, causal)[0] for q, k, v in parts])

    def process(query_length, key_length, is_causal, softmax_scale, max_seqlen_q=None, max_seqlen_k=None, **kwargs):
        lengths = {} if max_seqlen_q is None else {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": max_seqlen_k}
        return {"softmax_scale": softmax_scale, "causal": is_causal and query_length > 1, **lengths}

    functions = ((flash, flash_varlen, None, None, None), (process, None))
    monkeypatch.setattr(modeling_flash_attention_utils, "lazy_import_flash_attention", lambda *args: functions)
    expected = model.select_and_merge(pixel_values).features
    for config in (model.config, model.config.vision_config):
        config._attn_implementation_internal = "flash_attention_2"
    assert_close(model.select_and_merge(pixel_values).features, expected, 1e-5)
    num_layers = model.config.num_hidden_layers
    assert calls == ["dense"] * model.config.vision_config.num_hidden_layers + ["dense", "varlen"] * num_layers
    assert_close(model.get_features(pixel_values[:1])[0], expected[: len(model.encode(pixel_values[:1])[0])], 1e-5)


# Interface


def test_full_size_on_meta():
    with torch.device("meta"):
        model = VideoLaVITKeyframeTokenizer(VideoLaVITKeyframeTokenizerConfig())
        assert model.selector(torch.zeros(1, 256, 1408)).shape == (1, 256, 2)
        assert model.encoder_projection(torch.zeros(1, 256, 1408)).shape == (1, 256, 32)
    assert model.quantizer.codebook.shape == (16384, 32)
    assert not any("decoder" in name for name in model.state_dict())


def test_vision_model_shares_its_config(model):
    assert model.vision_model.config is model.config.vision_config


@torch.no_grad()
def test_forward_equals_encode_and_get_features(model, pixel_values):
    output = model(pixel_values)
    codes, features = model.encode(pixel_values), model.get_features(pixel_values)
    for index in range(3):
        keep = output.keep_mask[index]
        assert torch.equal(output.codes[index][keep], codes[index])
        assert (output.codes[index][~keep] == -1).all()
        assert torch.equal(output.last_hidden_state[index][keep], features[index])
        assert (output.last_hidden_state[index][~keep] == 0).all()


def test_example():
    model_checks.check_example(VideoLaVITKeyframeTokenizer.encode)


def test_save_and_load(model, pixel_values, tmp_path):
    model_checks.check_save_and_load(model, {"pixel_values": pixel_values}, tmp_path)


def test_disk_offload(model, pixel_values, tmp_path):
    def run(model):
        return [*model.encode(pixel_values), *model.get_features(pixel_values), *model(pixel_values).to_tuple()]

    model_checks.check_disk_offload(model, run, tmp_path)


def test_half_precision(model, pixel_values, tmp_path):
    model_checks.check_half_precision(model, {"pixel_values": pixel_values}, tmp_path)


def test_missing_weights(model, tmp_path, monkeypatch):
    model_checks.check_missing_weights(model, tmp_path, monkeypatch)


def test_tuple_equals_dict(model, pixel_values):
    model_checks.check_tuple_equals_dict(model, {"pixel_values": pixel_values})


def test_attention_implementations(model, pixel_values):
    model_checks.check_attention_implementations(model, {"pixel_values": pixel_values}, "last_hidden_state")
    model_checks.check_attention_implementations(model, {"pixel_values": pixel_values}, "reconstruction")
    assert model.vision_model.config._attn_implementation == "sdpa"


@torch.no_grad()
def test_hidden_states_and_attentions(model, pixel_values):
    model.set_attn_implementation("eager")
    kwargs = {"output_hidden_states": True, "output_attentions": True}
    outputs = model.select_and_merge(pixel_values, **kwargs)
    vision_outputs = model.vision_model(pixel_values, **kwargs)
    for name in ("hidden_states", "attentions"):
        for first, second in zip(outputs[name], vision_outputs[name], strict=True):
            assert torch.equal(first, second)
    most_kept = int(outputs.num_kept.max())
    most_dropped = 16 - int(outputs.num_kept.min())
    output = model(pixel_values, **kwargs)
    assert [tuple(state.shape) for state in output.hidden_states] == [(3, most_kept, 32)] * 3
    assert [tuple(attention.shape) for attention in output.attentions] == [(3, 2, most_kept, most_kept)] * 2
    assert [tuple(attention.shape) for attention in output.cross_attentions] == [(3, 2, most_kept, most_dropped)] * 2
    assert model.select_and_merge(pixel_values).hidden_states is None


def test_select_and_merge_returns_a_tuple_on_request(model, pixel_values):
    features, num_kept, keep_mask, _ = model.select_and_merge(pixel_values, return_dict=False)
    assert len(features) == num_kept.sum() == keep_mask.sum()


def test_wrong_image_size(model):
    for method in (model.encode, model.get_features, model.select_and_merge, model):
        with pytest.raises(ValueError, match=r"`pixel_values` must have the shape \(images, 3, 56, 56\)"):
            method(torch.zeros(1, 3, 224, 224))


# Training


def gradients_by_module(model, pixel_values, quantize):
    gradients = model_checks.compute_gradients(
        model.train(), lambda model: model(pixel_values, quantize=quantize).loss
    )
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())
    names = {name: name in gradients for name, _ in model.named_parameters()}
    modules = {name.split(".")[0] for name in names}
    trains = {module: {value for name, value in names.items() if name.split(".")[0] == module} for module in modules}
    assert all(len(values) == 1 for values in trains.values())  # a module trains as a whole or not at all
    return {module for module, values in trains.items() if values == {True}}


def test_what_the_first_phase_trains(model, pixel_values):
    state = {name: value.clone() for name, value in model.state_dict().items() if "quantizer" in name}
    trained = gradients_by_module(model, pixel_values, quantize=False)
    assert trained == {"selector", "merger", "encoder_projection", "decoder"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_what_the_second_phase_trains(model, pixel_values):
    assert gradients_by_module(model, pixel_values, quantize=True) == {"merger", "encoder_projection", "decoder"}
    assert bool(model.quantizer.is_initialized)


def test_vision_model_is_frozen(model, pixel_values, tmp_path):
    model.save_pretrained(tmp_path)
    # Loading does not keep `requires_grad`.
    loaded = VideoLaVITKeyframeTokenizer.from_pretrained(tmp_path)
    for keyframe_tokenizer in (model, loaded):
        keyframe_tokenizer.train()(pixel_values, quantize=False).loss.backward()
        assert all(parameter.grad is None for parameter in keyframe_tokenizer.vision_model.parameters())
    assert not any(parameter.requires_grad for parameter in model.vision_model.parameters())


def test_every_decision_gets_a_gradient(model, pixel_values):
    """Also the dropped patches': how the loss would change if they were kept."""
    features = model.vision_model(pixel_values).last_hidden_state[:, 1:].detach()
    model.train()
    policy = (torch.rand(3, 16, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    policy[:, 2] = 1
    policy.requires_grad_()
    merged, position_ids = model._merge_all(features, policy)
    tokens = torch.nn.functional.normalize(model.encoder_projection(merged), dim=-1)
    reconstruction = model.decoder(tokens, position_ids, policy[:, None, None], is_policy=True)
    (1 - cosine_similarity(reconstruction, features, dim=-1).mean()).backward()
    assert (policy.grad != 0).all()


def test_training_path_equals_evaluation_path_for_the_same_decisions(model, pixel_values, monkeypatch):
    """The first phase computes all rows with decisions as weights, evaluation the kept rows alone."""
    expected = model(pixel_values, quantize=False)
    monkeypatch.setattr(model, "_sample_policy", lambda features: model._select(features).float())
    output = model.train()(pixel_values, quantize=False)
    assert torch.equal(output.keep_mask, expected.keep_mask)
    assert_close(output.last_hidden_state, expected.last_hidden_state, 1e-4)
    assert_close(output.reconstruction, expected.reconstruction, 1e-4)
    assert_close(output.loss, expected.loss, 1e-4)


@torch.no_grad()
def test_loss_is_equation_4(model, pixel_values):
    output = model(pixel_values)
    features = model.vision_model(pixel_values).last_hidden_state[:, 1:]
    reconstruction_loss = (1 - cosine_similarity(output.reconstruction, features, dim=-1)).mean()
    keep_rates = output.keep_mask.float().mean(1)
    keep_rate_loss = (keep_rates - 1 / 3).square().mean()
    torch.testing.assert_close(output.reconstruction_loss, reconstruction_loss)
    torch.testing.assert_close(output.keep_rate_loss, keep_rate_loss)
    torch.testing.assert_close(output.keep_rate, keep_rates.mean())
    torch.testing.assert_close(output.loss, reconstruction_loss + 2 * keep_rate_loss + output.commitment_loss)
    assert model(pixel_values, quantize=False).commitment_loss is None


@pytest.mark.parametrize("quantize", [False, True])
def test_gradient_checkpointing(model, pixel_values, quantize):
    model_checks.check_gradient_checkpointing(model, lambda model: model(pixel_values, quantize=quantize).loss)


def test_learns_a_small_batch_in_both_phases(model):
    pixel_values = torch.randn(6, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = {}
    for quantize, steps in ((False, 120), (True, 60)):
        for _ in range(steps):
            optimizer.zero_grad()
            output = model.train()(pixel_values, quantize=quantize)
            output.loss.backward()
            optimizer.step()
            losses.setdefault(quantize, []).append(output.reconstruction_loss.detach())
    first, second = torch.stack(losses[False]), torch.stack(losses[True])
    assert first[:5].mean() > 0.8 and first[-5:].mean() < 0.6
    assert second[-5:].mean() < second[:5].mean() and second[-5:].mean() < 0.6
    assert abs(float(output.keep_rate) - 1 / 3) < 0.15
    assert output.codebook_usage > 0.3 and output.perplexity > 3


def test_training_without_decoder(pixel_values, golden_model):
    output = golden_model(pixel_values)
    assert output.loss is None and output.reconstruction is None
    with pytest.raises(ValueError, match="`decoder_num_hidden_layers` is 0"):
        golden_model.train()(pixel_values)
