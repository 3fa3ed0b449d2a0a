"""The steps of `make tiny`."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


EXAMPLES = Path(__file__).parents[2] / "examples"
SCALES = yaml.safe_load((EXAMPLES / "configs" / "small_world" / "scales.yaml").read_text())


@pytest.mark.parametrize("scale", list(SCALES))
def test_every_training_step_has_arguments_that_its_program_takes(scale, tmp_path):
    from train_tiny import command_of, list_steps
    from training.arguments import parse_arguments

    settings = SCALES[scale]
    steps = list_steps(tmp_path, settings)
    assert set(settings["steps"]) <= set(steps)
    for name, step in steps.items():
        program = importlib.import_module(step.program)
        if step.config is None and not hasattr(program, "ARGUMENTS"):
            continue
        overrides = {**settings["training"], **settings["steps"].get(name, {})} if step.config else {}
        # Precisions that this machine may lack are no concern here.
        command = [*command_of(step, tmp_path, overrides)[2:], *(["--use_cpu", "True"] if step.config else [])]
        parsed = parse_arguments(program.ARGUMENTS, command)
        output_dirs = {values.output_dir for values in parsed if hasattr(values, "output_dir")}
        assert output_dirs == {str(tmp_path / step.output)}, name


def test_what_a_step_reads_is_made_before_it(tmp_path):
    from train_tiny import list_steps

    made = set()
    for name, step in list_steps(tmp_path, SCALES["cpu"]).items():
        text = json.dumps(step.arguments, default=str)
        for path in (part.split("*")[0] for part in text.split('"') if part.startswith(str(tmp_path))):
            relative = Path(path).relative_to(tmp_path).as_posix()
            is_own = "cache_dir" in step.arguments and str(step.arguments["cache_dir"]) == path
            assert is_own or relative == "times.json" or any(relative.startswith(other) for other in made), (
                name,
                path,
            )
        made.add(step.output)


def test_pretraining_mixes_all_sets_that_were_tokenized_and_the_videos_of_one_object_most(tmp_path):
    from train_tiny import list_steps

    steps = list_steps(tmp_path, SCALES["cpu"])
    sets = [(Path(entry["path"]).parent.name, entry["kind"]) for entry in steps["tokens_train"].arguments["inputs"]]
    # As `tokenize_dataset.py` names their shards.
    shards = [str(tmp_path / f"tokens/train/input-{number}-*.parquet") for number in range(len(sets))]
    for name in ("pretrain", "pretrain_without_motion"):
        mixture = steps[name].arguments["mixture"]
        assert [entry["path"] for entry in mixture] == shards
        assert max(zip(mixture, sets), key=lambda pair: pair[0]["weight"])[1] == ("train_single", "video")


def test_steps_run_once_and_in_order_with_their_times(tmp_path, capsys):
    from train_tiny import main

    scales = {
        "cpu": {
            "videos": 2,
            "single_videos": 1,
            "single_images": 1,
            "long_videos": 1,
            "images": 2,
            "validation_videos": 2,
            "validation_images": 2,
            "steps": {"data_validation": {"num_videos": 1, "num_images": 1}},
        }
    }
    (tmp_path / "scales.yaml").write_text(yaml.safe_dump(scales))
    arguments = ["--output_dir", str(tmp_path / "out"), "--scales", str(tmp_path / "scales.yaml"), "--steps"]
    arguments += ["data_validation", "data_train"]
    main(arguments)
    assert len(list((tmp_path / "out/data/train/videos").glob("*.mp4"))) == 2
    assert len(list((tmp_path / "out/data/validation/images").glob("*.png"))) == 1
    times = json.loads((tmp_path / "out" / "times.json").read_text())
    assert list(times) == ["data_validation", "data_train"] and all(seconds > 0 for seconds in times.values())
    capsys.readouterr()
    main(arguments)
    assert capsys.readouterr().out.splitlines() == ["[1/2] data_validation: done", "[2/2] data_train: done"]


def test_steps_know_what_they_need(tmp_path):
    from train_tiny import list_steps, requirements

    steps = list_steps(tmp_path, SCALES["gpu"])
    needed = requirements(steps, tmp_path)
    assert needed["data_train"] == set()
    assert needed["motion_tokenizer"] == {"data_train", "data_validation"}
    assert needed["keyframe_selector"] == {"keyframe_features", "data_train_images", "data_validation"}
    data = {"data_train", "data_train_single", "data_train_images", "data_validation"}
    assert needed["finetune"] == {"pretrain", *data}
    assert needed["release_without_motion"] >= {"pretrain_without_motion", "video_detokenizer"}
    # What a step needs comes before it: one after another, they all run.
    names = list(steps)
    assert all(names.index(other) < names.index(name) for name in names for other in needed[name])


def test_steps_that_need_nothing_of_each_other_run_together(tmp_path, monkeypatch, capsys):
    import train_tiny
    from train_tiny import Step, run

    code = "import pathlib, sys, time; folder = pathlib.Path(sys.argv[1]); folder.joinpath(sys.argv[2]).touch()"
    waits = "\nwhile not folder.joinpath(sys.argv[3]).exists(): time.sleep(0.01)"
    commands = {
        # The first two end only if both run at the same time.
        "left": [sys.executable, "-c", code + waits, tmp_path, "a", "b"],
        "right": [sys.executable, "-c", code + waits, tmp_path, "b", "a"],
        "both": [sys.executable, "-c", code, tmp_path, "c"],
        "broken": [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"],
    }
    monkeypatch.setattr(
        train_tiny, "command_of", lambda step, folder, overrides: list(map(str, commands[step.program]))
    )
    steps = {name: Step(name, {}, f"out/{name}") for name in ("left", "right")}
    steps["both"] = Step(
        "both", {"inputs": [str(tmp_path / "out/left"), str(tmp_path / "out/right/file")]}, "out/both"
    )
    run(steps, tmp_path, {}, num_jobs=2)
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["both", "left", "right"]
    assert json.loads((tmp_path / "times.json").read_text()).keys() == steps.keys()
    # Not those that have a process for each core.
    code += "\nassert not folder.joinpath('busy').exists(); folder.joinpath('busy').touch(); time.sleep(0.3)"
    code += "\nfolder.joinpath('busy').unlink()"
    commands |= {
        "first": [sys.executable, "-c", code, tmp_path, "d"],
        "second": [sys.executable, "-c", code, tmp_path, "e"],
    }
    run({name: Step(name, {}, name, uses_all_cores=True) for name in ("first", "second")}, tmp_path, {}, num_jobs=2)
    assert (tmp_path / "d").exists() and (tmp_path / "e").exists()
    capsys.readouterr()
    with pytest.raises(subprocess.CalledProcessError):
        run({"broken": Step("broken", {}, "out/broken")}, tmp_path, {}, num_jobs=2)
    log = tmp_path / "logs" / "broken.log"
    assert log.read_text() == "the reason\n" and f"broken: failed, as {log} tells" in capsys.readouterr().out
    assert not (tmp_path / "done" / "broken").exists()


def test_unknown_steps_and_scales_are_refused(tmp_path, capsys):
    from train_tiny import main

    for arguments in (["--steps", "nothing"], ["--scale", "huge"], ["--jobs", "0"]):
        with pytest.raises(SystemExit):
            main(["--output_dir", str(tmp_path), *arguments])
    errors = capsys.readouterr().err
    assert "unknown steps nothing" in errors and "must be one of cpu, gpu" in errors
    assert "--jobs must be at least 1, not 0" in errors
