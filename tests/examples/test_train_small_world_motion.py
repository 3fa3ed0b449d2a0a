"""Pre-training on the small world, in which the language model also learns where in a keyframe the motion is."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from training_runs import logged, run
from transformers import AutoModelForCausalLM, AutoProcessor


MODEL = Path(__file__).parents[2] / "checkpoints" / "videolavit-tiny" / "video-lavit"


@pytest.fixture(scope="module")
def scenes():
    """Scenes of one object that moves, and their frames."""
    from small_world.dataset import SmallWorldOptions, moving_samples
    from small_world.rendering import render_scene

    samples = moving_samples(SmallWorldOptions(3, "train", (1, 1), 1, (128, 128)), 6)
    return [sample.scene for sample in samples], [render_scene(sample.scene, (128, 128)) for sample in samples]


@pytest.fixture(scope="module")
def loaded():
    import transformers_videolavit  # noqa: F401

    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval(), AutoProcessor.from_pretrained(
        MODEL
    )


@pytest.fixture(scope="module")
def tokens(scenes, loaded, tmp_path_factory):
    """A token shard of the scenes with their keyframes."""
    from small_world.language import write_caption

    model, processor = loaded
    metadata = [{"fps": 6.0}] * len(scenes[1])
    videos = processor.video_processor(scenes[1], video_metadata=metadata, do_sample_frames=False, return_tensors="pt")
    visual = model.model.keyframe_tokenizer.encode(videos["pixel_values_videos"])
    motion = model.model.motion_tokenizer.encode(videos["motion_vectors"])
    rows = []
    for scene, frames, codes, motion_codes in zip(*scenes, visual, motion):
        buffer = io.BytesIO()
        Image.fromarray(frames[0]).save(buffer, format="PNG")
        row = {"kind": "video", "text": write_caption(scene.description), "keyframes": [buffer.getvalue()]}
        row |= {"visual_codes": [codes.tolist()], "motion_codes": [motion_codes.tolist()]}
        rows.append(row | {"num_tokens": len(codes) + len(motion_codes) + 4})
    path = tmp_path_factory.mktemp("tokens") / "tokens.parquet"
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path, rows


def arguments(tokens, output_dir, **kwargs):
    settings = {"max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "max_length": 160}
    settings |= {"text_first_probability": 1.0, "given_keyframe_probability": 0.7, "train_merger": False}
    settings |= {"logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant", "disable_tqdm": True}
    settings |= {
        "attn_implementation": "sdpa_documents",
        "model_name_or_path": MODEL,
        "train_files": tokens[0],
    } | kwargs
    args = ["--output_dir", output_dir, "--use_cpu"]
    for name, value in settings.items():
        args += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return [str(argument) for argument in args]


def make_trainer(model):
    """What of a trainer its losses use, with new heads."""
    from train_small_world_motion import AuxiliaryHeads, MotionPlaceTrainer, ObjectiveArguments

    torch.manual_seed(0)
    model.auxiliary_heads = AuxiliaryHeads(model.config, ObjectiveArguments())
    trainer = SimpleNamespace(_unwrapped=model, objective=ObjectiveArguments())
    for name in ("_motion_at_patches", "_attention_scores", "auxiliary_losses"):
        setattr(trainer, name, getattr(MotionPlaceTrainer, name).__get__(trainer))
    return trainer


def make_documents(loaded, rows, **kwargs):
    from training.packing import DocumentBuilder

    model, processor = loaded
    settings = {"text_first_probability": 1.0, "prompt_dropout": 0.0, "continuous_features": False} | kwargs
    builder = DocumentBuilder(processor.tokenizer, processor.image_processor, model.config, 1024, **settings)
    return [document for row in rows for document in builder(row, np.random.default_rng(0))]


def collate(model, documents):
    from training.packing import FlatteningCollator

    return FlatteningCollator(model.config)([documents])


def compute_losses(trainer, documents):
    """The auxiliary losses of documents."""
    model = trainer._unwrapped
    batch = collate(model, documents)
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "pixel_values") if name in batch}
    with torch.no_grad():
        hidden_states = model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
        masks = None
        if "pixel_values" in batch:
            masks = torch.stack(model.get_image_features(batch["pixel_values"], return_dict=True).keep_mask)
        return trainer.auxiliary_losses(hidden_states, batch["input_ids"][0], masks)


def test_motion_energy_lies_where_the_object_moves(scenes, loaded, tokens):
    from small_world.scenes import object_path
    from train_small_world_motion import motion_energy

    codes = torch.tensor([row["motion_codes"][0] for row in tokens[1]])
    energy = motion_energy(loaded[0].model.motion_tokenizer, codes)
    assert energy.shape == (6, 3, 64) and torch.allclose(energy.sum(dim=-1), torch.ones(6, 3))
    middles = (torch.arange(8) + 0.5) / 8 - 0.5
    grid = energy.view(6, 3, 8, 8)
    columns, rows = (grid.sum(dim=dim) @ middles for dim in (2, 3))
    for number, scene in enumerate(scenes[0]):
        if scene.description.camera != "still":
            continue
        path = object_path(scene.description.objects[0], scene.positions[0], 24)["center"]
        middle = path.reshape(3, 8, 2).mean(axis=1)
        told = np.stack([columns[number], rows[number]], axis=-1)
        assert np.linalg.norm(told - middle, axis=-1).max() < 0.15


def test_attention_is_that_of_the_model(loaded, tokens):
    batch = collate(loaded[0], make_documents(loaded, tokens[1][:1], given_keyframe_probability=1.0))
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    trainer = make_trainer(model)
    config, ids = model.config, batch["input_ids"][0]
    (keep_mask,) = model.get_image_features(batch["pixel_values"], return_dict=True).keep_mask
    with torch.no_grad():
        outputs = model(
            input_ids=batch["input_ids"],
            pixel_values=batch["pixel_values"],
            output_attentions=True,
            output_hidden_states=True,
        )
        patches = (ids == config.image_token_id).nonzero()[:, 0]
        (start,) = (ids == config.motion_start_token_id).nonzero()[:, 0]
        for layer, head in ((2, 1), (3, 2)):
            trainer.objective.attention_layer, trainer.objective.attention_head = layer, head
            states = outputs.hidden_states[layer - 1][0]
            scores = trainer._attention_scores(states, patches[None], start[None], keep_mask[None])[0]
            expected = outputs.attentions[layer - 1][0, head, start, patches[keep_mask]]
            torch.testing.assert_close(
                scores[keep_mask].softmax(dim=0), expected / expected.sum(), rtol=1e-3, atol=1e-6
            )


def test_a_divergence_is_zero_for_what_is_told_right_and_leaves_dropped_patches_out():
    from train_small_world_motion import divergence, mask_dropped

    target = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.25, 0.75, 0.0]])
    assert divergence(target.log().clamp(min=-1e4), target) == pytest.approx(0, abs=1e-6)
    assert divergence(torch.zeros(2, 4), target) == pytest.approx((np.log(2) + np.log(4) - 0.5623351) / 2, abs=1e-5)
    keep = torch.tensor([[True, True, False, False], [False, True, True, False]])
    expected = (0 + np.log(2) - 0.5623351) / 2
    assert divergence(mask_dropped(torch.zeros(2, 4), keep), target) == pytest.approx(expected, abs=1e-5)


def test_losses_are_of_what_the_batch_has(loaded, tokens):
    trainer = make_trainer(AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval())
    of_motion, of_patches = {"token_place", "motion_place"}, {"patch_place", "patch_motion", "attention"}
    given = make_documents(loaded, tokens[1][:1], given_keyframe_probability=1.0)
    generated = make_documents(loaded, tokens[1][1:2])
    still = {**tokens[1][2], "motion_codes": []}
    # An image that a text follows, and no motion
    described = make_documents(loaded, [still], continuous_features=True, text_first_probability=0.0)
    for documents, expected in (
        (given + generated + described, of_motion | of_patches),
        (generated + described, of_motion),
        (generated, of_motion),
        (described, set()),
        (make_documents(loaded, [still]), set()),
    ):
        losses = compute_losses(trainer, documents)
        assert set(losses) == expected and all(torch.isfinite(value) and value > 0 for value in losses.values())


def test_losses_of_a_batch_are_those_of_its_documents(loaded, tokens):
    model = AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="sdpa_documents"
    ).eval()
    trainer = make_trainer(model)
    given = make_documents(loaded, tokens[1][:3], given_keyframe_probability=1.0)
    generated = make_documents(loaded, tokens[1][3:])
    still = {**tokens[1][2], "motion_codes": []}
    described = make_documents(loaded, [still], continuous_features=True, text_first_probability=0.0)
    # So that neither images nor motions have the numbers of each other.
    documents = [generated[0], given[0], described[0], generated[1], *given[1:], generated[2]]
    batch = compute_losses(trainer, documents)
    singles = [compute_losses(trainer, [document]) for document in documents]
    for name in ("token_place", "motion_place", "patch_motion", "attention"):
        expected = np.mean([float(losses[name]) for losses in singles if name in losses])
        assert float(batch[name]) == pytest.approx(expected, rel=1e-4), name


def test_without_weight_it_is_pre_training_as_usual_and_its_heads_are_not_saved(tokens, tmp_path):
    import pretrain
    import train_small_world_motion

    pretrain.main(arguments(tokens, tmp_path / "usual"))
    train_small_world_motion.main(arguments(tokens, tmp_path / "motion", auxiliary_loss_weight=0))
    np.testing.assert_allclose(logged(tmp_path / "motion"), logged(tmp_path / "usual"), rtol=1e-5)
    usual, motion = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("usual", "motion"))
    torch.testing.assert_close(motion.state_dict(), usual.state_dict(), rtol=0, atol=1e-5)
    files = [{path.name for path in (tmp_path / name).iterdir() if path.is_file()} for name in ("usual", "motion")]
    assert files[1] == files[0] - {"training_args.bin"}


def test_hidden_states_learn_to_tell_where_the_motion_is(tokens, tmp_path):
    from train_small_world_motion import main

    settings = {"max_steps": 60, "learning_rate": 3e-3, "given_keyframe_probability": 1.0, "prompt_dropout": 0.0}
    main(arguments(tokens, tmp_path, save_steps=1000, projector_scale=0.1, **settings))
    for name in ("token_place", "motion_place", "patch_place", "patch_motion", "attention"):
        values = logged(tmp_path, f"{name}_loss")
        assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5]), name


def test_a_run_resumes_to_exactly_the_same_losses_and_goes_in_two_processes(tokens, tmp_path):
    from train_small_world_motion import main

    main(arguments(tokens, tmp_path / "one"))
    # Each process has the auxiliary losses of its own rows; without them, both have the losses of one.
    settings = {"per_device_train_batch_size": 1, "max_steps": 2}
    run("train_small_world_motion", *arguments(tokens, tmp_path / "two", **settings), num_processes=2)
    for name in ("loss_text", "loss_motion"):
        first, expected = (logged(tmp_path / folder, name)[0] for folder in ("two", "one"))
        assert first == pytest.approx(expected, abs=1e-4)
    shutil.copytree(tmp_path / "one" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    main(arguments(tokens, tmp_path / "resumed"))
    for name in ("loss", "motion_place_loss", "token_place_loss"):
        assert logged(tmp_path / "resumed", name) == logged(tmp_path / "one", name)


def test_layers_and_heads_that_the_model_does_not_have_are_named(tokens, tmp_path):
    from train_small_world_motion import main

    with pytest.raises(ValueError, match=r"from 1 to 4, the model's layers, not \[1, 2, 1, 2, 2, 5\]"):
        main(arguments(tokens, tmp_path, motion_layers=[2, 5]))
    with pytest.raises(ValueError, match="`attention_head` must be from 0 to 3, not 4"):
        main(arguments(tokens, tmp_path, attention_head=4))
