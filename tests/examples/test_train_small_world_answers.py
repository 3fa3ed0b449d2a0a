"""Instruction tuning on the small world, in which the language model also learns to find what a question names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import logged
from transformers import AutoModelForCausalLM, AutoProcessor


SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
MODEL = Path(__file__).parents[2] / "checkpoints" / "videolavit-tiny" / "video-lavit"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Videos and images of up to three objects, with everything that is asked about them."""
    from small_world.dataset import SmallWorldOptions, write_dataset

    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, SmallWorldOptions(frame_size=(128, 128), questions="all"), num_videos=6, num_images=4)
    return folder


@pytest.fixture(scope="module")
def processor():
    import transformers_videolavit  # noqa: F401

    return AutoProcessor.from_pretrained(MODEL)


def sets(data, kinds=("video", "image")):
    return [
        {
            "format": "video_chatgpt" if kind == "video" else "llava",
            "path": str(data / f"conversations_{kind}.json"),
            "media_root": str(data / "videos" if kind == "video" else data),
            "merge_turns": kind == "video",
            "independent_turns": True,
        }
        for kind in kinds
    ]


def make_dataset(data, processor, **kwargs):
    from train_small_world_answers import NamingDataset
    from training.conversations import load_conversations

    return NamingDataset(load_conversations(sets(data)), processor, **{"max_length": 1024, "max_clips": 1} | kwargs)


def arguments(data, output_dir, **kwargs):
    settings = {"max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "max_length": 1024}
    settings |= {"max_clips": 1, "logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant"}
    settings |= {"disable_tqdm": True, "attn_implementation": "sdpa_documents", "cache_dir": data / "cache"}
    settings |= {"conversations": json.dumps(sets(data))} | kwargs
    args = ["--model_name_or_path", MODEL, "--output_dir", output_dir, "--use_cpu"]
    for name, value in settings.items():
        args += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return [str(arg) for arg in args]


@pytest.mark.parametrize("motion_tokens", [True, False])
def test_names_are_found_in_the_questions_with_their_objects(data, processor, motion_tokens):
    from small_world.dataset import read_sample
    from training.conversations import questions_and_answers

    dataset = make_dataset(data, processor, motion_tokens=motion_tokens)
    moving = 0
    for index in range(len(dataset)):
        messages = dataset.samples[index]["messages"]
        media = messages[0]["content"][0]
        scene = read_sample(media["path"]).scene
        has_motion = motion_tokens and media["type"] == "video" and scene.description.camera == "still"
        expected = []
        for question, _ in questions_and_answers(messages):
            words = set(question.rstrip("?").split())
            # No two objects of a scene have a colour or a shape in common.
            named = [
                number
                for number, described in enumerate(scene.description.objects)
                if words & ({described.colour, described.shape} if len(scene.positions) > 1 else {"object"})
            ]
            for number in named:
                (motion,) = scene.description.objects[number].motions
                values = [*motion.velocity(), motion.rotation(), np.log(motion.growth())]
                expected.append((*scene.positions[number], *(values if has_motion else [np.nan] * 4)))
                moving += has_motion and any(values)
            assert len(named) <= 1
        (document,) = dataset[index]
        np.testing.assert_array_equal([values for _, values in document.named], expected)
        for place, _ in document.named:
            text = processor.tokenizer.decode(document.input_ids[place - 20 : place + 1])
            assert text.split()[-1] in ("object", *SHAPES)
    assert (moving > 0) == motion_tokens


def test_the_batch_has_the_names_of_all_documents(data, processor):
    from train_small_world_answers import NamingCollator

    from transformers_videolavit import VideoLaVITConfig

    rows = [make_dataset(data, processor)[index] for index in (0, 7, 3)]
    batch = NamingCollator(VideoLaVITConfig.from_pretrained(MODEL))(rows)
    ids = batch["input_ids"][0]
    expected = [(document.input_ids[place], values) for (document,) in rows for place, values in document.named]
    assert ids[batch["named_places"]].tolist() == [token for token, _ in expected]
    assert torch.equal(
        batch["named_objects"].nan_to_num(9.0), torch.tensor([values for _, values in expected]).nan_to_num(9.0)
    )


def test_the_motion_of_a_token_is_that_of_its_part_of_the_clip():
    from train_small_world_answers import mean_motion

    motion = torch.zeros(1, 2, 6, 4, 8)
    # In the second of three times, the right half of the lower of two rows of three... of four columns.
    motion[0, 0, 2:4, 2:4, 3] = 6.0
    parts = mean_motion(motion, (3, 2, 4))
    assert parts.shape == (1, 24, 8)
    token = 1 * 8 + 1 * 4 + 1
    assert parts[0, token].tolist() == [0.0, 6.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0]
    assert parts.count_nonzero() == 2


def test_without_weight_it_is_tuning_as_usual_and_its_heads_are_not_saved(data, tmp_path):
    import finetune_full
    import train_small_world_answers

    finetune_full.main(arguments(data, tmp_path / "usual"))
    train_small_world_answers.main(arguments(data, tmp_path / "answers", look_up_weight=0))
    np.testing.assert_allclose(logged(tmp_path / "answers"), logged(tmp_path / "usual"), rtol=1e-5)
    usual, answers = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("usual", "answers"))
    torch.testing.assert_close(answers.state_dict(), usual.state_dict(), rtol=0, atol=1e-5)
    files = [{path.name for path in (tmp_path / name).iterdir() if path.is_file()} for name in ("usual", "answers")]
    assert files[1] == files[0] - {"training_args.bin"}


def test_hidden_states_learn_to_tell_where_and_how(data, tmp_path):
    from train_small_world_answers import main

    videos = json.dumps(sets(data, ["video"]))
    settings = {"max_steps": 30, "conversations": videos, "eval_conversations": videos, "learning_rate": 3e-3}
    main(arguments(data, tmp_path, save_steps=1000, eval_on_start=True, **settings))
    for name in ("position", "motion", "token_motion", "token_place"):
        before, after = logged(tmp_path, f"eval_{name}_error")
        assert after < 0.7 * before, name


def test_without_motion_places_alone_are_told(data, tmp_path):
    from train_small_world_answers import main

    main(arguments(data, tmp_path, motion_tokens=False, max_steps=2))
    assert logged(tmp_path, "position_error")
    assert not any(logged(tmp_path, f"{name}_error") for name in ("motion", "token_motion", "token_place"))


def test_a_run_resumes_to_exactly_the_same_losses(data, tmp_path):
    from train_small_world_answers import main

    main(arguments(data, tmp_path / "a"))
    shutil.copytree(tmp_path / "a" / "checkpoint-2", tmp_path / "b" / "checkpoint-2")
    main(arguments(data, tmp_path / "b"))
    for name in ("loss", "position_error", "token_motion_error"):
        assert logged(tmp_path / "b", name) == logged(tmp_path / "a", name)


def test_layers_that_the_model_does_not_have_are_named(data, tmp_path):
    from train_small_world_answers import main

    with pytest.raises(ValueError, match=r"from 1 to 4, the model's layers, not \[1, 2, 5\]"):
        main(arguments(data, tmp_path, motion_layers=[2, 5]))
