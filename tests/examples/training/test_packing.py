"""Documents of the pre-training, their packing, and the loss on what is packed."""

import copy

import datasets
import numpy as np
import pytest
import torch
from token_samples import make_samples


MAX_LENGTH = 600


@pytest.fixture(scope="module")
def small():
    """The small random model and its processor."""
    from small_random_model import build_language_model

    return build_language_model()


@pytest.fixture(scope="module")
def samples(small):
    return make_samples(small[0], ["text", "image", "video", "image", "text", "video"])


def make_builder(small, **kwargs):
    from training.packing import DocumentBuilder

    model, processor = small
    return DocumentBuilder(processor.tokenizer, processor.image_processor, model.config, MAX_LENGTH, **kwargs)


def test_a_text_before_its_video_is_followed_by_discrete_tokens_with_labels(small, samples):
    config, tokenizer = small[0].config, small[1].tokenizer
    builder = make_builder(small, text_first_probability=1.0, prompt_dropout=0.0)
    (document,) = builder(samples[2], np.random.default_rng(0))
    text = tokenizer(samples[2]["text"], add_special_tokens=False)["input_ids"]
    expected = [config.bos_token_id, *text]
    for visual, motion in zip(samples[2]["visual_codes"], samples[2]["motion_codes"]):
        expected += [config.image_start_token_id, *(code + config.visual_code_offset for code in visual)]
        expected += [config.image_end_token_id, config.motion_start_token_id]
        expected += [*(code + config.motion_code_offset for code in motion), config.motion_end_token_id]
    assert document.input_ids == [*expected, config.eos_token_id] == document.labels
    assert document.images == [] and len(document) == len(document.input_ids)


def test_a_video_before_its_text_has_continuous_keyframes_without_and_motion_with_labels(small, samples):
    config = small[0].config
    builder = make_builder(small, text_first_probability=0.0)
    (document,) = builder(samples[2], np.random.default_rng(0))
    ids, labels = torch.tensor(document.input_ids), torch.tensor(document.labels)
    assert len(document.images) == 2 and int((ids == config.image_token_id).sum()) == 2 * config.num_image_tokens
    is_image = (ids == config.image_token_id) | (ids == config.image_start_token_id)
    is_image |= ids == config.image_end_token_id
    assert (labels[is_image] == -100).all() and torch.equal(labels[~is_image], ids[~is_image])
    assert int((labels >= config.motion_code_offset).sum()) == 2 * 135
    # The language model reads the kept patches alone, whose number is that of the visual codes.
    assert len(document) == builder.count_tokens(samples[2])


def test_without_stored_keyframes_or_on_request_conditions_are_discrete(small, samples):
    for sample, kwargs in (({**samples[1], "keyframes": []}, {}), (samples[1], {"continuous_features": False})):
        builder = make_builder(small, text_first_probability=0.0, **kwargs)
        (document,) = builder(sample, np.random.default_rng(0))
        assert document.images == [] and document.labels == document.input_ids


def test_a_given_keyframe_stands_behind_its_text_without_labels_and_its_motion_is_learned(small, samples):
    config = small[0].config
    settings = {"text_first_probability": 1.0, "prompt_dropout": 0.0, "continuous_features": False}
    (generated,) = make_builder(small, **settings)(samples[2], np.random.default_rng(0))
    builder = make_builder(small, **settings, given_keyframe_probability=1.0)
    (given,) = builder(samples[2], np.random.default_rng(0))
    assert len(given.images) == 1 and len(given) == len(generated)
    # All but the first of the two keyframes is as it is without.
    start = given.input_ids.index(config.image_start_token_id)
    end = given.input_ids.index(config.image_end_token_id)
    assert given.input_ids[start + 1 : end] == [config.image_token_id] * config.num_image_tokens
    assert given.labels[start : end + 1] == [-100] * (config.num_image_tokens + 2)
    assert given.input_ids[:start] == generated.input_ids[:start] == given.labels[:start]
    rest = generated.input_ids[generated.input_ids.index(config.image_end_token_id) + 1 :]
    assert given.input_ids[end + 1 :] == rest == given.labels[end + 1 :]
    # Images, videos without motion or without stored keyframes have none.
    for sample, kwargs in (
        (samples[1], {}),
        (samples[2], {"motion_tokens": False}),
        ({**samples[2], "keyframes": []}, {}),
    ):
        builder = make_builder(small, **settings, given_keyframe_probability=1.0, **kwargs)
        assert builder(sample, np.random.default_rng(0))[0].images == []


def test_keyframes_are_given_as_often_as_asked(small, samples):
    from training.packing import PackedDataset

    settings = {"text_first_probability": 1.0, "prompt_dropout": 0.0, "continuous_features": False}
    builder = make_builder(small, **settings, given_keyframe_probability=0.3)
    num_given = [len(builder(samples[2], np.random.default_rng(seed))[0].images) for seed in range(500)]
    assert abs(np.mean(num_given) - 0.3) < 0.07
    videos = datasets.Dataset.from_list(samples)
    assert PackedDataset(videos, builder).has_images
    assert not PackedDataset(videos, make_builder(small, **settings)).has_images


def test_a_dropped_prompt_leaves_the_unconditional_contexts_of_guidance(small, samples):
    config = small[0].config
    builder = make_builder(small, text_first_probability=1.0, prompt_dropout=1.0)
    documents = builder(samples[2], np.random.default_rng(0))
    starts = [document.input_ids[0] for document in documents]
    assert starts == [config.image_start_token_id, config.motion_start_token_id] * 2
    assert all(config.eos_token_id not in document.input_ids for document in documents)


def test_both_orders_are_equally_frequent_and_prompts_are_dropped_as_often_as_asked(small, samples):
    config = small[0].config
    builder = make_builder(small, continuous_features=False, prompt_dropout=0.2)
    documents = [builder(samples[1], np.random.default_rng(seed))[0] for seed in range(2000)]
    visual_first = np.mean([document.input_ids[1] == config.image_start_token_id for document in documents])
    without_prompt = np.mean([document.input_ids[0] == config.image_start_token_id for document in documents])
    assert abs(visual_first - 0.5) < 0.04 and abs(without_prompt - 0.1) < 0.03


def test_documents_are_no_longer_than_a_row(small, samples):
    builder = make_builder(small, text_first_probability=1.0, prompt_dropout=0.0)
    builder.max_length = 300
    (document,) = builder({**samples[2], "text": "word " * 500}, np.random.default_rng(0))
    config = small[0].config
    assert len(document) == 300 and document.input_ids.count(config.motion_end_token_id) == 1
    texts = builder._text_documents("word " * 500)
    assert [len(text) for text in texts[:-1]] == [300] * (len(texts) - 1) and 0 < len(texts[-1]) <= 300


def test_rows_hold_every_sample_once_and_are_full(small, samples):
    from training.packing import PackedDataset

    many = datasets.Dataset.from_list(samples * 20)
    builder = make_builder(small, prompt_dropout=0.0)
    dataset = PackedDataset(many, builder, seed=3)
    assert sorted(unit for row in dataset.rows for unit in row) == list(range(len(many)))
    lengths = [sum(map(len, dataset[index])) for index in range(len(dataset))]
    assert max(lengths) <= MAX_LENGTH and np.mean(lengths) > 0.9 * MAX_LENGTH
    other = PackedDataset(many, builder, seed=4)
    assert PackedDataset(many, builder, seed=3).rows == dataset.rows != other.rows


def test_a_text_longer_than_a_row_fills_several_rows_and_loses_nothing(small):
    from training.packing import PackedDataset

    sample = {"kind": "text", "text": "word " * 2000, "visual_codes": [], "motion_codes": [], "keyframes": []}
    dataset = PackedDataset(datasets.Dataset.from_list([{**sample, "num_tokens": 0}]), make_builder(small), seed=0)
    rows = [dataset[index] for index in range(len(dataset))]
    assert all(len(row) == 1 and len(row[0]) <= MAX_LENGTH for row in rows) and len(rows) > 2
    parts = {int(dataset.parts[units[0]]): row[0].input_ids for units, row in zip(dataset.rows, rows)}
    ids = [token for part in sorted(parts) for token in parts[part]]
    assert ids == small[1].tokenizer(sample["text"])["input_ids"] + [small[0].config.eos_token_id]


def test_names_of_special_tokens_in_a_text_are_text(small, samples):
    config, tokenizer = small[0].config, small[1].tokenizer
    special_ids = set(tokenizer.added_tokens_decoder)
    text = "an <image> tag, <s>struck</s> and [IMG]x[/IMG]"
    builder = make_builder(small, text_first_probability=1.0, prompt_dropout=0.0)
    for sample in (samples[0], samples[1]):
        (document,) = builder({**sample, "text": text}, np.random.default_rng(0))
        (other,) = builder({**sample, "text": "a tag"}, np.random.default_rng(0))
        added, expected = ([id for id in ids if id in special_ids] for ids in (document.input_ids, other.input_ids))
        assert added == expected and expected[0] == config.bos_token_id and expected[-1] == config.eos_token_id
        written = [id for id in document.input_ids if id not in special_ids]
        assert tokenizer.decode(written) == text


def test_tokens_added_to_the_vocabulary_stay_tokens(small, samples):
    processor = copy.deepcopy(small[1])
    processor.tokenizer.add_tokens(["<think>"])
    builder = make_builder((small[0], processor), prompt_dropout=0.0)
    (document,) = builder({**samples[0], "text": "<think> a lake"}, np.random.default_rng(0))
    assert document.input_ids.count(processor.tokenizer.convert_tokens_to_ids("<think>")) == 1


def test_what_an_epoch_draws_depends_on_seed_epoch_and_sample_only(small, samples):
    from training.packing import PackedDataset

    dataset = PackedDataset(datasets.Dataset.from_list(samples * 4), make_builder(small), seed=0)
    first = [[document.input_ids for document in dataset[index]] for index in range(len(dataset))]
    again = [[document.input_ids for document in dataset[index]] for index in reversed(range(len(dataset)))]
    dataset.set_epoch(1)
    later = [[document.input_ids for document in dataset[index]] for index in range(len(dataset))]
    assert first == again[::-1] and first != later


def test_packed_losses_equal_those_of_the_documents_alone(small, samples):
    from torch.nn.functional import cross_entropy
    from training.packing import FlatteningCollator

    model = small[0]
    builder = make_builder(small, prompt_dropout=0.0)
    documents = [builder(sample, np.random.default_rng(index))[0] for index, sample in enumerate(samples)]
    assert any(document.images for document in documents)
    collator = FlatteningCollator(model.config)

    def token_losses(rows):
        batch = collator(rows)
        labels = batch.pop("labels")[0, 1:]
        with torch.no_grad():
            logits = model(**batch).logits[0]
        return cross_entropy(logits, labels[labels != -100], reduction="none")

    packed = token_losses([documents[:4], documents[4:]])
    alone = torch.cat([token_losses([[document]]) for document in documents])
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-5)


def test_no_document_attends_to_another(small, samples):
    from training.packing import FlatteningCollator

    builder = make_builder(small, text_first_probability=1.0, prompt_dropout=0.0)
    documents = [builder(sample, np.random.default_rng(0))[0] for sample in samples[:3]]
    collator = FlatteningCollator(small[0].config)
    batch = collator([documents])
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    first_length = len(documents[0].input_ids)
    changed["input_ids"][0, 1 : first_length - 1] += 1
    with torch.no_grad():
        logits = [small[0](**{**inputs, "labels": None, "logits_to_keep": 0}).logits[0] for inputs in (batch, changed)]
    assert not torch.equal(logits[0][:first_length], logits[1][:first_length])
    assert torch.equal(logits[0][first_length:], logits[1][first_length:])


def test_an_empty_image_gives_the_image_path_gradients_of_zero(small, samples):
    from training.language_modeling import freeze_tokenizers
    from training.packing import FlatteningCollator

    model = small[0]
    builder = make_builder(small)
    documents = builder(samples[0], np.random.default_rng(0))
    with_image = FlatteningCollator(model.config, always_image=True)([documents])
    without = FlatteningCollator(model.config)([documents])
    assert "pixel_values" in with_image and "pixel_values" not in without
    freeze_tokenizers(model)
    with_image.pop("logits_to_keep"), without.pop("logits_to_keep")
    loss = model(**with_image).loss
    loss.backward()
    torch.testing.assert_close(loss, model(**without).loss)
    weight = model.model.multi_modal_projector.weight
    assert weight.grad is not None and not weight.grad.any()
    model.zero_grad()
    model.requires_grad_(True)


def test_without_motion_tokens_a_video_is_its_keyframes(small, samples):
    config = small[0].config
    for text_first in (0.0, 1.0):
        builder = make_builder(small, text_first_probability=text_first, prompt_dropout=0.0, motion_tokens=False)
        (document,) = builder(samples[2], np.random.default_rng(0))
        assert max(document.input_ids) < config.motion_start_token_id
        assert document.input_ids.count(config.image_start_token_id) == 2
