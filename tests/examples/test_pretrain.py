"""Stage 2, from assembled parts to a trained model, in one and in several processes, killed and resumed."""

import re

import datasets
import numpy as np
import pytest
import torch
from token_samples import make_samples
from training_runs import kill_when, logged, run, start

from transformers_videolavit import VideoLaVITForCausalLM, VideoLaVITProcessor


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small random model, saved, and shards of samples of every kind."""
    from small_random_model import build_language_model

    folder = tmp_path_factory.mktemp("small")
    model, processor = build_language_model()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    samples = make_samples(model, ["text", "image", "video", "image", "text", "video"] * 4)
    datasets.Dataset.from_list(samples).to_parquet(folder / "tokens.parquet")
    return folder, model, samples


def arguments(folder, output_dir, **kwargs):
    settings = {"max_steps": 6, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "max_length": 600}
    settings |= {"logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant", "disable_tqdm": True} | kwargs
    args = ["--model_name_or_path", folder / "model", "--train_files", folder / "tokens.parquet"]
    args += ["--output_dir", output_dir, "--use_cpu"]
    return [*args, *(item for name, value in settings.items() for item in (f"--{name}", value))]


@pytest.fixture(scope="module")
def uninterrupted(small, tmp_path_factory):
    """The output of a run in one process."""
    output_dir = tmp_path_factory.mktemp("uninterrupted")
    run("pretrain", *arguments(small[0], output_dir))
    return output_dir


def test_a_run_writes_a_model_that_generates(uninterrupted):
    model = VideoLaVITForCausalLM.from_pretrained(uninterrupted)
    processor = VideoLaVITProcessor.from_pretrained(uninterrupted)
    inputs = processor(text="a red circle", generation_mode="image", return_tensors="pt")
    ids = model.generate(**inputs, generation_mode="image", max_new_tokens=8, min_new_tokens=2)
    kinds = [kind for kind, _ in processor.post_process_multimodal_output(ids)[0]]
    assert kinds == ["text", "image"]
    assert "stage 2" in (uninterrupted / "README.md").read_text()


def test_the_loss_of_every_modality_is_logged(uninterrupted):
    # A step in which all images are conditions has no visual token to predict.
    for name in ("loss_text", "loss_visual", "loss_motion"):
        assert 4 <= len(logged(uninterrupted, name)) <= 6


def test_a_killed_run_resumes_to_exactly_the_same_losses(small, uninterrupted, tmp_path):
    args = arguments(small[0], tmp_path)
    kill_when(start("pretrain", *args), tmp_path / "checkpoint-2" / "complete")
    assert not (tmp_path / "model.safetensors").exists()
    run("pretrain", *args)
    assert logged(tmp_path) == logged(uninterrupted)
    trained, expected = (VideoLaVITForCausalLM.from_pretrained(path) for path in (tmp_path, uninterrupted))
    for name, parameter in expected.state_dict().items():
        assert torch.equal(parameter, trained.state_dict()[name]), name


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_give_the_loss_curve_of_one(small, uninterrupted, tmp_path, engine):
    args = arguments(small[0], tmp_path, per_device_train_batch_size=1)
    output = run("pretrain", *args, num_processes=2, fsdp2=engine == "fsdp2")
    sharded = [int(number) for number in re.findall(r"FSDP2 sharded (\d+) modules", output)]
    # The model, and the two layers of its language model at least.
    assert len(sharded) == (2 if engine == "fsdp2" else 0) and all(number >= 3 for number in sharded)
    for name in ("loss", "loss_text", "loss_visual", "loss_motion"):
        np.testing.assert_allclose(logged(tmp_path, name), logged(uninterrupted, name), rtol=0, atol=1e-4)


def test_two_sharded_processes_killed_and_resumed_give_the_same_losses(small, uninterrupted, tmp_path):
    args = arguments(small[0], tmp_path, per_device_train_batch_size=1)
    kill_when(start("pretrain", *args, num_processes=2, fsdp2=True), tmp_path / "checkpoint-4" / "complete")
    run("pretrain", *args, num_processes=2, fsdp2=True)
    np.testing.assert_allclose(logged(tmp_path), logged(uninterrupted), rtol=0, atol=1e-4)


def train(small, tmp_path, **kwargs):
    from pretrain import main

    main([str(argument) for argument in arguments(small[0], tmp_path, **kwargs)])
    return VideoLaVITForCausalLM.from_pretrained(tmp_path)


def test_accumulated_steps_equal_one_large_batch(small, uninterrupted, tmp_path):
    train(small, tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=2)
    np.testing.assert_allclose(logged(tmp_path), logged(uninterrupted), rtol=0, atol=1e-4)


def test_gradient_checkpointing_changes_nothing(small, uninterrupted, tmp_path):
    train(small, tmp_path, gradient_checkpointing=True)
    np.testing.assert_allclose(logged(tmp_path), logged(uninterrupted), rtol=0, atol=1e-4)


def test_exactly_the_language_model_the_merger_and_the_projector_are_trained(small, tmp_path):
    trained = train(small, tmp_path, max_steps=2, weight_decay=0.0).state_dict()
    changed = {name for name, tensor in small[1].state_dict().items() if not torch.equal(tensor, trained[name])}
    expected = {
        name
        for name, _ in small[1].named_parameters()
        if name.startswith(("model.language_model.", "lm_head.", "model.multi_modal_projector.")) or ".merger." in name
    }
    assert changed == expected


def test_a_model_in_half_precision_is_trained_in_single_precision(small, tmp_path):
    half = VideoLaVITForCausalLM.from_pretrained(small[0] / "model", dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    VideoLaVITProcessor.from_pretrained(small[0] / "model").save_pretrained(tmp_path / "half")
    trained = train(small, tmp_path / "trained", model_name_or_path=tmp_path / "half", max_steps=1)
    assert trained.dtype == torch.float32 and np.isfinite(logged(tmp_path / "trained")).all()


def test_chosen_parameters_alone_are_trained(small, tmp_path):
    trained = train(
        small,
        tmp_path,
        max_steps=2,
        trainable_parameters=r"embed_tokens|lm_head",
        train_merger=False,
        train_projector=False,
    ).state_dict()
    changed = {name for name, tensor in small[1].state_dict().items() if not torch.equal(tensor, trained[name])}
    assert changed == {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    with pytest.raises(ValueError, match="no_such_layer"):
        train(small, tmp_path / "none", trainable_parameters="no_such_layer")


def test_keyframes_that_are_given_train_the_projector_and_leave_the_codes(small, tmp_path):
    settings = {"text_first_probability": 1.0, "given_keyframe_probability": 1.0, "train_merger": False}
    trained = train(small, tmp_path, max_steps=2, **settings).state_dict()
    changed = {name for name, tensor in small[1].state_dict().items() if not torch.equal(tensor, trained[name])}
    assert "model.multi_modal_projector.weight" in changed
    assert not [name for name in changed if name.startswith("model.keyframe_tokenizer")]


def test_without_keyframes_the_way_of_images_stays_as_it_was(small, tmp_path):
    samples = [{**sample, "keyframes": []} for sample in small[2]]
    features = datasets.load_dataset("parquet", data_files=str(small[0] / "tokens.parquet"), split="train").features
    datasets.Dataset.from_list(samples, features=features).to_parquet(tmp_path / "codes.parquet")
    stored = small[0] / "tokens.parquet"
    for name, settings in (("codes", {"train_files": tmp_path / "codes.parquet"}), ("text_first", {})):
        settings = {"train_files": stored, "text_first_probability": 1.0} | settings
        trained = train(small, tmp_path / name, max_steps=2, weight_decay=0.5, **settings).state_dict()
        changed = [key for key, tensor in small[1].state_dict().items() if not torch.equal(tensor, trained[key])]
        assert changed and all(key.startswith(("model.language_model", "lm_head")) for key in changed)


def test_a_few_samples_are_learned_by_heart(small, tmp_path):
    samples = [sample for sample in small[2] if sample["kind"] == "image"][:1] + small[2][:1]
    datasets.Dataset.from_list(samples).to_parquet(tmp_path / "few.parquet")
    train(
        small,
        tmp_path / "out",
        train_files=tmp_path / "few.parquet",
        max_steps=60,
        per_device_train_batch_size=1,
        learning_rate=1e-2,
        prompt_dropout=0.0,
        text_first_probability=1.0,
        save_steps=1000,
    )
    losses = logged(tmp_path / "out")
    assert losses[-1] < losses[0] / 10


def test_too_few_data_for_a_batch_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match="fewer than the 100 of one batch"):
        train(small, tmp_path, per_device_train_batch_size=100)


def test_data_are_named_once():
    from pretrain import DataArguments

    with pytest.raises(ValueError, match="mixture"):
        DataArguments()
    with pytest.raises(ValueError, match="mixture"):
        DataArguments(train_files=["a.parquet"], mixture=[{"path": "b.parquet", "weight": 1.0}])


def test_videos_are_generated_and_shown_after_evaluation(small, tmp_path):
    from pretrain import main
    from small_random_model import build_detokenizer

    from transformers_videolavit import VideoLaVITProcessor

    pipe = build_detokenizer(small[1], VideoLaVITProcessor.from_pretrained(small[0] / "model"))
    pipe.register_modules(language_model=None, processor=None, motion_tokenizer=small[1].model.motion_tokenizer)
    pipe.save_pretrained(tmp_path / "detokenizer")
    settings = {"max_steps": 1, "eval_files": small[0] / "tokens.parquet", "eval_strategy": "steps", "eval_steps": 1}
    settings |= {"sample_prompts": "a red circle", "detokenizer": tmp_path / "detokenizer"}
    args = [str(argument) for argument in arguments(small[0], tmp_path / "out", **settings)]
    main([*args, "--sample_size", "64", "64", "--report_to", "tensorboard"])
    (text,) = (tmp_path / "out" / "samples").glob("videos-*.txt")
    assert "visual tokens" in text.read_text() and list((tmp_path / "out" / "samples").glob("videos-*.png"))
    assert logged(tmp_path / "out", "eval_loss") and logged(tmp_path / "out", "eval_loss_text")
