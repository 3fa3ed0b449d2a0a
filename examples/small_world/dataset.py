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
"""The small world as a data set: a stream of samples, and folders of files in the formats of the published data sets."""

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from .language import NUM_PHRASINGS, Question, ask_questions, write_caption
from .rendering import check_frame_size, render_scene, write_video
from .scenes import SPLITS, Motion, ObjectDescription, Scene, SceneDescription, Split, sample_scene


# Images are other scenes than the videos of the same numbers.
_FIRST_IMAGE_SCENE = 2**32


@dataclass(frozen=True)
class SmallWorldOptions:
    """
    What makes a data set, whatever its size: sample `i` of two data sets with the same options is the same.

    Args:
        seed (`int`, defaults to 0): Number of the data set.
        split (`str`, defaults to `"train"`): "train", "validation" or "test"; only "test" has held-out combinations.
        num_objects (`tuple[int, int]`, defaults to `(1, 3)`): Smallest and largest number of objects in a scene.
        num_clips (`int`, defaults to 1): Clips of 24 frames, 4 seconds, in a video.
        frame_size (`tuple[int, int]`, defaults to `(128, 128)`): Height and width in pixels, both even.
        questions (`str`, defaults to `"some"`): "some" asks two questions about the appearance of a video and three of an image; "all"
            asks everything about the appearance of each object, and where it is, for models to learn to tell objects apart, but nothing
            whose object is found by exclusion (see [`~small_world.language.is_found_by_exclusion`]).
    """

    seed: int = 0
    split: Split = "train"
    num_objects: tuple[int, int] = (1, 3)
    num_clips: int = 1
    frame_size: tuple[int, int] = (128, 128)
    questions: Literal["some", "all"] = "some"

    def __post_init__(self):
        check_frame_size(self.frame_size)
        if self.questions not in ("some", "all"):
            raise ValueError(f"`questions` must be 'some' or 'all', not {self.questions!r}.")


@dataclass(frozen=True)
class SmallWorldSample:
    """
    Args:
        id (`str`): A name that no other sample of the data set has.
        scene (`Scene`): What is rendered.
        description (`SceneDescription`): What the caption tells: without motion for an image.
        caption (`str`): The description in one of its phrasings.
        questions (`list[Question]`): Questions with answers; none about a video of several clips.
    """

    id: str
    scene: Scene
    description: SceneDescription
    caption: str
    questions: list[Question]


@cache
def read_options(folder: str | os.PathLike) -> SmallWorldOptions:
    """The options of a data set that [`write_dataset`] has written."""
    options = json.loads((Path(folder) / "options.json").read_text())
    return SmallWorldOptions(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    )


def read_sample(path: str | os.PathLike) -> SmallWorldSample:
    """The sample that a video or image of a data set is of, by the file's path."""
    path = Path(path)
    make = video_sample if path.parent.name == "videos" else image_sample
    return make(read_options(path.parent.parent), int(path.stem.rpartition("_")[2]))


def video_sample(options: SmallWorldOptions, index: int) -> SmallWorldSample:
    """The video with a number."""
    scene = sample_scene(
        options.seed, options.split, index, options.num_objects, options.num_clips, options.frame_size
    )
    return _make_sample(options, f"{options.split}_video_{index:08d}", index, scene, scene.description, 2)


def image_sample(options: SmallWorldOptions, index: int) -> SmallWorldSample:
    """The still image with a number."""
    number = _FIRST_IMAGE_SCENE + index
    scene = sample_scene(
        options.seed, options.split, number, options.num_objects, frame_size=options.frame_size, still=True
    )
    description = scene.description.without_motion()
    return _make_sample(options, f"{options.split}_image_{index:08d}", number, scene, description, 3)


def _make_sample(
    options: SmallWorldOptions,
    name: str,
    number: int,
    scene: Scene,
    description: SceneDescription,
    num_appearance_questions: int,
) -> SmallWorldSample:
    # The scene was drawn from the first three numbers alone.
    generator = np.random.default_rng([options.seed, SPLITS.index(options.split), number, 1])
    caption = write_caption(description, phrasing=int(generator.integers(NUM_PHRASINGS)))
    number = None if options.questions == "all" else num_appearance_questions
    questions = [] if scene.num_clips > 1 else ask_questions(description, generator, number, scene.positions)
    return SmallWorldSample(name, scene, description, caption, questions)


def moving_samples(options: SmallWorldOptions, number: int) -> list[SmallWorldSample]:
    """The first samples whose first object is in translation, in front of a camera that is still."""
    samples = (video_sample(options, index) for index in count())
    return list(islice((sample for sample in samples if _is_moving(sample.description)), number))


def _is_moving(description: SceneDescription) -> bool:
    return description.camera == "still" and description.objects[0].motions[0].kind == "translation"


def stream_videos(
    options: SmallWorldOptions, start: int = 0, stop: int | None = None
) -> Iterator[tuple[SmallWorldSample, np.ndarray]]:
    """Samples and their frames (`uint8` of shape `(24 * num_clips, height, width, 3)`), without end unless `stop` says so."""
    index = start
    while stop is None or index < stop:
        sample = video_sample(options, index)
        yield sample, render_scene(sample.scene, options.frame_size)
        index += 1


def description_to_dict(description: SceneDescription) -> dict:
    """A description as JSON can hold it."""
    return asdict(description)


def description_from_dict(values: dict) -> SceneDescription:
    """What `description_to_dict` made a dictionary of, also after it was JSON."""
    objects = [
        ObjectDescription(**{**described, "motions": tuple(Motion(**motion) for motion in described["motions"])})
        for described in values["objects"]
    ]
    return SceneDescription(**{**values, "objects": tuple(objects)})


def write_dataset(
    output_dir: str | os.PathLike,
    options: SmallWorldOptions,
    num_videos: int,
    num_images: int = 0,
    num_workers: int = 1,
) -> None:
    """
    Writes a data set, or what is still missing of it.

    - `videos/*.mp4` and `images/*.png`;
    - `metadata_video.csv` and `metadata_image.csv` with the columns of WebVid, "videoid" (or "imageid"), "path" (relative
      to the folder), "name" (the caption), and "attributes" (the description as JSON); the same as `.jsonl`;
    - `conversations_video.json` as Video-ChatGPT's, a list of {"q", "a", "video_id"}, with "type" and
      "question_type", the attribute that is asked for;
    - `conversations_image.json` as LLaVA's, a list of {"id", "image", "conversations"}, with
      "question_types";
    - `options.json`.

    Every file is there whole or not at all. A run that was interrupted is continued by calling this again, and a larger
    number of samples only adds the missing ones.

    Args:
        output_dir (`str` or `os.PathLike`): The folder.
        options (`SmallWorldOptions`): What to write.
        num_videos (`int`): Number of videos.
        num_images (`int`, defaults to 0): Number of still images.
        num_workers (`int`, defaults to 1): Processes that render. They don't change the result.

    Raises:
        ValueError: If a number is negative, or the folder holds a data set of other options.
    """
    if num_videos < 0 or num_images < 0 or num_workers < 1:
        raise ValueError(
            "`num_videos` and `num_images` must be at least 0 and `num_workers` at least 1, not "
            f"{num_videos}, {num_images} and {num_workers}."
        )
    # Options out of range are refused before the folder is made.
    video_sample(options, 0)
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    _check_options(output_dir / "options.json", options)
    for folder, number, write in (("videos", num_videos, _write_video), ("images", num_images, _write_image)):
        if number:
            (output_dir / folder).mkdir(exist_ok=True)
            _run(partial(write, output_dir, options), number, num_workers, folder)
    if num_videos:
        _write_video_tables(output_dir, [video_sample(options, index) for index in range(num_videos)])
    if num_images:
        _write_image_tables(output_dir, [image_sample(options, index) for index in range(num_images)])


def _check_options(path: Path, options: SmallWorldOptions) -> None:
    wanted = json.loads(json.dumps(asdict(options)))
    if not path.exists():
        _write_text(path, json.dumps(wanted, indent=2) + "\n")
        return
    # Of an option that came later, folders have what was before.
    existing = asdict(SmallWorldOptions()) | json.loads(path.read_text())
    for name, value in wanted.items():
        if existing[name] != value:
            raise ValueError(
                f"{str(path.parent)!r} holds a data set with `{name}` = {existing[name]}, not {value}: choose another "
                "folder."
            )


def _run(write, number: int, num_workers: int, description: str) -> None:
    progress = partial(tqdm, total=number, desc=description, unit=description[:-1])
    if num_workers == 1:
        for index in progress(range(number)):
            write(index)
        return
    # Processes that are forked would inherit locks of threads that they don't have.
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        for _ in progress(executor.map(write, range(number), chunksize=8)):
            pass


def _video_path(sample: SmallWorldSample) -> str:
    return f"videos/{sample.id}.mp4"


def _image_path(sample: SmallWorldSample) -> str:
    return f"images/{sample.id}.png"


def _write_video(output_dir: Path, options: SmallWorldOptions, index: int) -> None:
    sample = video_sample(options, index)
    path = output_dir / _video_path(sample)
    if not path.exists():
        write_video(path, render_scene(sample.scene, options.frame_size))


def _write_image(output_dir: Path, options: SmallWorldOptions, index: int) -> None:
    sample = image_sample(options, index)
    path = output_dir / _image_path(sample)
    if not path.exists():
        (frame,) = render_scene(sample.scene, options.frame_size, num_frames=1)
        temporary = path.with_name(path.name + ".incomplete")
        Image.fromarray(frame).save(temporary, format="PNG")
        os.replace(temporary, path)


def _write_video_tables(output_dir: Path, samples: list[SmallWorldSample]) -> None:
    _write_metadata(output_dir / "metadata_video", "videoid", samples, [_video_path(sample) for sample in samples])
    conversations = [
        {
            "q": question.question,
            "a": question.answer,
            "video_id": sample.id,
            "type": question.type,
            "question_type": question.attribute,
        }
        for sample in samples
        for question in sample.questions
    ]
    _write_text(output_dir / "conversations_video.json", json.dumps(conversations, indent=1) + "\n")


def _write_image_tables(output_dir: Path, samples: list[SmallWorldSample]) -> None:
    _write_metadata(output_dir / "metadata_image", "imageid", samples, [_image_path(sample) for sample in samples])
    conversations = []
    for sample in samples:
        turns = []
        for question in sample.questions:
            mark = "" if turns else "<image>\n"
            turns.append({"from": "human", "value": mark + question.question})
            turns.append({"from": "gpt", "value": question.answer})
        types = [question.attribute for question in sample.questions]
        image = _image_path(sample)
        conversations.append({"id": sample.id, "image": image, "conversations": turns, "question_types": types})
    _write_text(output_dir / "conversations_image.json", json.dumps(conversations, indent=1) + "\n")


def _write_metadata(path: Path, id_column: str, samples: list[SmallWorldSample], media: list[str]) -> None:
    rows = [
        {
            id_column: sample.id,
            "path": medium,
            "name": sample.caption,
            "attributes": json.dumps(description_to_dict(sample.description)),
        }
        for sample, medium in zip(samples, media)
    ]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write_text(path.with_suffix(".csv"), table.getvalue())
    _write_text(path.with_suffix(".jsonl"), "".join(json.dumps(row) + "\n" for row in rows))


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".incomplete")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
