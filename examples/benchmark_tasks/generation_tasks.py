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
"""Benchmarks of generated images and videos."""

from pathlib import Path

import numpy as np

from .questions import GenerationItem, GenerationTask, find_one, read_json


def read_coco(folder: Path, seed: int, prompts: Path | None) -> list[GenerationItem]:
    """MS-COCO: one caption, drawn at random, of each image of `annotations/captions_val2014.json`; the images are in `val2014`."""
    content = read_json(find_one(folder, "annotations/captions_val2014.json", "captions_val2014.json"))
    captions: dict[int, list[str]] = {}
    for entry in content["annotations"]:
        captions.setdefault(entry["image_id"], []).append(entry["caption"].strip())
    files = {entry["id"]: entry["file_name"] for entry in content["images"]}
    return [
        GenerationItem(str(image), _draw(captions[image], seed, index), folder / "val2014" / files[image])
        for index, image in enumerate(sorted(captions))
    ]


def read_msrvtt(folder: Path, seed: int, prompts: Path | None) -> list[GenerationItem]:
    """MSR-VTT: one caption, drawn at random, of each video of the test split in `test_videodatainfo.json`, with `TestVideo`."""
    content = read_json(find_one(folder, "test_videodatainfo.json", "*/test_videodatainfo.json"))
    videos = [entry["video_id"] for entry in content["videos"] if entry.get("split", "test") == "test"]
    captions: dict[str, list[str]] = {}
    for entry in content["sentences"]:
        captions.setdefault(entry["video_id"], []).append(entry["caption"].strip())
    return [
        GenerationItem(video, _draw(captions[video], seed, index), folder / "TestVideo" / f"{video}.mp4")
        for index, video in enumerate(videos)
    ]


def read_ucf101(folder: Path, seed: int, prompts: Path | None) -> list[GenerationItem]:
    """
    UCF-101: videos in a folder for each class, with a prompt for each class, and as many generated videos of a class as it has real ones
    or `videos_per_class` of the prompts' file says. The prompts decide the number, so there are none by default.

    Raises:
        ValueError: If there is no file of prompts, or it lacks a class.
    """
    if prompts is None:
        raise ValueError(
            'UCF-101 has no captions: give `prompts`, a JSON file {"videos_per_class": 20, "prompts": {class: prompt}}.'
        )
    content = read_json(prompts)
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if missing := [name for name in classes if name not in content["prompts"]]:
        raise ValueError(f"{str(prompts)!r} has no prompt of {missing[:5]}.")
    items = []
    for name in classes:
        real = sorted(path for path in (folder / name).iterdir() if path.suffix in (".avi", ".mp4"))
        for number in range(int(content["videos_per_class"])):
            items.append(
                GenerationItem(
                    f"{name}-{number:04d}", content["prompts"][name], real[number] if number < len(real) else None
                )
            )
    return items


def _draw(captions: list[str], seed: int, index: int) -> str:
    return captions[int(np.random.default_rng([seed, index]).integers(len(captions)))]


GENERATION_TASKS = (
    GenerationTask("coco", "image", read_coco, ("fid", "clipsim"), "fid"),
    GenerationTask("msrvtt", "video", read_msrvtt, ("clipsim", "fvd", "fid"), "clipsim"),
    GenerationTask("ucf101", "video", read_ucf101, ("inception_score", "fvd"), "inception_score"),
)
