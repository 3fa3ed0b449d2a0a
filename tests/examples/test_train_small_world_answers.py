"""Instruction tuning on the small world, in which the language model also learns to find what a question names."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot
from training_runs import logged, run
from transformers import AutoModelForCausalLM, AutoProcessor


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
    from train_small_world_answers import GroundedConversationDataset
    from training.conversations import load_conversations

    return GroundedConversationDataset(
        load_conversations(sets(data)), processor, **{"max_length": 1024, "max_clips": 1} | kwargs
    )


def arguments(data, output_dir, **kwargs):
    settings = {"max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "max_length": 1024}
    settings |= {"max_clips": 1, "logging_steps": 1, "save_steps": 2, "lr_scheduler_type": "constant"}
    settings |= {"disable_tqdm": True, "attn_implementation": "sdpa_documents", "cache_dir": data / "cache"}
    settings |= {"conversations": json.dumps(sets(data))} | kwargs
    args = ["--model_name_or_path", MODEL, "--output_dir", output_dir, "--use_cpu"]
    for name, value in settings.items():
        args += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return [str(arg) for arg in args]


def described_motion(motion):
    """As captions and questions tell it, without the speed."""
    return f"moves {motion.direction}" if motion.kind == "translation" else motion.direction or motion.kind


@pytest.mark.parametrize("motion_tokens", [True, False])
def test_names_are_found_in_the_questions_with_their_objects(data, processor, motion_tokens):
    from small_world.dataset import read_sample
    from small_world.scenes import SHAPES
    from train_small_world_answers import MOTIONS
    from training.conversations import questions_and_answers

    dataset = make_dataset(data, processor, motion_tokens=motion_tokens)
    assert len({described_motion(motion) for motion in MOTIONS}) == 13
    moving = 0
    for index in range(len(dataset)):
        messages = dataset.samples[index]["messages"]
        media = messages[0]["content"][0]
        scene = read_sample(media["path"]).scene
        has_motion = motion_tokens and media["type"] == "video" and scene.description.camera == "still"
        positions, motions, beginnings = [], [], []
        for question, _ in questions_and_answers(messages):
            words = question.rstrip("?").split()
            # No two objects of a scene have a colour or a shape in common.
            named = [
                number
                for number, described in enumerate(scene.description.objects)
                if {described.colour, described.shape} & set(words)
                or (words.count("object") and len(scene.positions) == 1)
            ]
            for number in named:
                (motion,) = scene.description.objects[number].motions
                positions.append(scene.positions[number])
                motions.append(described_motion(motion) if has_motion else None)
                last = [index for index, word in enumerate(words) if word in ("object", *SHAPES)][-1]
                beginnings.append(" ".join(words[: last + 1]))
                moving += has_motion
            assert len(named) <= 1
        (document,) = dataset[index]
        assert [mention.position for mention in document.mentions] == positions
        told = [mention.motion for mention in document.mentions]
        assert [None if number < 0 else described_motion(MOTIONS[number]) for number in told] == motions
        assert not any(mention.unscored_motions for mention in document.mentions)
        for mention, beginning in zip(document.mentions, beginnings):
            before, until = (
                processor.tokenizer.decode(document.input_ids[mention.place - 40 : end])
                for end in (mention.place, mention.place + 1)
            )
            assert until.endswith(beginning) and not before.endswith(beginning)
        # Each in a question of its own.
        assert len({mention.place for mention in document.mentions}) == len(beginnings)
    assert (moving > 0) == motion_tokens


def test_motions_that_a_shape_never_has_in_training_do_not_count_as_wrong(data, processor):
    from small_world.dataset import read_sample
    from small_world.scenes import DIRECTIONS, sample_scene
    from train_small_world_answers import MOTIONS, GroundedCollator

    from transformers_videolavit import VideoLaVITConfig

    seen = {
        (described.shape, described_motion(described.motions[0]))
        for index in range(4000)
        for described in sample_scene(0, "train", index).description.objects
    }
    dataset = make_dataset(data, processor, score_unseen_answers=False)
    rows = [dataset[index] for index in range(6)]
    numbers = 0
    for index, (document,) in enumerate(rows):
        scene = read_sample(dataset.samples[index]["messages"][0]["content"][0]["path"]).scene
        shapes = {place: each.shape for place, each in zip(scene.positions, scene.description.objects)}
        for mention in document.mentions:
            if mention.motion >= 0:
                shape = shapes[mention.position]
                unseen = {direction for direction in DIRECTIONS if (shape, f"moves {direction}") not in seen}
                assert {MOTIONS[number].direction for number in mention.unscored_motions} == unseen
                numbers += len(unseen)
    assert numbers > 0
    batch = GroundedCollator(VideoLaVITConfig.from_pretrained(MODEL))(rows)
    mentions = [mention for (document,) in rows for mention in document.mentions]
    expected = [(row, column) for row, mention in enumerate(mentions) for column in mention.unscored_motions]
    assert batch["mention_unscored_motions"].nonzero().tolist() == [list(place) for place in sorted(expected)]


def test_the_batch_has_the_names_of_all_documents(data, processor):
    from train_small_world_answers import GroundedCollator

    from transformers_videolavit import VideoLaVITConfig

    rows = [make_dataset(data, processor)[index] for index in (0, 7, 3)]
    batch = GroundedCollator(VideoLaVITConfig.from_pretrained(MODEL))(rows)
    ids = batch["input_ids"][0]
    mentions = [(document.input_ids[mention.place], mention) for (document,) in rows for mention in document.mentions]
    assert ids[batch["mention_places"]].tolist() == [token for token, _ in mentions]
    assert batch["mention_motions"].tolist() == [mention.motion for _, mention in mentions]
    positions = torch.tensor([mention.position for _, mention in mentions], dtype=torch.float32)
    torch.testing.assert_close(batch["mention_positions"], positions, rtol=0, atol=0)
    assert not batch["mention_unscored_motions"].any()


def test_the_motion_of_a_token_is_that_of_its_part_of_the_clip():
    from train_small_world_answers import mean_motion

    motion = torch.zeros(1, 2, 6, 4, 8)
    # In the second of three times, the lower of two rows and the right half of the second of four columns.
    motion[0, 0, 2:4, 2:4, 3] = 6.0
    parts = mean_motion(motion, (3, 2, 4))
    assert parts.shape == (1, 24, 8)
    token = 1 * 8 + 1 * 4 + 1
    assert parts[0, token].tolist() == [0.0, 6.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0]
    assert parts.count_nonzero() == 2


def test_what_is_told_is_read_at_its_places_and_layers(data, processor):
    """Heads that are fitted to states at the right places have no loss; anywhere else there are only zeros."""
    from train_small_world_answers import (
        MOTION_SCALE,
        MOTIONS,
        POSITION_SCALE,
        AnswerTrainer,
        AuxiliaryHeads,
        GroundedCollator,
        ObjectiveArguments,
        mean_motion,
    )

    from transformers_videolavit import VideoLaVITConfig

    config = VideoLaVITConfig.from_pretrained(MODEL)
    dataset = make_dataset(data, processor)
    batch = GroundedCollator(config)([dataset[index] for index in range(len(dataset))])
    ids, places = batch["input_ids"][0].tolist(), batch["mention_places"]
    # Between the start and the end of each motion.
    starts = [place for place, token in enumerate(ids) if token == config.motion_start_token_id]
    tokens = torch.tensor([list(range(start + 1, ids.index(config.motion_end_token_id, start))) for start in starts])
    positions, motions = batch["mention_positions"], batch["mention_motions"]
    is_known = motions >= 0
    assert 0 < is_known.sum() < len(places) and tokens.shape == (6, 48)

    torch.manual_seed(0)
    heads = AuxiliaryHeads(config, 2, 2)
    states = [torch.zeros(1, len(ids), 256) for _ in range(5)]

    def fit(head, layer, places, targets):
        states[layer][0, places] = torch.randn(*places.shape, 256)
        told = heads.norm(states[layer][0, places]).flatten(0, -2)
        head.weight.data = torch.linalg.lstsq(told, targets.flatten(0, -2)).solution.T
        head.bias.data.zero_()

    # As many states as features, at most, are told exactly.
    few = tokens[:4]
    fit(heads.token_motion, 1, few, mean_motion(batch["motion_vectors"], (3, 4, 4))[:4] / MOTION_SCALE)
    heads.token_place.weight.data = torch.linalg.lstsq(
        heads.norm(states[1][0, few]).flatten(0, 1), 50 * torch.eye(48).repeat(4, 1)
    ).solution.T
    heads.token_place.bias.data.zero_()
    for number, layer in enumerate((2, 3)):
        fit(heads.motions[number], layer, places[is_known], 50 * one_hot(motions[is_known], len(MOTIONS)).float())
    trainer = SimpleNamespace(
        _unwrapped=SimpleNamespace(auxiliary_heads=heads), _model_config=lambda: config, objective=ObjectiveArguments()
    )
    end = ids.index(config.bos_token_id, starts[3])
    is_unscored = batch["mention_unscored_motions"]

    def losses(last):
        chosen = places < last
        return AnswerTrainer.auxiliary_losses(
            trainer,
            [layer[:, :last] for layer in states],
            batch["input_ids"][:, :last],
            places[chosen],
            positions[chosen],
            motions[chosen],
            is_unscored[chosen],
            batch["motion_vectors"][:4],
        )

    told = losses(end)
    assert told["motion"] < 1e-6 and told["token_motion"] < 1e-6 and told["token_place"] < 1e-6
    assert told["position"] > 0.1
    for number, layer in enumerate((1, 2)):
        fit(heads.positions[number], layer, places[places < end], positions[places < end] / POSITION_SCALE)
        assert (losses(end)["position"] < 1e-6) == (layer == 2)
    # What is told wrong counts, unless it is left out of the softmax.
    wrong = (motions + 1) % len(MOTIONS)
    for number, layer in enumerate((2, 3)):
        fit(heads.motions[number], layer, places[is_known], 50 * one_hot(wrong[is_known], len(MOTIONS)).float())
    assert losses(end)["motion"] > 10
    is_unscored = one_hot(wrong, len(MOTIONS)).bool()
    assert losses(end)["motion"] < 2 * np.log(len(MOTIONS)) + 0.1


def test_without_weight_it_is_tuning_as_usual_and_its_heads_are_not_saved(data, tmp_path):
    import finetune_full
    import train_small_world_answers

    finetune_full.main(arguments(data, tmp_path / "usual"))
    train_small_world_answers.main(arguments(data, tmp_path / "answers", auxiliary_loss_weight=0))
    np.testing.assert_allclose(logged(tmp_path / "answers"), logged(tmp_path / "usual"), rtol=1e-5)
    usual, answers = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("usual", "answers"))
    torch.testing.assert_close(answers.state_dict(), usual.state_dict(), rtol=0, atol=1e-5)
    files = [{path.name for path in (tmp_path / name).iterdir() if path.is_file()} for name in ("usual", "answers")]
    assert files[1] == files[0] - {"training_args.bin"}


def test_the_motion_of_objects_has_a_weight_of_its_own(data, tmp_path):
    from train_small_world_answers import main

    for weight in ("0.0", "0.25"):
        main(arguments(data, tmp_path / weight, max_steps=1, motion_loss_weight=weight))
    (without,), (loss,) = (logged(tmp_path / weight) for weight in ("0.0", "0.25"))
    (motion,) = logged(tmp_path / "0.25", "motion_loss")
    assert loss - without == pytest.approx(0.25 * motion, rel=1e-3)


def test_hidden_states_learn_to_tell_where_and_how(data, tmp_path):
    from train_small_world_answers import main

    videos = json.dumps(sets(data, ["video"]))
    settings = {"max_steps": 30, "conversations": videos, "eval_conversations": videos, "learning_rate": 3e-3}
    main(arguments(data, tmp_path, save_steps=1000, eval_on_start=True, **settings))
    for name in ("position", "motion", "token_motion", "token_place"):
        before, after = logged(tmp_path, f"eval_{name}_loss")
        assert after < 0.7 * before, name


def test_without_motion_places_alone_are_told(data, tmp_path):
    from train_small_world_answers import main

    main(arguments(data, tmp_path, motion_tokens=False, max_steps=2))
    assert logged(tmp_path, "position_loss")
    assert not any(logged(tmp_path, f"{name}_loss") for name in ("motion", "token_motion", "token_place"))


def test_a_run_resumes_to_exactly_the_same_losses(data, tmp_path):
    from train_small_world_answers import main

    main(arguments(data, tmp_path / "a"))
    shutil.copytree(tmp_path / "a" / "checkpoint-2", tmp_path / "b" / "checkpoint-2")
    main(arguments(data, tmp_path / "b"))
    for name in ("loss", "position_loss", "token_motion_loss"):
        assert logged(tmp_path / "b", name) == logged(tmp_path / "a", name)


def test_two_processes_have_the_first_loss_of_one(data, tmp_path):
    from train_small_world_answers import main

    main(arguments(data, tmp_path / "one", max_steps=1))
    settings = {"max_steps": 1, "per_device_train_batch_size": 1}
    run("train_small_world_answers", *arguments(data, tmp_path / "two", **settings), num_processes=2)
    (one,), (two,) = (logged(tmp_path / name, "loss_text") for name in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-4)


def test_layers_that_the_model_does_not_have_are_named(data, tmp_path):
    from train_small_world_answers import main

    with pytest.raises(ValueError, match=r"from 1 to 4, the model's layers, not \[1, 1, 2, 2, 5\]"):
        main(arguments(data, tmp_path, motion_layers=[2, 5]))
