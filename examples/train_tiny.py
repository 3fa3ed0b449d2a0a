# Copyright 2026 The transformers-videolavit authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
Trains a small Video-LaVIT from nothing, through all three stages, on the small world: what `make tiny` runs.

    python examples/train_tiny.py --output_dir outputs/tiny
    python examples/train_tiny.py --output_dir outputs/tiny --scale gpu
    python examples/train_tiny.py --output_dir outputs/tiny --steps motion_tokenizer pretrain

Each step is one of the programs beside this one, with the settings of `configs/small_world/`; its command is printed. A step that is
done (`done/` has its name) is left out, one that was interrupted goes on from its last checkpoint. `times.json` has the seconds that each has taken.
With `--jobs 2`, two steps run at a time where neither needs what the other makes, on half of the cores each; what they print is in `logs/`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import yaml


EXAMPLES = Path(__file__).parent
CONFIGS = EXAMPLES / "configs" / "small_world"
FRAME_SIZE = 192  # pixels: an object covers several macroblocks
LANGUAGE_MODEL = {
    "hidden_size": 256,
    "intermediate_size": 576,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    # All weights of a release together are to stay below 60 MB.
    "tie_word_embeddings": True,
}


@dataclass
class Step:
    """
    One program to run.

    Args:
        program (`str`): Its file, without ending.
        arguments (`dict`): Its arguments by name; of a list each element is one, and a dictionary is JSON.
        output (`str`): What it makes, in the output folder.
        config (`str`, *optional*): Its settings, a file in `configs/small_world/`: it is a training program.
        uses_all_cores (`bool`, defaults to `False`): Whether it has a process for each core: one such step runs at a time.
    """

    program: str
    arguments: dict
    output: str
    config: str | None = None
    uses_all_cores: bool = False


def list_steps(folder: Path, scale: dict) -> dict[str, Step]:
    """
    All steps in their order, by name.

    Args:
        folder (`Path`): Where everything is written.
        scale (`dict`): Of `scales.yaml`: numbers of samples, and what replaces settings of the steps.
    """
    data = folder / "data"
    train, single, long = data / "train", data / "train_single", data / "train_long"
    validation = data / "validation"
    # Stills have folders of their own: what learns from them alone need not wait for videos.
    stills, single_stills = data / "train_images", data / "train_single_images"

    def world(output: Path, **arguments) -> Step:
        arguments |= {"size": FRAME_SIZE, "num_workers": os.cpu_count()}
        return Step("small_world", arguments, str(output.relative_to(folder)), uses_all_cores=True)

    def inputs(videos: Path, images: Path) -> list[dict]:
        sets = {"video": videos, "image": images}
        return [{"kind": kind, "path": str(split / f"metadata_{kind}.csv")} for kind, split in sets.items()]

    def conversations(split: Path, kind: str, repeat: int = 1) -> dict:
        return {
            "format": "video_chatgpt" if kind == "video" else "llava",
            "path": str(split / f"conversations_{kind}.json"),
            "media_root": str(split / "videos" if kind == "video" else split),
            "merge_turns": kind == "video",
            # Answers about an object are no help to find another one.
            "independent_turns": True,
            "repeat": repeat,
        }

    def tokens(split: str) -> Step:
        sets = inputs(validation, validation)
        if split == "train":
            sets = inputs(train, stills)
            sets += [{"kind": "video", "path": str(split / "metadata_video.csv")} for split in (single, long)]
        arguments = {"model_name_or_path": folder / "base", "inputs": sets, "num_workers": os.cpu_count()}
        return Step("tokenize_dataset", arguments, f"tokens/{split}", uses_all_cores=True)

    def motion_tokenizer(output: str, config: str) -> Step:
        videos = {"train_videos": [train / "videos"], "eval_videos": [validation / "videos"]}
        return Step("train_motion_tokenizer", {**videos, "cache_dir": folder / "motion"}, output, config)

    def video_detokenizer(output: str, **arguments) -> Step:
        arguments |= {
            "train_videos": [train / "videos", single / "videos"],
            "eval_videos": [validation / "videos"],
            "cache_dir": folder / "latents",
            "motion_tokenizer": folder / "motion_tokenizer",
        }
        return Step("train_video_detokenizer", arguments, output, "video_detokenizer")

    def pretrain(output: str, **arguments) -> Step:
        # Of videos, images, videos of one object and long videos, as `tokens` numbers them. Objects that move alone are rare among all:
        # with the sets as they are, directions stay near to chance long after the losses are low.
        weights = (2, 1, 6, 1)
        arguments |= {
            "model_name_or_path": folder / "base",
            "mixture": [
                {"path": str(folder / f"tokens/train/input-{number}-*.parquet"), "weight": weight}
                for number, weight in enumerate(weights)
            ],
            "eval_files": [folder / "tokens/validation/*.parquet"],
        }
        return Step("train_small_world_motion", arguments, output, "pretrain")

    def finetune(start: str, output: str, **arguments) -> Step:
        arguments |= {
            "model_name_or_path": folder / start,
            # Which of several objects moves how is the hardest to learn, and there are fewest videos to learn it from.
            "conversations": [
                conversations(train, "video", repeat=6),
                conversations(single, "video"),
                conversations(stills, "image"),
            ],
            "eval_conversations": [conversations(validation, "video"), conversations(validation, "image")],
            "cache_dir": folder / "conversations",
        }
        return Step("train_small_world_answers", arguments, output, "finetune")

    def release(pretrained: str, instruct: str, output: str) -> Step:
        parts = {"pretrained": pretrained, "instruct": instruct, "times": "times.json"}
        parts |= {"detokenizer": "video_detokenizer", "keyframe_detokenizer": "keyframe_detokenizer"}
        arguments = {name: folder / part for name, part in parts.items()}
        # Of generated motion, few directions are right at the published guidance, most at this, and of visual tokens more colours
        # and then directions at this temperature; and keyframes have fewer tokens.
        generation = {"visual_guidance_scale": 1.5, "motion_guidance_scale": 1.5, "min_visual_tokens": 1}
        generation |= {"visual_temperature": 0.7}
        generation |= {"max_guidance_scale": 1.0, "keyframe_guidance_scale": 2.0, "continuous_keyframe": True}
        return Step("release_tiny", arguments | generation, output)

    return {
        "data_validation": world(
            validation,
            split="validation",
            num_videos=scale["validation_videos"],
            num_images=scale["validation_images"],
        ),
        "data_train_images": world(stills, num_videos=0, num_images=scale["images"], questions="all"),
        "data_train": world(train, num_videos=scale["videos"], questions="all"),
        # An object that moves alone is what prompts of videos tell of, and the easiest to learn motion from.
        "data_train_single": world(single, num_videos=scale["single_videos"], num_objects=1, seed=2, questions="all"),
        "data_train_long": world(long, num_videos=scale["long_videos"], num_clips=4, num_objects=1, seed=1),
        "data_train_single_images": world(
            single_stills, num_videos=0, num_images=scale["single_images"], num_objects=1, seed=2
        ),
        "image_encoder": Step(
            "train_small_world_encoder",
            {"train_data": stills, "eval_data": validation},
            "image_encoder",
            "image_encoder",
        ),
        "keyframe_features": Step(
            "train_keyframe_tokenizer",
            {
                "phase": "features",
                "vision_model_name_or_path": folder / "image_encoder",
                "train_images": [stills / "images"],
                "eval_images": [validation / "images"],
            },
            "keyframe_features",
            "keyframe_tokenizer",
        ),
        "keyframe_selector": Step(
            "train_small_world_selector",
            {"model_name_or_path": folder / "keyframe_features", "train_data": stills, "eval_data": validation},
            "keyframe_selector",
            "selector",
        ),
        "keyframe_tokenizer": Step(
            "train_keyframe_tokenizer",
            {
                "phase": "quantizer",
                "model_name_or_path": folder / "keyframe_selector",
                # Features that are trained with the codebook lose what the codes leave out.
                "train_merger": False,
                "train_images": [stills / "images"],
                "eval_images": [validation / "images"],
            },
            "keyframe_tokenizer",
            "keyframe_tokenizer",
        ),
        "motion_tokenizer": motion_tokenizer("motion_tokenizer", "motion_tokenizer"),
        "keyframe_vae": Step(
            "train_autoencoder",
            {"kind": "image", "train_images": [stills / "images"], "eval_videos": [validation / "videos"]},
            "keyframe_vae",
            "autoencoder",
        ),
        "vae": Step(
            "train_autoencoder",
            {
                "kind": "video",
                "image_autoencoder": folder / "keyframe_vae",
                "train_videos": [train / "videos"],
                "eval_videos": [validation / "videos"],
            },
            "vae",
            "autoencoder",
        ),
        "keyframe_detokenizer": Step(
            "train_keyframe_detokenizer",
            {
                "keyframe_tokenizer": folder / "keyframe_tokenizer",
                "vae": folder / "keyframe_vae",
                "train_images": [stills / "images", single_stills / "images"],
                "eval_images": [validation / "images"],
                "cache_dir": folder / "keyframe_latents",
            },
            "keyframe_detokenizer",
            "keyframe_detokenizer",
        ),
        # To copy the keyframe and to move things is learned from a third of the frames, at a third of the cost.
        "video_detokenizer_start": video_detokenizer("video_detokenizer_start", vae=folder / "vae", num_frames=8),
        "video_detokenizer": video_detokenizer(
            "video_detokenizer", pipeline_name_or_path=folder / "video_detokenizer_start"
        ),
        "base": Step(
            "assemble_model",
            {
                "keyframe_tokenizer": folder / "keyframe_tokenizer",
                "motion_tokenizer": folder / "motion_tokenizer",
                "text_files": [train / "metadata_video.csv", train / "conversations_video.json"],
                "text_vocab_size": 512,
                "language_model_config": LANGUAGE_MODEL,
            },
            "base",
        ),
        "tokens_train": tokens("train"),
        "tokens_validation": tokens("validation"),
        "pretrain": pretrain("pretrained"),
        "finetune": finetune("pretrained", "instruct"),
        "release": release("pretrained", "instruct", "videolavit-tiny"),
        # For comparison: the same training without motion, and other numbers of motion tokens.
        "pretrain_without_motion": pretrain("pretrained_without_motion", motion_tokens=False),
        "finetune_without_motion": finetune(
            "pretrained_without_motion", "instruct_without_motion", motion_tokens=False
        ),
        "release_without_motion": release(
            "pretrained_without_motion", "instruct_without_motion", "videolavit-tiny-without-motion"
        ),
        "fewer_motion_tokens": motion_tokenizer("motion_tokenizer_fewer", "motion_tokenizer_fewer"),
        "more_motion_tokens": motion_tokenizer("motion_tokenizer_more", "motion_tokenizer_more"),
    }


def command_of(step: Step, folder: Path, overrides: dict) -> list[str]:
    """The command line of a step."""
    arguments = {"output_dir": folder / step.output, **step.arguments, **overrides}
    command = [sys.executable, str(EXAMPLES / f"{step.program}.py")]
    if step.config is not None:
        command += ["--config", str(CONFIGS / f"{step.config}.yaml")]
    for name, value in arguments.items():
        is_json = isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict))
        values = [json.dumps(value)] if is_json else value if isinstance(value, list) else [value]
        command += [f"--{name}", *map(str, values)]
    return command


def requirements(steps: dict[str, Step], folder: Path) -> dict[str, set[str]]:
    """For each step those whose output is among its arguments."""
    texts = {name: json.dumps(step.arguments, default=str) for name, step in steps.items()}
    return {
        name: {
            other
            for other, made in steps.items()
            # With what may follow a path, so that `data/train` is not found in `data/train_long`.
            if other != name and any(f"{folder / made.output}{end}" in text for end in ('"', "/"))
        }
        for name, text in texts.items()
    }


def run(steps: dict[str, Step], folder: Path, scale: dict, num_jobs: int = 1) -> None:
    """
    Runs steps that are not done yet, one after another, or several at a time, each once all it needs is there.

    Args:
        steps (`dict[str, Step]`): The steps. What they need and is not among them is taken to be there.
        folder (`Path`): Where everything is written.
        scale (`dict`): See [`list_steps`].
        num_jobs (`int`, defaults to 1): How many may run at a time.

    Raises:
        subprocess.CalledProcessError: If one fails; those that run are then waited for, and no other is started.
    """
    numbers = {name: number for number, name in enumerate(steps, start=1)}
    needed = requirements(steps, folder)
    waiting = dict(steps)
    running: dict[Future, str] = {}
    with ThreadPoolExecutor(num_jobs) as executor:
        while waiting or running:
            for name in list(waiting):
                under_way = set(running.values())
                is_busy = steps[name].uses_all_cores and any(steps[other].uses_all_cores for other in under_way)
                if len(running) < num_jobs and not is_busy and not needed[name] & (waiting.keys() | under_way):
                    label = f"[{numbers[name]}/{len(steps)}] {name}"
                    step = waiting.pop(name)
                    running[executor.submit(run_step, label, name, step, folder, scale, num_jobs)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                running.pop(future)
                future.result()


def run_step(label: str, name: str, step: Step, folder: Path, scale: dict, num_jobs: int) -> None:
    """Runs a step unless it is done, and notes its time and that it is."""
    mark = folder / "done" / name
    if mark.exists():
        report(f"{label}: done")
        return
    overrides = dict(scale.get("steps", {}).get(name, {}))
    if step.config is not None:
        overrides = {**scale.get("training", {}), **overrides}
    command = command_of(step, folder, overrides)
    report(f"{label}: {' '.join(command[1:])}")
    start = time.monotonic()
    if num_jobs == 1:
        subprocess.run(command, check=True)
    else:
        log = folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // num_jobs))
        with open(log, "a") as file:
            environment = {"OMP_NUM_THREADS": threads, **os.environ}
            result = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        outcome = "took" if result.returncode == 0 else f"failed, as {log} tells, after"
        report(f"{label}: {outcome} {time.monotonic() - start:.0f} seconds")
        result.check_returncode()
    add_time(folder / "times.json", name, time.monotonic() - start)
    mark.parent.mkdir(exist_ok=True)
    mark.touch()


def report(line: str) -> None:
    """Prints a line; several threads do, and `print` would write its end apart from it."""
    print(f"{line}\n", end="", flush=True)


_times_lock = Lock()


def add_time(path: Path, name: str, seconds: float) -> None:
    """Adds to the seconds of a step, which may have been interrupted before."""
    with _times_lock:
        times = json.loads(path.read_text()) if path.exists() else {}
        times[name] = round(times.get(name, 0.0) + seconds, 1)
        temporary = path.with_name(f"{path.name}.incomplete")
        temporary.write_text(json.dumps(times, indent=2) + "\n")
        os.replace(temporary, path)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="where everything is written")
    parser.add_argument("--scale", default="cpu", help="settings by this name (default: %(default)s)")
    parser.add_argument(
        "--scales", type=Path, default=CONFIGS / "scales.yaml", help="file of these settings (default: %(default)s)"
    )
    parser.add_argument("--steps", nargs="+", metavar="STEP", help="only these steps, in place of all")
    parser.add_argument("--jobs", type=int, default=1, help="steps that may run at a time (default: %(default)s)")
    arguments = parser.parse_args(args)
    scales = yaml.safe_load(arguments.scales.read_text())
    if arguments.scale not in scales:
        parser.error(f"--scale must be one of {', '.join(scales)}, not {arguments.scale}")
    scale = scales[arguments.scale]
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, not {arguments.jobs}")
    steps = list_steps(arguments.output_dir, scale)
    if unknown := sorted(set(arguments.steps or ()) - set(steps)):
        parser.error(f"unknown steps {', '.join(unknown)}; there are {', '.join(steps)}")
    run(
        {name: step for name, step in steps.items() if arguments.steps is None or name in arguments.steps},
        arguments.output_dir,
        scale,
        arguments.jobs,
    )


if __name__ == "__main__":
    main()
