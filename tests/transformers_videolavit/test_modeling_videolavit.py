"""The causal language model: golden parity, packing of dropped patches, padding, caches, training and saving."""

import pytest
import torch
from multimodal_inputs import clip_block, image_block, pad_batch
from tiny_models import load_tiny_causal_lm, tiny_config
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache, StaticCache

from transformers_videolavit import VideoLaVITConfig, VideoLaVITForCausalLM, VideoLaVITModel


def expand_golden(ids, config, num_clips=1):
    blocks = {-200: image_block(config), -201: clip_block(config) * num_clips}
    return torch.tensor([[token for mark in ids[0].tolist() for token in blocks.get(mark, [mark])]])


def assert_close(actual, expected, tolerance=1e-4):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


# Golden numbers of the reference model


def test_golden_continuous_embeddings(model, expected):
    output = model.get_image_features(expected["visual/pixel_values"])
    assert len(output.pooler_output) == 3
    for index, embeddings in enumerate(output.pooler_output):
        assert_close(embeddings, expected[f"visual/continuous_embeds.{index}"])
    torch.testing.assert_close(torch.stack(output.keep_mask), expected["visual/keep"].bool())


def test_golden_image_understanding(model, expected):
    input_ids = expand_golden(expected["understanding/image_prompt_ids"], model.config)
    output = model(input_ids, pixel_values=expected["understanding/keyframes"][:1])
    assert_close(output.logits[:, -1], expected["understanding/image_last_logits"])
    assert output.past_key_values.get_seq_length() == int(expected["understanding/image_seq_len"])


def test_golden_video_understanding(model, expected, visuals):
    input_ids = expand_golden(expected["understanding/video_prompt_ids"], model.config, num_clips=2)
    video = {name: visuals[name] for name in ("pixel_values_videos", "motion_vectors", "num_clips")}
    output = model(input_ids, **video)
    assert_close(output.logits[:, -1], expected["understanding/video_last_logits"])
    assert output.past_key_values.get_seq_length() == int(expected["understanding/video_seq_len"])


def test_golden_greedy_answer(model, expected, visuals):
    prompt = expected["understanding/video_prompt_ids"]
    golden = expected["understanding/greedy_ids"][0, prompt.shape[1] :]
    input_ids = expand_golden(prompt, model.config, num_clips=2)
    video = {name: visuals[name] for name in ("pixel_values_videos", "motion_vectors", "num_clips")}
    output = model.generate(input_ids, **video, do_sample=False, max_new_tokens=len(golden), eos_token_id=None)
    assert output[0, : input_ids.shape[1]].tolist() == input_ids[0].tolist()
    assert output[0, input_ids.shape[1] :].tolist() == golden.tolist()


# Contract and efficiency: a fixed number of placeholders outside, the kept tokens alone inside


def test_dropped_patches_cost_nothing(model, mixed, visuals):
    lengths = []
    hook = model.model.language_model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(args[0].shape[1]), with_kwargs=True
    )
    (sequence, _, _), (alone, _, _) = mixed
    kept = int(model.get_image_features(alone["pixel_values"]).keep_mask[0].sum())
    assert kept < model.config.num_image_tokens
    try:
        output = model(torch.tensor([sequence]), **alone)
    finally:
        hook.remove()
    num_dropped = model.config.num_image_tokens - kept
    assert lengths == [len(sequence) - num_dropped]
    assert output.past_key_values.get_seq_length() == len(sequence) - num_dropped
    assert output.logits.shape[1] == len(sequence)


def test_row_of_dropped_patch_repeats_last_kept_one(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    kept = model.get_image_features(alone["pixel_values"]).keep_mask[0]
    logits = model(torch.tensor([sequence]), **alone).logits[0]
    first = sequence.index(model.config.image_token_id)
    for patch in (~kept).nonzero()[:, 0].tolist():
        torch.testing.assert_close(logits[first + patch], logits[first + patch - 1], rtol=0, atol=0)


def test_generated_ids_follow_the_prompt_as_given(model, mixed, visuals):
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    output = model.generate(input_ids, attention_mask=attention_mask, **visuals, do_sample=False, max_new_tokens=5)
    assert output.shape == (3, input_ids.shape[1] + 5)
    assert torch.equal(output[:, : input_ids.shape[1]], input_ids)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_batch_equals_its_members(model, mixed, visuals, side, attention):
    input_ids, attention_mask = pad_batch(mixed[0], side)
    model.set_attn_implementation(attention)
    try:
        batch = model(input_ids, attention_mask=attention_mask, **visuals)
        for row, (sequence, alone) in enumerate(zip(*mixed)):
            single = model(torch.tensor([sequence]), **alone)
            assert_close(batch.logits[row][attention_mask[row].bool()], single.logits[0])
    finally:
        model.set_attn_implementation("sdpa")


def test_packed_documents_equal_one_by_one(model, mixed):
    sequences, alone = mixed
    positions = torch.cat([torch.arange(len(sequence)) for sequence in sequences[:2]])[None]
    packed = model(torch.tensor([sequences[0] + sequences[1]]), position_ids=positions, use_cache=False, **alone[0])
    singles = [model(torch.tensor([sequence]), **one).logits[0] for sequence, one in zip(sequences[:2], alone)]
    assert_close(packed.logits[0], torch.cat(singles))


def test_four_dimensional_mask(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    input_ids = torch.tensor([sequence])
    mask = torch.ones((1, 1, len(sequence), len(sequence)), dtype=torch.bool).tril()
    assert_close(model(input_ids, attention_mask=mask, **alone).logits, model(input_ids, **alone).logits)


def test_embeddings_equal_ids(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    input_ids = torch.tensor([sequence])
    embeddings = model.get_input_embeddings()(input_ids)
    assert_close(model(inputs_embeds=embeddings, **alone).logits, model(input_ids, **alone).logits, 1e-6)


def test_features_computed_before(model, mixed, visuals):
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    features = {
        "image": model.get_image_features(visuals["pixel_values"]),
        "video": model.get_video_features(**{key: value for key, value in visuals.items() if key != "pixel_values"}),
    }
    assert [tuple(mask.shape) for mask in features["video"].keep_mask] == [(2 * model.config.num_clip_tokens,)]
    given = model(input_ids, attention_mask=attention_mask, mm_encoder_outputs=features)
    computed = model(input_ids, attention_mask=attention_mask, **visuals)
    assert_close(given.logits, computed.logits, 1e-6)


# Caches


def test_cache_equals_no_cache(model, mixed, visuals):
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    arguments = {"attention_mask": attention_mask, "do_sample": False, "max_new_tokens": 6, **visuals}
    expected_ids = model.generate(input_ids, **arguments)
    assert torch.equal(model.generate(input_ids, cache_implementation="static", **arguments), expected_ids)
    full = input_ids
    mask = attention_mask
    for _ in range(6):
        next_ids = model(full, attention_mask=mask, use_cache=False, **visuals).logits[:, -1, :32000]
        next_ids[:, [257, 258]] = -float("inf")
        full = torch.cat((full, next_ids.argmax(-1, keepdim=True)), dim=1)
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
    assert torch.equal(full, expected_ids)


def test_continue_by_hand_with_the_returned_mask(model, mixed, visuals):
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    new_ids = torch.tensor([[21], [22], [23]])
    first = model(input_ids, attention_mask=attention_mask, **visuals)
    mask = torch.cat((first.attention_mask, torch.ones_like(new_ids)), dim=1)
    second = model(
        new_ids, attention_mask=mask, past_key_values=first.past_key_values, position_ids=mask.sum(1, keepdim=True) - 1
    )
    one_pass = model(
        torch.cat((input_ids, new_ids), 1),
        attention_mask=torch.nn.functional.pad(attention_mask, (0, 1), value=1),
        **visuals,
    )
    assert_close(second.logits[:, -1], one_pass.logits[:, -1])


def test_second_turn_continues_the_cache(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    cache = DynamicCache(config=model.config.text_config)
    arguments = {"do_sample": False, "max_new_tokens": 4, "eos_token_id": None, **alone}
    first = model.generate(torch.tensor([sequence]), past_key_values=cache, **arguments)
    turn = torch.cat((first, torch.tensor([[31, 32, 33]])), dim=1)
    continued = model.generate(turn, past_key_values=cache, **arguments)
    assert torch.equal(continued, model.generate(turn, **arguments))


def test_new_visuals_enter_a_cache(model, mixed):
    (sequence, text, _), (alone, _, _) = mixed
    cache = DynamicCache(config=model.config.text_config)
    model(torch.tensor([text]), past_key_values=cache)
    continued = model(torch.tensor([sequence]), past_key_values=cache, **alone)
    one_pass = model(torch.tensor([text + sequence]), **alone)
    assert_close(continued.logits, one_pass.logits[:, len(text) :])


# Outputs on request


def test_hidden_states_and_attentions_have_the_input_length(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    model.set_attn_implementation("eager")
    try:
        output = model(torch.tensor([sequence]), output_hidden_states=True, output_attentions=True, **alone)
    finally:
        model.set_attn_implementation("sdpa")
    length, layers = len(sequence), model.config.text_config.num_hidden_layers
    assert [state.shape[1] for state in output.hidden_states] == [length] * (layers + 1)
    assert [attention.shape[2:] for attention in output.attentions] == [(length, length)] * layers
    # No token attends to a dropped patch, and every row is a distribution over the kept ones.
    kept = model.get_image_features(alone["pixel_values"]).keep_mask[0]
    first = sequence.index(model.config.image_token_id)
    dropped_columns = first + (~kept).nonzero()[:, 0]
    assert output.attentions[0][..., dropped_columns].abs().max() == 0
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones_like(output.attentions[0].sum(-1)))


def test_tuple_equals_dict_and_logits_to_keep(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    output = model(torch.tensor([sequence]), **alone)
    as_tuple = model(torch.tensor([sequence]), return_dict=False, **alone)
    torch.testing.assert_close(as_tuple[0], output.logits)
    last = model(torch.tensor([sequence]), logits_to_keep=2, **alone).logits
    torch.testing.assert_close(last, output.logits[:, -2:])


# Training


def test_loss_equals_that_of_the_kept_tokens(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    input_ids = torch.tensor([sequence])
    labels = input_ids.masked_fill(input_ids == model.config.image_token_id, -100)
    loss = model(input_ids, labels=labels, **alone).loss
    kept = torch.ones(len(sequence), dtype=torch.bool)
    kept[input_ids[0] == model.config.image_token_id] = model.get_image_features(alone["pixel_values"]).keep_mask[0]
    logits = model(input_ids, **alone).logits[0, kept]
    by_hand = torch.nn.functional.cross_entropy(logits[:-1].float(), labels[0, kept][1:])
    torch.testing.assert_close(loss, by_hand)


def test_gradients_and_gradient_checkpointing(mixed, visuals):
    input_ids, attention_mask = pad_batch(mixed[0], "right")
    labels = input_ids.masked_fill((attention_mask == 0) | (input_ids == 257) | (input_ids == 258), -100)
    gradients = []
    for checkpointing in (False, True):
        model = load_tiny_causal_lm(instruction_tuned=True).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(input_ids, attention_mask=attention_mask, labels=labels, **visuals).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)
    for name in ("model.multi_modal_projector.weight", "lm_head.weight", "model.language_model.embed_tokens.weight"):
        assert plain[name].abs().sum() > 0
    assert any(name.startswith("model.keyframe_tokenizer.") and "merger" in name for name in plain)


# Errors


def test_mismatched_inputs_are_refused(model, mixed, visuals):
    (sequence, _, _), (alone, _, _) = mixed
    input_ids = torch.tensor([sequence])
    with pytest.raises(ValueError, match="tokens: 16, features: 32"):
        model(input_ids, pixel_values=visuals["pixel_values"])
    with pytest.raises(ValueError, match="Video .* tokens: 0, features: 302"):
        model(input_ids, **{key: value for key, value in visuals.items() if key != "pixel_values"})
    with pytest.raises(ValueError, match="2 keyframes .* 1 clips"):
        model.get_video_features(visuals["pixel_values_videos"], visuals["motion_vectors"][:1])
    with pytest.raises(ValueError, match="sums to 3 clips"):
        model.get_video_features(visuals["pixel_values_videos"], visuals["motion_vectors"], torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="attention_mask.* covers 7 tokens"):
        model(input_ids, attention_mask=torch.ones(1, 7), **alone)
    with pytest.raises(ValueError, match="pixel_values_videos"):
        model(input_ids, motion_vectors=visuals["motion_vectors"])
    with pytest.raises(ValueError, match="mm_encoder_outputs"):
        model(input_ids, mm_encoder_outputs={"image": model.get_image_features(**alone)}, **alone)
    with pytest.raises(ValueError, match="input_ids or inputs_embeds"):
        model()


# Sizes, saving, types


def test_full_size_on_meta():
    config = VideoLaVITConfig()
    with torch.device("meta"):
        model = VideoLaVITForCausalLM(config)
    counts = {
        "vision": sum(parameter.numel() for parameter in model.model.vision_model.parameters()),
        "motion": sum(parameter.numel() for parameter in model.model.motion_tokenizer.parameters()),
    }
    assert round(counts["vision"] / 1e6, 1) == 1012.6
    assert round(counts["motion"] / 1e6, 1) == 158.5
    assert model.lm_head.weight.shape == model.get_input_embeddings().weight.shape == (49412, 4096)
    assert config.num_clip_tokens == 391


def test_sub_models_hold_the_same_config_objects():
    model = VideoLaVITForCausalLM(tiny_config())
    config = model.config
    assert model.model.config is config
    assert model.model.language_model.config is config.text_config
    assert model.model.keyframe_tokenizer.config is config.keyframe_tokenizer_config
    assert model.model.vision_model.config is config.vision_config is config.keyframe_tokenizer_config.vision_config
    assert model.model.motion_tokenizer.config is config.motion_tokenizer_config


def test_save_and_load(model, mixed, visuals, tmp_path):
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    expected_logits = model(input_ids, attention_mask=attention_mask, **visuals).logits
    model.save_pretrained(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(loaded(input_ids, attention_mask=attention_mask, **visuals).logits, expected_logits)
    base = AutoModel.from_pretrained(tmp_path / "model")
    assert isinstance(base, VideoLaVITModel)
    base.save_pretrained(tmp_path / "base")
    _, report = VideoLaVITForCausalLM.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert set(report["missing_keys"]) == {"lm_head.weight"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype, mixed, visuals):
    model = load_tiny_causal_lm(instruction_tuned=True).to(dtype).eval()
    input_ids, attention_mask = pad_batch(mixed[0], "left")
    half = {name: value.to(dtype) if value.is_floating_point() else value for name, value in visuals.items()}
    output = model(input_ids, attention_mask=attention_mask, **half)
    assert output.logits.dtype == dtype and torch.isfinite(output.logits).all()
    ids = model.generate(input_ids[1:2, -5:], generation_mode="video", min_new_tokens=4, max_new_tokens=4)
    assert ids.shape == (1, 5 + 6 + 137)


def test_static_cache_of_the_user(model, mixed):
    (sequence, _, _), (alone, _, _) = mixed
    cache = StaticCache(config=model.config.text_config, max_cache_len=64)
    output = model(torch.tensor([sequence]), past_key_values=cache, **alone)
    assert_close(output.logits, model(torch.tensor([sequence]), **alone).logits)


def test_embeddings_resize(mixed):
    model = load_tiny_causal_lm(instruction_tuned=True).eval()
    (sequence, _, _), (alone, _, _) = mixed
    before = model(torch.tensor([sequence]), **alone).logits
    model.resize_token_embeddings(49420)
    assert model.config.text_config.vocab_size == 49420
    after = model(torch.tensor([sequence]), **alone).logits
    assert after.shape[-1] == 49420
    assert_close(after[..., :49412], before, 1e-6)
