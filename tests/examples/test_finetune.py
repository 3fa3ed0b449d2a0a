"""Stage 3: instruction tuning, in full and by adapters."""

import copy
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_media import write_damaged_png
from training_runs import kill_when, logged, run, start

from transformers_videolavit import VideoLaVITForCausalLM


VIDEO = Path(__file__).parents[2] / "examples" / "media" / "big_buck_bunny.mp4"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small random model, saved, and conversations about images and videos in the published layouts."""
    from small_random_model import build_language_model

    folder = tmp_path_factory.mktemp("small")
    model, processor = build_language_model()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    generator = np.random.default_rng(0)
    conversations = []
    for index in range(4):
        Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        turns = [
            ("human", f"<image>\nWhat is {index}?"),
            ("gpt", f"It is {index}."),
            ("human", "Sure?"),
            ("gpt", "Yes."),
        ]
        turns = [{"from": role, "value": text} for role, text in turns]
        conversations.append({"id": str(index), "image": f"{index}.png", "conversations": turns})
    text = [{"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "A model."}]
    conversations.append({"id": "text", "conversations": text})
    (folder / "images.json").write_text(json.dumps(conversations))
    videos = [{"q": "What moves?", "a": "A rabbit.", "video_id": VIDEO.stem}]
    (folder / "videos.json").write_text(json.dumps(videos))
    sets = [
        {"format": "llava", "path": str(folder / "images.json"), "media_root": str(folder)},
        {"format": "video_chatgpt", "path": str(folder / "videos.json"), "media_root": str(VIDEO.parent)},
    ]
    return folder, model, processor, sets


def arguments(small, output_dir, **kwargs):
    settings = {"max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "max_length": 2000}
    settings |= {"logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant", "disable_tqdm": True}
    settings |= {"conversations": json.dumps(small[3])} | kwargs
    args = ["--model_name_or_path", small[0] / "model", "--output_dir", output_dir, "--use_cpu"]
    return [str(arg) for arg in [*args, *(item for name, value in settings.items() for item in (f"--{name}", value))]]


def make_dataset(small, **kwargs):
    from training.conversations import ConversationDataset, load_conversations

    return ConversationDataset(load_conversations(small[3]), small[2], **{"max_length": 2000} | kwargs)


def test_labels_are_the_assistants_turns_only(small):
    dataset = make_dataset(small)
    tokenizer = small[2].tokenizer
    expected = ["It is 0. \\n </s> Yes. \\n </s>", "A model. \\n </s>", "A rabbit. \\n </s>"]
    for index, text in zip((0, 4, 5), expected):
        (document,) = dataset[index]
        labels = [label for label in document.labels if label != -100]
        assert tokenizer.decode(labels) == text
        learned = [token for token, label in zip(document.input_ids, document.labels) if label != -100]
        assert learned == labels


def test_names_of_special_tokens_in_a_conversation_are_text(small, tmp_path):
    tokenizer = small[2].tokenizer
    turns = [
        ("human", "What is <video> or [IMG]x[/IMG]?"),
        ("gpt", "<s>Old</s> tags, \n</s>."),
        ("human", "<visual_1>?"),
        ("gpt", "No <image>"),
    ]
    texts = [{"from": role, "value": text} for role, text in turns]
    pictures = [{**texts[0], "value": "<image>\nIs it </s>?"}, {**texts[1], "value": "It is <unk>."}]
    rows = [{"conversations": texts}, {"image": "0.png", "conversations": pictures}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    dataset = make_dataset(
        (*small[:3], [{"format": "llava", "path": str(tmp_path / "rows.json"), "media_root": str(small[0])}])
    )
    (text,), (picture,) = dataset[0], dataset[1]
    answers = ["<s>Old</s> tags, \n</s>. \\n </s> No <image> \\n </s>", "It is <unk>. \\n </s>"]
    for document, answer in zip((text, picture), answers):
        learnt = [label for label in document.labels if label != -100]
        assert tokenizer.decode(learnt) == answer
        assert learnt == [id for id, label in zip(document.input_ids, document.labels) if label != -100]
        assert document.input_ids.count(tokenizer.bos_token_id) == 1
        assert document.input_ids.count(tokenizer.eos_token_id) == answer.count("\\n </s>")
    assert not text.images and tokenizer.image_token_id not in text.input_ids
    assert picture.input_ids.count(tokenizer.image_token_id) == small[1].config.num_image_tokens
    # As the model is asked.
    messages = [
        {"role": "assistant" if role == "gpt" else "user", "content": [{"type": "text", "text": text}]}
        for role, text in turns
    ]
    inputs = small[2].apply_chat_template([messages], tokenize=True, return_dict=True, sanitize_control_tokens=True)
    assert inputs["input_ids"][0] == text.input_ids


def test_visuals_of_a_conversation_come_with_its_document(small):
    dataset = make_dataset(small)
    config = small[1].config
    (image,), (text,), (video,) = dataset[0], dataset[4], dataset[5]
    assert len(image.images) == 1 and image.input_ids.count(config.image_token_id) == config.num_image_tokens
    assert not text.images and not text.videos
    (inputs,) = video.videos
    num_clips = int(inputs["num_clips"].sum())
    assert video.input_ids.count(config.video_token_id) == num_clips * config.num_clip_tokens


def test_the_loss_of_a_batch_is_that_of_transformers_own_trainer(small):
    """The collator's flattened batch without label indices is what a plain `Trainer` gives the model."""
    from training.packing import FlatteningCollator

    model, rows = small[1], [make_dataset(small)[index] for index in range(6)]
    batch = FlatteningCollator(model.config, only_label_logits=False)(rows)
    with torch.no_grad():
        together = model(**batch)
        losses, counts = [], []
        for row in rows:
            alone = FlatteningCollator(model.config, only_label_logits=False)([row])
            losses.append(model(**alone).loss)
            counts.append((alone["labels"] != -100).sum())
    counts = torch.stack(counts)
    expected = (torch.stack(losses) * counts).sum() / counts.sum()
    torch.testing.assert_close(together.loss, expected, rtol=0, atol=1e-5)


def test_transformers_own_trainer_takes_dataset_and_collator_as_they_are(small, tmp_path):
    from training.packing import FlatteningCollator
    from transformers import Trainer, TrainingArguments

    model = VideoLaVITForCausalLM.from_pretrained(small[0] / "model")
    args = TrainingArguments(
        tmp_path, max_steps=2, use_cpu=True, per_device_train_batch_size=2, remove_unused_columns=False
    )
    collator = FlatteningCollator(model.config, only_label_logits=False)
    Trainer(model, args, train_dataset=make_dataset(small), data_collator=collator).train()
    assert not torch.equal(model.lm_head.weight, small[1].lm_head.weight)


def test_documents_with_videos_are_made_once_and_kept(small, tmp_path, monkeypatch):
    dataset, cached = make_dataset(small), make_dataset(small, cache_dir=tmp_path / "cache")
    (expected,) = dataset[5]
    (made,), (again,) = cached[5], make_dataset(small, cache_dir=tmp_path / "cache")[5]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for document in (made, again):
        assert document.input_ids == expected.input_ids and document.labels == expected.labels
        assert document.videos[0].keys() == expected.videos[0].keys()
        for name, tensor in expected.videos[0].items():
            torch.testing.assert_close(document.videos[0][name], tensor, atol=2e-3, rtol=0)
    assert torch.equal(made.videos[0]["pixel_values_videos"], again.videos[0]["pixel_values_videos"])
    # Without motion, keyframes are images, which are kept, too.
    options = {"cache_dir": tmp_path / "cache", "motion_tokens": False}
    (image,), (still,) = make_dataset(small, motion_tokens=False)[5], make_dataset(small, **options)[5]
    assert still.input_ids == image.input_ids and not still.videos and len(still.images) == len(image.images) > 0
    torch.testing.assert_close(torch.stack(still.images), torch.stack(image.images), atol=2e-3, rtol=0)
    # What is cached needs no video; another length is another document.
    monkeypatch.setattr(type(cached), "_make_document", None)
    assert cached[5][0].input_ids == expected.input_ids
    with pytest.raises(TypeError):
        make_dataset(small, cache_dir=tmp_path / "cache", max_length=1999)[5]


def test_a_conversation_without_its_image_is_replaced_and_named(small, tmp_path, caplog):
    conversations = json.loads((small[0] / "images.json").read_text())
    conversations[1]["image"] = "missing.png"
    (tmp_path / "images.json").write_text(json.dumps(conversations))
    sets = [{"format": "llava", "path": str(tmp_path / "images.json"), "media_root": str(small[0])}]
    dataset = make_dataset((*small[:3], sets))
    from transformers.utils import logging

    logging.enable_propagation()
    (document,), (again,) = dataset[1], dataset[1]
    assert document.input_ids == again.input_ids
    assert "Conversation 1 is left out" in caplog.text and "missing.png" in caplog.text


def test_tokens_added_to_the_vocabulary_stay_tokens_in_a_conversation(small, tmp_path):
    processor = copy.deepcopy(small[2])
    processor.tokenizer.add_tokens(["<think>"])
    turns = [{"from": "human", "value": "What is </s>?"}, {"from": "gpt", "value": "<think> An end."}]
    (tmp_path / "rows.json").write_text(json.dumps([{"conversations": turns}]))
    dataset = make_dataset((*small[:2], processor, [{"format": "llava", "path": str(tmp_path / "rows.json")}]))
    (document,) = dataset[0]
    assert document.labels.count(processor.tokenizer.convert_tokens_to_ids("<think>")) == 1
    assert document.input_ids.count(processor.tokenizer.eos_token_id) == 1


def test_a_conversation_with_a_damaged_image_is_replaced_and_named(small, tmp_path, caplog):
    from transformers.utils import logging

    write_damaged_png(tmp_path / "0.png")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Noise."}]
    rows = [{"image": "0.png", "conversations": turns}, {"conversations": [{**turns[0], "value": "Who?"}, turns[1]]}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    dataset = make_dataset((*small[:3], [{"format": "llava", "path": str(tmp_path / "rows.json")}]))
    logging.enable_propagation()
    (document,) = dataset[0]
    assert not document.images and "Conversation 0 is left out: broken PNG file" in caplog.text


def test_when_nothing_can_be_read_the_reason_is_given(small, tmp_path):
    sets = [{**small[3][0], "media_root": str(tmp_path / "nowhere")}]
    conversations = json.loads((small[0] / "images.json").read_text())[:4]
    (tmp_path / "images.json").write_text(json.dumps(conversations))
    dataset = make_dataset((*small[:3], [{**sets[0], "path": str(tmp_path / "images.json")}]))
    with pytest.raises(ValueError, match="cannot be read"):
        dataset[0]


def test_an_unknown_format_is_refused(small):
    from training.conversations import load_conversations

    with pytest.raises(ValueError, match="'alpaca'"):
        load_conversations([{"format": "alpaca", "path": "a.json"}])


def test_what_does_not_fit_is_cut_off_after_the_visuals(small):
    (whole,) = make_dataset(small)[0]
    length = len(whole.input_ids) - 5
    (cut,) = make_dataset(small, max_length=length)[0]
    assert cut.input_ids == whole.input_ids[:length]


def test_full_tuning_trains_language_model_merger_and_projector(small, tmp_path):
    from finetune_full import main

    main(arguments(small, tmp_path, max_steps=2))
    trained = VideoLaVITForCausalLM.from_pretrained(tmp_path).state_dict()
    changed = {name for name, tensor in small[1].state_dict().items() if not torch.equal(tensor, trained[name])}
    expected = {
        name
        for name, _ in small[1].named_parameters()
        if name.startswith(("model.language_model.", "lm_head.", "model.multi_modal_projector.")) or ".merger." in name
    }
    assert changed == expected


@pytest.mark.parametrize(("given", "dtype"), [({}, torch.float32), ({"dtype": "bfloat16"}, torch.bfloat16)])
def test_a_model_in_half_precision_is_trained_in_single_precision_unless_told_otherwise(small, tmp_path, given, dtype):
    from finetune_full import main

    half, processor = VideoLaVITForCausalLM.from_pretrained(small[0] / "model", dtype=torch.float16), small[2]
    half.save_pretrained(tmp_path / "half")
    processor.save_pretrained(tmp_path / "half")
    # Smaller than what half precision can tell from one.
    settings = {"model_name_or_path": tmp_path / "half", "max_steps": 1, "learning_rate": 1e-4, **given}
    main(arguments(small, tmp_path / "tuned", **settings))
    tuned = VideoLaVITForCausalLM.from_pretrained(tmp_path / "tuned")
    assert tuned.dtype == dtype and np.isfinite(logged(tmp_path / "tuned")).all()
    norms = [model.model.language_model.norm.weight.float() for model in (half, tuned)]
    assert torch.equal(*norms) == (dtype == torch.bfloat16)


def test_full_tuning_learns_the_answers_by_heart(small, tmp_path):
    from finetune_full import main

    images_only = json.dumps(small[3][:1])
    settings = {"max_steps": 40, "per_device_train_batch_size": 5, "learning_rate": 5e-3, "save_steps": 1000}
    main(arguments(small, tmp_path, conversations=images_only, **settings))
    losses = logged(tmp_path)
    assert losses[-1] < losses[0] / 10


def test_adapters_are_trained_merged_and_equal_the_merged_model(small, tmp_path):
    import finetune_lora
    import merge_lora
    from peft import PeftModel

    args = arguments(small, tmp_path / "lora", max_steps=3, lora_rank=4, learning_rate=1e-2)
    finetune_lora.main([*args, "--learning_rates", '{"merger|multi_modal_projector": 1e-3}'])
    size = (tmp_path / "lora" / "adapter_model.safetensors").stat().st_size
    assert size < (small[0] / "model" / "model.safetensors").stat().st_size / 2
    merge = ["--adapter", str(tmp_path / "lora"), "--output_dir", str(tmp_path / "merged"), "--dtype", "float32"]
    merge_lora.main(merge)

    base = VideoLaVITForCausalLM.from_pretrained(small[0] / "model")
    adapted = PeftModel.from_pretrained(base, tmp_path / "lora").eval()
    merged = VideoLaVITForCausalLM.from_pretrained(tmp_path / "merged")
    inputs = small[2](text=["<image>\nWhat?"], images=[Image.open(small[0] / "0.png")], return_tensors="pt")
    with torch.no_grad():
        logits = [model(**inputs).logits for model in (adapted, merged, small[1])]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    assert (logits[1] - logits[2]).abs().max() > 1e-2
    unchanged = ("quantizer", "vision_model", "selector", "motion_tokenizer", "embed_tokens", "lm_head")
    state = merged.state_dict()
    for name, tensor in small[1].state_dict().items():
        if any(part in name for part in unchanged):
            assert torch.equal(tensor, state[name]), name
    assert not torch.equal(merged.model.multi_modal_projector.weight, small[1].model.multi_modal_projector.weight)


@pytest.mark.parametrize("program", ["finetune_full", "finetune_lora"])
def test_a_killed_run_resumes_to_exactly_the_same_losses(small, tmp_path, program):
    run(program, *arguments(small, tmp_path / "a"))
    kill_when(start(program, *arguments(small, tmp_path / "b")), tmp_path / "b" / "checkpoint-2" / "complete")
    run(program, *arguments(small, tmp_path / "b"))
    assert logged(tmp_path / "b") == logged(tmp_path / "a")


def test_two_processes_give_the_loss_curve_of_one(small, tmp_path):
    run("finetune_lora", *arguments(small, tmp_path / "one"))
    args = arguments(small, tmp_path / "two", per_device_train_batch_size=1)
    run("finetune_lora", *args, num_processes=2)
    np.testing.assert_allclose(logged(tmp_path / "two"), logged(tmp_path / "one"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("program", ["finetune_full", "finetune_lora"])
def test_questions_are_answered_after_evaluation(small, tmp_path, program):
    import importlib

    sets = json.dumps(small[3][:1])
    settings = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "sample_prompts": "Who are you?"}
    importlib.import_module(program).main(
        arguments(small, tmp_path, conversations=sets, eval_conversations=sets, **settings)
    )
    (text,) = (tmp_path / "samples").glob("answers-*.txt")
    assert text.read_text().startswith("Who are you?\n") and logged(tmp_path, "eval_loss")


def test_questions_about_one_video_become_turns_of_one_conversation(small, tmp_path):
    from training.conversations import load_conversations

    rows = [{"q": f"Question {index}?", "a": f"Answer {index}.", "video_id": VIDEO.stem} for index in range(3)]
    rows.append({"q": "Another?", "a": "Yes.", "video_id": "another"})
    (tmp_path / "videos.json").write_text(json.dumps(rows))
    entry = {"format": "video_chatgpt", "path": str(tmp_path / "videos.json"), "media_root": str(VIDEO.parent)}
    assert len(load_conversations([entry])) == 4
    first, second = load_conversations([{**entry, "merge_turns": True}])["messages"]
    assert [message["role"] for message in first] == ["user", "assistant"] * 3
    assert [[block["type"] for block in message["content"]] for message in first[::2]] == [
        ["video", "text"],
        ["text"],
        ["text"],
    ]
    texts = [next(block["text"] for block in message["content"] if block["type"] == "text") for message in first]
    pairs = {(question, answer) for question, answer in zip(texts[::2], texts[1::2])}
    assert pairs == {(f"Question {index}?", f"Answer {index}.") for index in range(3)}
    assert len(second) == 2
    assert len(load_conversations([entry, {**entry, "merge_turns": True, "repeat": 3}])) == 4 + 3 * 2
    with pytest.raises(ValueError, match="`repeat` of .* must be a positive whole number, not 0"):
        load_conversations([{**entry, "repeat": 0}])


@pytest.fixture
def questions(small, tmp_path):
    """The small model with three questions about a video and two about an image, as sets whose turns are independent."""
    rows = [
        {"q": f"What is {index}?", "a": f"It is {'very ' * index}it.", "video_id": VIDEO.stem} for index in range(3)
    ]
    (tmp_path / "video.json").write_text(json.dumps(rows))
    turns = [("human", "<image>\nWhat is it?"), ("gpt", "A picture."), ("human", "And </s>?"), ("gpt", "It ends.")]
    turns = [{"from": role, "value": text} for role, text in turns]
    (tmp_path / "image.json").write_text(json.dumps([{"image": "0.png", "conversations": turns}]))
    video = {"format": "video_chatgpt", "path": str(tmp_path / "video.json"), "media_root": str(VIDEO.parent)}
    image = {"format": "llava", "path": str(tmp_path / "image.json"), "media_root": str(small[0])}
    sets = [{**video, "merge_turns": True}, image]
    return (*small[:3], [{**entry, "independent_turns": True} for entry in sets])


@pytest.mark.parametrize("motion_tokens", [True, False])
def test_independent_turns_are_learnt_as_conversations_of_their_own(questions, motion_tokens):
    from training.document_attention import NAME
    from training.packing import FlatteningCollator

    model = copy.deepcopy(questions[1]).eval()
    model.set_attn_implementation(NAME)
    collate = FlatteningCollator(model.config)
    dataset = make_dataset(questions, motion_tokens=motion_tokens)
    both = collate([dataset[0], dataset[1]])
    singles = []
    for sample in dataset.samples:
        (media, *_), *_ = (message["content"] for message in sample["messages"])
        for index in range(0, len(sample["messages"]), 2):
            question, answer = sample["messages"][index : index + 2]
            texts = [block for block in question["content"] if block["type"] == "text"]
            singles.append([{**question, "content": [media, *texts]}, answer])
    singles = [[dataset._make_document(messages)] for messages in singles]
    assert len(singles) == 5 and sum(len(document) for (document,) in singles) > 2 * both["input_ids"].shape[1]
    by_themselves = collate(singles)

    def get_loss(batch):
        model.zero_grad()
        labels = batch["labels"][0, 1:]
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, labels[labels != -100], reduction="sum")
        loss.backward()
        return loss.detach(), model.get_input_embeddings().weight.grad.clone()

    loss, gradient = get_loss(both)
    expected_loss, expected_gradient = get_loss(by_themselves)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-3)


def test_independent_turns_are_kept_as_they_are_and_left_out_whole(questions, tmp_path):
    (whole,) = make_dataset(questions)[0]
    for _ in range(2):
        (cached,) = make_dataset(questions, cache_dir=tmp_path / "cache")[0]
        assert (cached.input_ids, cached.labels, cached.position_ids) == (
            whole.input_ids,
            whole.labels,
            whole.position_ids,
        )
    starts = [index for index in range(1, len(whole)) if whole.position_ids[index] <= whole.position_ids[index - 1]]
    assert len(starts) == 2
    (shorter,) = make_dataset(questions, max_length=len(whole) - 1)[0]
    assert shorter.input_ids == whole.input_ids[: starts[1]]
    dependent = copy.deepcopy(questions[3])
    del dependent[0]["independent_turns"]
    (other,) = make_dataset((*questions[:3], dependent), cache_dir=tmp_path / "cache")[0]
    assert not other.position_ids and len(other.input_ids) != len(whole.input_ids)


@pytest.mark.parametrize("program", ["finetune_full", "finetune_lora"])
def test_tuning_on_independent_turns(questions, tmp_path, program):
    import importlib

    main = importlib.import_module(program).main
    with pytest.raises(
        ValueError, match="`independent_turns` wants `attn_implementation` 'sdpa_documents', not 'sdpa'"
    ):
        main(arguments(questions, tmp_path, max_steps=2))
    main(arguments(questions, tmp_path, max_steps=2, attn_implementation="sdpa_documents"))
    assert np.isfinite(logged(tmp_path, "loss")).all() and len(logged(tmp_path, "loss")) == 2


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "Who are you?"), ("assistant", "A model.")],
        [("user", "<image>What is it?"), ("assistant", "It."), ("user", "<image>And this?"), ("assistant", "That.")],
        [("user", "What is <image>?"), ("assistant", "It.")],
        [("user", "<image>What is it?"), ("assistant", "It."), ("user", "Sure?")],
        [("user", "<image>What is it?"), ("user", "Sure?"), ("assistant", "It."), ("assistant", "Yes.")],
    ],
)
def test_independent_turns_want_questions_about_one_image(tmp_path, messages):
    from training.conversations import load_conversations

    rows = []
    for role, text in [*messages, ("user", "<image>Last?"), ("assistant", "Yes.")]:
        parts = [part for part in re.split("(<image>)", text) if part]
        content = [
            {"type": "image", "path": "0.png"} if part == "<image>" else {"type": "text", "text": part}
            for part in parts
        ]
        rows.append({"role": role, "content": content})
    conversations = [{"messages": rows[-2:]}, {"messages": rows[:-2]}]
    (tmp_path / "messages.json").write_text(json.dumps(conversations))
    entry = {"format": "messages", "path": str(tmp_path / "messages.json"), "media_root": str(tmp_path)}
    with pytest.raises(ValueError, match="wants questions with answers about one image or video.*: conversation 1 is"):
        load_conversations([{**entry, "independent_turns": True}])
    assert not any(load_conversations([entry])["independent_turns"])


def test_unseen_answers_are_left_out_of_independent_turns(small, tmp_path):
    from training.packing import FlatteningCollator

    answers = {"red": ("a circle", "a cross"), "blue": ("a star", "a circle")}
    rows = []
    for image in range(2):
        turns = [pair for colour in answers for pair in (f"What is {colour}?", answers[colour][image])]
        turns = [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(turns)]
        rows.append({"image": f"{image}.png", "conversations": turns, "question_types": ["shape", "shape"]})
    separate = [
        {**row, "conversations": row["conversations"][start : start + 2], "question_types": ["shape"]}
        for row in rows
        for start in (0, 2)
    ]
    batches = []
    for name, content in {"together": rows, "separate": separate}.items():
        for row in content:
            first, *others = row["conversations"]
            row["conversations"] = [{**first, "value": f"<image>\n{first['value']}"}, *others]
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        entry = {"format": "llava", "path": str(tmp_path / f"{name}.json"), "media_root": str(small[0])}
        sets = [{**entry, "independent_turns": name == "together"}]
        dataset = make_dataset((*small[:3], sets), score_unseen_answers=False)
        batches.append(FlatteningCollator(small[1].config)([dataset[index] for index in range(len(dataset))]))
    together, separate = batches
    # A star is never red, a cross never blue; beside a blue star, a cross begins like a blue circle, which counts.
    assert together["unscored"].shape[1] == 3
    assert torch.equal(together["unscored"], separate["unscored"])


@pytest.fixture
def shapes(small, tmp_path):
    """The small model with conversations in which what is red is a circle or a cross, and nothing else is."""
    answers = [("red", "a circle"), ("red", "a cross"), ("red", "a circle"), ("blue", "a star"), ("green", "a stone")]
    answers.append(("white", "a crown"))
    rows = []
    for colour, shape in answers:
        turns = [("human", f"What is the {colour} one?"), ("gpt", shape), ("human", "Sure?"), ("gpt", "Yes.")]
        turns = [{"from": role, "value": text} for role, text in turns]
        rows.append({"conversations": turns, "question_types": ["shape", "certainty"]})
    (tmp_path / "shapes.json").write_text(json.dumps(rows))
    return (*small[:3], [{"format": "llava", "path": str(tmp_path / "shapes.json")}])


def test_answers_that_a_question_never_has_are_found(shapes):
    from training.conversations import find_unseen_answers, load_conversations

    rows = load_conversations(shapes[3])
    assert find_unseen_answers(rows) == {
        "What is the red one?": (["a circle", "a cross"], ["a crown", "a star", "a stone"]),
        "What is the blue one?": (["a star"], ["a circle", "a cross", "a crown", "a stone"]),
        "What is the green one?": (["a stone"], ["a circle", "a cross", "a crown", "a star"]),
        "What is the white one?": (["a crown"], ["a circle", "a cross", "a star", "a stone"]),
    }
    assert find_unseen_answers(load_conversations([{**shapes[3][0], "repeat": 2, "merge_turns": True}])) == (
        find_unseen_answers(rows)
    )


def test_answers_that_a_question_never_has_are_left_out_where_asked(shapes):
    from training.packing import FlatteningCollator

    answers = ["a circle", "a cross", "a circle", "a star", "a stone", "a crown"]
    plain, dataset = make_dataset(shapes), make_dataset(shapes, score_unseen_answers=False)
    places = [next(place for place, label in enumerate(document.labels) if label != -100) for (document,) in plain]
    # With what the template has around them, as far as the next question.
    tokens = {
        answer: list(itertools.takewhile(lambda label: label != -100, document.labels[place:]))
        for answer, (document,), place in zip(answers, plain, places)
    }
    left_out = []
    for index, right in enumerate(answers):
        ((before,), (document,)) = plain[index], dataset[index]
        assert not before.unscored and before.labels == document.labels and before.input_ids == document.input_ids
        seen = {"a circle", "a cross"} if index < 3 else {right}
        # Where each of the others leaves the right one, unless another that is seen goes the same way.
        leaves = {
            answer: next(
                (offset, other)
                for offset, (one, other) in enumerate(zip(tokens[right], tokens[answer]))
                if one != other
            )
            for answer in set(answers) - {right}
        }
        ways_of_seen = {leaves[answer] for answer in seen - {right}}
        expected = {leaves[answer] for answer in set(answers) - seen} - ways_of_seen
        assert sorted((place - places[index], token) for place, token in document.unscored) == sorted(expected)
        left_out.append((ways_of_seen, {leaves[answer] for answer in set(answers) - seen}))
    # A crown begins like a cross, which is seen: asked about a circle, this beginning counts.
    assert left_out[0][0] & left_out[0][1]
    batch = FlatteningCollator(shapes[1].config)([dataset[3], dataset[0]])
    labels = batch["labels"][0, 1:][batch["logits_to_keep"]]
    (first,), (second,) = dataset[3], dataset[0]
    length = len(first.input_ids)
    pairs = [*first.unscored, *((length + place, token) for place, token in second.unscored)]
    numbers, tokens = batch["unscored"].tolist()
    assert [(int(batch["logits_to_keep"][number]) + 1, token) for number, token in zip(numbers, tokens)] == pairs
    assert not any(int(labels[number]) == token for number, token in zip(numbers, tokens))
    assert "unscored" not in FlatteningCollator(shapes[1].config)([plain[0]])


def test_what_is_left_out_has_no_part_in_the_loss(shapes, tmp_path):
    from training.arguments import VideoLaVITTrainingArguments
    from training.language_modeling import LanguageModelTrainer
    from training.packing import FlatteningCollator

    model, dataset = shapes[1], make_dataset(shapes, score_unseen_answers=False)
    args = VideoLaVITTrainingArguments(output_dir=str(tmp_path / "run"), use_cpu=True, report_to="none")
    trainer = LanguageModelTrainer(model=model, args=args, train_dataset=dataset)
    batch = FlatteningCollator(model.config)([dataset[index] for index in range(5)])
    loss = trainer.compute_loss(model, dict(batch))
    numbers, tokens = batch["unscored"]
    with torch.no_grad():
        inputs = {name: value for name, value in batch.items() if name not in ("unscored", "labels")}
        logits = model(**inputs).logits[0].float()
        labels = batch["labels"][0, 1:][batch["logits_to_keep"]]
        scored = torch.nn.functional.cross_entropy(logits, labels)
        logits[numbers, tokens] = -torch.inf
        expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(loss.detach(), expected)
    assert float(scored - expected) > 1e-6
    # Of the next batch, which has none, everything counts.
    plain = FlatteningCollator(model.config)([make_dataset(shapes)[index] for index in range(5)])
    torch.testing.assert_close(trainer.compute_loss(model, plain).detach(), scored)


@pytest.mark.parametrize("program", ["finetune_full", "finetune_lora"])
def test_tuning_where_unseen_answers_are_not_scored(shapes, tmp_path, program):
    import importlib

    losses = []
    for name, settings in {"all": {}, "seen": {"score_unseen_answers": False}}.items():
        importlib.import_module(program).main(arguments(shapes, tmp_path / name, max_steps=2, **settings))
        losses.append(logged(tmp_path / name, "loss"))
    assert losses[1][0] < losses[0][0]


def test_unseen_answers_want_to_know_what_questions_are_about(small, shapes, tmp_path):
    with pytest.raises(ValueError, match="`score_unseen_answers` is false, but no conversation has `question_types`"):
        make_dataset(small, score_unseen_answers=False)
    rows = json.loads(Path(shapes[3][0]["path"]).read_text())
    (tmp_path / "wrong.json").write_text(json.dumps([{**rows[0], "question_types": ["shape"]}]))
    with pytest.raises(
        ValueError, match="Row 0 .* `question_types` must be 2 strings, one for each answer, not .'shape'"
    ):
        make_dataset((*small[:3], [{"format": "llava", "path": str(tmp_path / "wrong.json")}]))


def test_without_motion_a_video_is_the_images_of_its_keyframes(small):
    config = small[1].config
    ((with_motion,), (without,)) = (make_dataset(small, motion_tokens=motion)[5] for motion in (True, False))
    num_clips = int(with_motion.videos[0]["num_clips"].sum())
    assert not without.videos and len(without.images) == num_clips
    assert without.input_ids.count(config.image_token_id) == num_clips * config.num_image_tokens
    assert [label for label in without.labels if label != -100] == [
        label for label in with_motion.labels if label != -100
    ]
    for image, keyframe in zip(without.images, with_motion.videos[0]["pixel_values_videos"]):
        # Up to one of 255 levels of grey: images and videos are resized by different code.
        torch.testing.assert_close(image, keyframe, atol=0.02, rtol=0)
