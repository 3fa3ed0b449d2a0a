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
"""What benchmarks have in common."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets


# What a metric is given: answers and references, and what a judge needs.
Score = Callable[..., dict]


@dataclass
class Item:
    """
    One question.

    Args:
        id (`str`): A name that no other question of the benchmark has.
        question (`str`): What the model is asked, with the benchmark's instructions.
        media (`Any`): Path or `PIL.Image.Image` of the image, path of the video.
        reference (`Any`): What the metric compares the answer with; `None` where only a server knows.
        submission (`dict`): What a server wants to be told of the question, next to the answer.
    """

    id: str
    question: str
    media: Any
    reference: Any = None
    submission: dict = field(default_factory=dict)


@dataclass
class QuestionTask:
    """
    A benchmark of questions about images or videos.

    Args:
        name (`str`): Its name.
        media (`str`): `"image"` or `"video"`.
        read (`Callable[[Path], list[Item]]`): Reads a folder in the published layout.
        score (`Callable`): Takes lists of answers and references, and `judge=` for open-ended answers; gives the results.
        primary (`str`): Name of the result that is the benchmark's number.
        read_hub (`Callable[[str], list[Item]]`, *optional*): Reads a data set of the Hub instead.
        hub (`str`, *optional*): That data set, by default.
        write_submission (`Callable[[list[Item], list[str], Path], None]`, *optional*): Writes what a server scores.
        max_new_tokens (`int`, defaults to 16): Longest answer.
        needs_judge (`bool`, defaults to `False`): Whether a judge gives the number; without one there is a fallback of another name.
    """

    name: str
    media: str
    read: Callable[[Path], list[Item]]
    score: Score
    primary: str
    read_hub: Callable[[str], list[Item]] | None = None
    hub: str | None = None
    write_submission: Callable[[list[Item], list[str], Path], None] | None = None
    max_new_tokens: int = 16
    needs_judge: bool = False


@dataclass
class GenerationItem:
    """
    One prompt.

    Args:
        id (`str`): A name that no other prompt of the benchmark has, fit for a file.
        prompt (`str`): What is to be shown.
        real (`Path`, *optional*): The real video or image of this prompt.
    """

    id: str
    prompt: str
    real: Path | None = None


@dataclass
class GenerationTask:
    """
    A benchmark of generated images or videos.

    Args:
        name (`str`): Its name.
        media (`str`): `"image"` or `"video"`.
        read (`Callable[[Path, int, Path | None], list[GenerationItem]]`): Reads a folder in the published layout, with the seed of
            what is drawn at random, and a file of prompts where the benchmark has none of its own.
        metrics (`tuple[str, ...]`): Which of "clipsim", "fid", "fvd" and "inception_score" it reports.
        primary (`str`): Name of the result that is the benchmark's number.
    """

    name: str
    media: str
    read: Callable[[Path, int, Path | None], list[GenerationItem]]
    metrics: tuple[str, ...]
    primary: str


def read_json(path: Path) -> Any:
    """
    Reads a file of a benchmark.

    Raises:
        ValueError: If it is not there or no JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{os.fspath(path)!r} is missing: the folder is not in the published layout.") from error
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r} is no JSON: {error}") from error


def find_one(folder: Path, *patterns: str) -> Path:
    """
    The first file of a folder that fits one of the patterns.

    Raises:
        ValueError: If there is none.
    """
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            return path
    raise ValueError(f"{os.fspath(folder)!r} has no {' or '.join(patterns)}: it is not in the published layout.")


def load_hub(name: str, **kwargs) -> datasets.Dataset:
    """Loads a data set of the Hub."""
    return datasets.load_dataset(name, **kwargs)


def write_json(path: Path, content: Any) -> None:
    """Writes a file at once or not at all."""
    temporary = path.with_name(f"{path.name}.incomplete")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
