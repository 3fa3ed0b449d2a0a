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
Readers of the data that the training programs take: tables of videos, images and texts, WebDataset tars, data sets of the Hub, and the
published conversations of LLaVA-1.5 and Video-ChatGPT.
"""

import hashlib
import itertools
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import datasets
from datasets.exceptions import DatasetGenerationError
from PIL import Image
from transformers.utils import logging


logger = logging.get_logger(__name__)

KINDS = ("video", "image", "text")
# Names that published tables give their columns, in the order in which they are looked for.
MEDIA_COLUMNS = ("path", "video", "image", "file", "file_name", "video_path", "image_path", "mp4", "jpg", "url", "URL")
TEXT_COLUMNS = ("caption", "name", "text", "txt", "TEXT", "raw_content", "content")
ID_COLUMNS = ("videoid", "id", "key", "__key__")
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}
COMPRESSION_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")
# What Pillow, PyAV and the processors raise of a file that cannot be read; Pillow calls a damaged PNG a `SyntaxError`.
READING_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, av.FFmpegError)


@dataclass
class Item:
    """
    One sample, not read yet.

    Args:
        id (`str`): Its name.
        kind (`str`): `"video"`, `"image"` or `"text"`.
        text (`str`): Caption or text, empty if there is none.
        media (`str` or `bytes`, *optional*): The video or image: a path, or what a file of it holds.
        source (`str`): Where it comes from.
    """

    id: str
    kind: str
    text: str
    media: str | bytes | None
    source: str


@dataclass
class InputSpec:
    """
    A set of samples.

    Args:
        path (`str`): A table (CSV, TSV, JSON lines, Parquet), a text file, a tar of WebDataset, a pattern of such files, or a data
            set of the Hub or in a folder, which is streamed. Tables and texts may be compressed (`.gz`, `.zst`, `.xz`, `.bz2`).
        kind (`str`): `"video"`, `"image"` or `"text"`.
        media_root (`str`, *optional*): Folder that the paths of the media are relative to; by default the table's.
        media_column (`str`, *optional*): Column with the media's paths or URLs; by default the first of `MEDIA_COLUMNS`, or WebVid's
            `page_dir` and `videoid`.
        text_column (`str`, *optional*): Column with the texts; by default the first of `TEXT_COLUMNS`.
        id_column (`str`, *optional*): Column with the names; by default the first of `ID_COLUMNS`, else the row's number.
        column_names (`list[str]`, *optional*): Columns of a CSV or TSV file without a header, such as Conceptual Captions'
            (`["caption", "url"]`).
        split (`str`, defaults to `"train"`): Split of a data set of the Hub.
        config_name (`str`, *optional*): Configuration of a data set of the Hub.

    Raises:
        ValueError: If `kind` is unknown.
    """

    path: str
    kind: str
    media_root: str | None = None
    media_column: str | None = None
    text_column: str | None = None
    id_column: str | None = None
    column_names: list[str] | None = None
    split: str = "train"
    config_name: str | None = None
    files: list[Path] = field(init=False)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` of {self.path!r} must be one of {KINDS}, not {self.kind!r}.")
        path = Path(self.path)
        found = [path] if path.is_file() else Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
        self.files = sorted(file for file in found if file.is_file())


@dataclass
class Unit:
    """
    Samples that are worked on, and written, together. Its name and its samples are the same in every run on the same files.

    Args:
        name (`str`): Its name.
        digest (`str`): Hash of what it is made of: names, texts and places of its samples, and size and time of change of the files
            that they are read from.
        items (`list[Item]`): Its samples.
        errors (`list[tuple[Item, Exception]]`): Samples that are known to be broken, and the rest of a tar that is.
    """

    name: str
    digest: str
    items: list[Item]
    errors: list[tuple[Item, Exception]] = field(default_factory=list)


def read_units(
    spec: InputSpec,
    name: str,
    unit_size: int,
    is_wanted: Callable[[str], bool] = lambda name: True,
    is_done: Callable[[str, str], bool] = lambda name, digest: False,
) -> Iterator[Unit]:
    """
    Cuts a set into units, in an order that never changes.

    Args:
        spec ([`InputSpec`]): The set.
        name (`str`): What the units' names start with.
        unit_size (`int`): Samples of a unit; of WebDataset a tar is a unit.
        is_wanted (`Callable[[str], bool]`): Whether a unit of this name is to be read; the others are passed over.
        is_done (`Callable[[str, str], bool]`): Whether a unit that is wanted, of this name and digest, is to be passed over, too.

    Returns:
        `Iterator[Unit]`: Those that are wanted and not done.

    Raises:
        ValueError: If there is no such file or column, or a table is broken.
    """
    if _is_webdataset(spec):
        for index, file in enumerate(spec.files):
            unit_name = f"{name}-{index:06d}"
            if is_wanted(unit_name):
                # A tar is not read to find out whether it is done.
                digest = _digest([(str(file), _describe_file(file))])
                if not is_done(unit_name, digest):
                    yield Unit(unit_name, digest, *read_webdataset(file, spec))
        return
    table = _open_table(spec)
    columns = _find_columns(spec, table)
    if isinstance(table, datasets.Dataset):
        for index in range(0, len(table), unit_size):
            unit_name = f"{name}-{index // unit_size:06d}"
            if is_wanted(unit_name):
                rows = table.select(range(index, min(index + unit_size, len(table))))
                yield from _make_unit(spec, columns, unit_name, enumerate(rows, start=index), is_done)
        return
    numbered_rows = enumerate(table)
    for index in itertools.count():
        rows = list(itertools.islice(numbered_rows, unit_size))
        if not rows:
            return
        unit_name = f"{name}-{index:06d}"
        if is_wanted(unit_name):
            yield from _make_unit(spec, columns, unit_name, rows, is_done)


def count_samples(spec: InputSpec) -> int | None:
    """Number of samples of a set, or `None` where only reading it all would tell."""
    if _is_webdataset(spec):
        return None
    table = _open_table(spec)
    return len(table) if isinstance(table, datasets.Dataset) else None


def _make_unit(spec, columns, name, rows, is_done) -> Iterator[Unit]:
    items = [_make_item(spec, columns, number, row) for number, row in rows]
    digest = _digest([(item.id, item.text, item.source, _describe_media(item.media)) for item in items])
    if not is_done(name, digest):
        yield Unit(name, digest, items)


def _digest(content: list[tuple]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _describe_media(media: str | bytes | None) -> Any:
    if isinstance(media, bytes):
        return hashlib.sha256(media).hexdigest()
    return _describe_file(media) if isinstance(media, str) and "://" not in media else str(media)


def _describe_file(path: str | Path) -> list[int] | None:
    """Size and time of change: what a file holds is not read only to find out whether it is still the same."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _is_webdataset(spec: InputSpec) -> bool:
    return bool(spec.files) and all(file.suffix == ".tar" for file in spec.files)


def _table_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in COMPRESSION_SUFFIXES else path.suffix


def _open_table(spec: InputSpec) -> datasets.Dataset | datasets.IterableDataset:
    if not spec.files:
        path = Path(spec.path)
        if not path.is_dir() and (path.is_absolute() or "*" in spec.path or _table_suffix(path) in (*READERS, ".tar")):
            raise ValueError(f"There is no file {spec.path!r}.")
        table = datasets.load_dataset(spec.path, spec.config_name, split=spec.split, streaming=True)
    else:
        suffixes = {_table_suffix(file) for file in spec.files}
        if len(suffixes) != 1 or not suffixes <= READERS.keys():
            raise ValueError(
                f"{spec.path!r} must be files of one kind of {sorted([*READERS, '.tar'])}, not {sorted(suffixes)}."
            )
        suffix = suffixes.pop()
        kwargs = {"delimiter": "\t"} if suffix == ".tsv" else {}
        if spec.column_names is not None:
            if READERS[suffix] != "csv":
                raise ValueError(f"`column_names` are for CSV and TSV files, not for {spec.path!r}.")
            kwargs |= {"names": spec.column_names, "header": None}
        try:
            table = datasets.load_dataset(
                READERS[suffix], data_files=[str(file) for file in spec.files], split="train", **kwargs
            )
        except (OSError, ValueError, DatasetGenerationError) as error:
            raise ValueError(f"{spec.path!r} can't be read: {error.__cause__ or error}") from error
    features = table.features or {}
    for column, feature in features.items():
        # Files are opened by the workers, which take the blame for a broken one.
        if isinstance(feature, (datasets.Image, datasets.Video)):
            table = table.cast_column(column, type(feature)(decode=False))
    return table


def _find_columns(spec: InputSpec, table) -> dict[str, str | None]:
    names = list(table.features) if table.features is not None else list(next(iter(table)))
    found = {}
    for role, given, known in (
        ("media", spec.media_column, MEDIA_COLUMNS if spec.kind != "text" else ()),
        ("text", spec.text_column, TEXT_COLUMNS),
        ("id", spec.id_column, ID_COLUMNS),
    ):
        if given is not None and given not in names:
            raise ValueError(f"{spec.path!r} has no column {given!r}, but {names}.")
        found[role] = given if given is not None else next((name for name in known if name in names), None)
    is_webvid = {"page_dir", "videoid"} <= set(names)
    if spec.kind != "text" and found["media"] is None and not is_webvid:
        raise ValueError(
            f"{spec.path!r} has none of the columns {MEDIA_COLUMNS}, but {names}: name it as `media_column`."
        )
    if spec.kind == "text" and found["text"] is None:
        raise ValueError(
            f"{spec.path!r} has none of the columns {TEXT_COLUMNS}, but {names}: name it as `text_column`."
        )
    return found


def _make_item(spec: InputSpec, columns: dict[str, str | None], number: int, row: dict[str, Any]) -> Item:
    text = row[columns["text"]] if columns["text"] is not None else None
    name = row[columns["id"]] if columns["id"] is not None else number
    source, media = f"{spec.path}:{number}", None
    if spec.kind != "text":
        media = row[columns["media"]] if columns["media"] is not None else f"{row['page_dir']}/{row['videoid']}.mp4"
        if isinstance(media, dict):
            media = media["bytes"] if media.get("bytes") is not None else media.get("path")
        if isinstance(media, str) and "://" not in media:
            default_root = spec.files[0].parent if spec.files else spec.path
            root = spec.media_root if spec.media_root is not None else default_root
            media = source = str(Path(root) / media)
    return Item(str(name), spec.kind, str(text) if text is not None else "", media, source)


def read_webdataset(path: Path, spec: InputSpec) -> tuple[list[Item], list[tuple[Item, Exception]]]:
    """
    Reads a tar of WebDataset: files of one name but for the ending are one sample; `.txt` is its text, or `.json` with one of
    `TEXT_COLUMNS`.

    Args:
        path (`Path`): The tar.
        spec ([`InputSpec`]): What it holds.

    Returns:
        `tuple[list[Item], list[tuple[Item, Exception]]]`: Its samples, and those that are broken. Of a tar that ends too early, the
        rest is one of them, under the tar's name.
    """
    samples: dict[str, dict[str, bytes]] = {}
    items, errors = [], []
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    folder, _, file = member.name.rpartition("/")
                    stem, _, suffix = file.partition(".")
                    content = tar.extractfile(member).read()
                    samples.setdefault(f"{folder}/{stem}" if folder else stem, {})[f".{suffix.lower()}"] = content
    except (tarfile.TarError, OSError, EOFError) as error:
        errors.append((Item(path.name, spec.kind, "", None, str(path)), error))
    for key, sample in samples.items():
        try:
            items.append(_make_tar_item(path, key, sample, spec))
        except ValueError as error:
            errors.append((Item(key, spec.kind, "", None, f"{path}:{key}"), error))
    return items, errors


def _make_tar_item(path: Path, key: str, sample: dict[str, bytes], spec: InputSpec) -> Item:
    text = sample[".txt"].decode("utf-8", errors="replace") if ".txt" in sample else ""
    if not text and ".json" in sample:
        content = json.loads(sample[".json"])
        if not isinstance(content, dict):
            raise ValueError(f"its .json holds no mapping, but {type(content).__name__}")
        column = spec.text_column or next((name for name in TEXT_COLUMNS if name in content), None)
        text = content.get(column) or ""
    suffixes = {"video": VIDEO_SUFFIXES, "image": IMAGE_SUFFIXES, "text": ()}[spec.kind]
    media = next((sample[suffix] for suffix in suffixes if suffix in sample), None)
    return Item(key, spec.kind, str(text).strip(), media, f"{path}:{key}")


# Conversations

CONVERSATION_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "messages": [
            {
                "role": datasets.Value("string"),
                "content": [{name: datasets.Value("string") for name in ("type", "text", "path")}],
            }
        ],
        # Of the question before each of the assistant's messages, as in VQA's annotations; empty where no one says.
        "question_types": [datasets.Value("string")],
    }
)


def load_llava_instruct(path: str, media_root: str | None = None, skip_invalid: bool = False) -> datasets.Dataset:
    """
    Loads LLaVA-1.5's 665k conversations as published: a JSON list of `id`, `image` if there is one, and `conversations` of `from`
    (`human` or `gpt`) and `value`, in which `<image>` marks the image's place. A `video`, marked by `<video>`, is read in the same way.
    Without an image or a video its mark is text.

    Args:
        path (`str`): The JSON file.
        media_root (`str`, *optional*): Folder of the images and videos; by default the file's.
        skip_invalid (`bool`, defaults to `False`): Leave out rows of another form, with a warning that says which and why.

    Returns:
        `datasets.Dataset`: With the columns `id`, `messages`, as chat templates take them, and `question_types`, from the
            field of this name that a row may have beside the published ones: one for each answer.

    Raises:
        ValueError: If the file is no JSON list, or a row has another form; it is named by its number.
    """
    root = Path(media_root) if media_root is not None else Path(path).parent

    def convert(row: dict) -> list[dict]:
        media = {kind: str(root / row[kind]) for kind in ("image", "video") if row.get(kind) is not None}
        messages = []
        for turn in row["conversations"]:
            text, content = turn["value"], []
            # Conversations without an image may be about HTML.
            for kind, medium in media.items():
                content += [_block(kind, path=medium)] * text.count(f"<{kind}>")
                text = text.replace(f"<{kind}>", "")
            role = {"human": "user", "gpt": "assistant"}[turn["from"]]
            messages.append({"role": role, "content": [*content, _block("text", text=text.strip())]})
        if not messages:
            raise ValueError("there are no turns")
        placed = {block["type"] for message in messages for block in message["content"]}
        for kind in media:
            if kind not in placed:
                raise ValueError(f"no `<{kind}>` marks the {kind}'s place")
        return messages

    return _load_conversations(path, convert, skip_invalid)


def load_video_chatgpt(path: str, media_root: str | None = None, skip_invalid: bool = False) -> datasets.Dataset:
    """
    Loads Video-ChatGPT's 100k questions and answers as published: a JSON list of `q`, `a` and `video_id`. The video is the
    file of that name in `media_root`, whatever its ending.

    Args:
        path (`str`): The JSON file.
        media_root (`str`, *optional*): Folder of the videos; by default the file's.
        skip_invalid (`bool`, defaults to `False`): Leave out rows of another form, with a warning that says which and why.

    Returns:
        `datasets.Dataset`: With the columns `id`, `messages` and `question_types`, from the field `question_type` that a row may
            have beside the published ones.

    Raises:
        ValueError: If the file is no JSON list, or a row has another form; it is named by its number.
    """
    root = Path(media_root) if media_root is not None else Path(path).parent
    videos = {file.stem: str(file) for file in sorted(root.iterdir()) if file.suffix.lower() in VIDEO_SUFFIXES}

    def convert(row: dict) -> list[dict]:
        for name in ("q", "a", "video_id"):
            if not isinstance(row[name], str):
                raise ValueError(f"`{name}` is no string, but {row[name]!r}")
        # A video that is missing is found out, and named, when it is to be read.
        video = videos.get(row["video_id"], str(root / row["video_id"]))
        return [
            {"role": "user", "content": [_block("video", path=video), _block("text", text=row["q"])]},
            {"role": "assistant", "content": [_block("text", text=row["a"])]},
        ]

    return _load_conversations(path, convert, skip_invalid)


def _load_conversations(path: str, convert: Callable[[dict], list[dict]], skip_invalid: bool) -> datasets.Dataset:
    """Converts the rows of a JSON list. The errors name the row."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path!r} can't be read: {error}") from error
    if not isinstance(content, list):
        raise ValueError(f"{path!r} must hold a JSON list, not {type(content).__name__}.")
    rows = []
    for number, row in enumerate(content):
        try:
            messages = convert(row)
            rows.append({"messages": messages, "question_types": _question_types(row, messages)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"`{error.args[0]}` is missing or unknown" if isinstance(error, KeyError) else str(error)
            message = f"Row {number} of {path!r} is no conversation of this format: {reason}."
            if not skip_invalid:
                raise ValueError(message) from error
            logger.warning(message)
        else:
            rows[-1]["id"] = str(row.get("id", number))
    if not rows:
        raise ValueError(f"{path!r} has no conversations.")
    return datasets.Dataset.from_list(rows, features=CONVERSATION_FEATURES)


def load_messages(path: str, media_root: str | None = None) -> datasets.Dataset:
    """
    Loads conversations that are in the form of chat templates already, from a table with a column `messages` or from the Hub.

    Args:
        path (`str`): A JSON or Parquet file, or a data set of the Hub.
        media_root (`str`, *optional*): Folder that the paths of the media are relative to.

    Returns:
        `datasets.Dataset`: With the columns `id`, `messages` and `question_types`, which is empty where a row says nothing of them.

    Raises:
        ValueError: If there is no column `messages`, or a row has images or videos beside its messages, but none in them.
    """
    reader = READERS.get(Path(path).suffix)
    table = (
        datasets.load_dataset(reader, data_files=path, split="train")
        if reader
        else datasets.load_dataset(path, split="train")
    )
    if "messages" not in table.column_names:
        raise ValueError(f"{path!r} has no column `messages`, but {table.column_names}.")

    def convert(row: dict, number: int) -> dict:
        messages = []
        for message in row["messages"]:
            content = message["content"]
            blocks = [_block("text", text=content)] if isinstance(content, str) else content
            blocks = [_block(block["type"], block.get("text"), block.get("path")) for block in blocks]
            for block in blocks:
                if block["path"] is not None and media_root is not None:
                    block["path"] = str(Path(media_root) / block["path"])
            messages.append({"role": message["role"], "content": blocks})
        # Their marks in the messages would be taken for text.
        beside = [name for name in ("image", "images", "video", "videos") if row.get(name)]
        if beside and all(block["path"] is None for message in messages for block in message["content"]):
            raise ValueError(
                f"Row {number} of {path!r} has {beside} beside its messages: blocks need a `path` to them."
            )
        return {
            "id": str(row.get("id", number)),
            "messages": messages,
            "question_types": _question_types(row, messages),
        }

    rows = [convert(row, number) for number, row in enumerate(table)]
    return datasets.Dataset.from_list(rows, features=CONVERSATION_FEATURES)


def _question_types(row: dict, messages: list[dict]) -> list[str]:
    """The `question_types` of a row, or its `question_type`, as VQA's annotations have it, where there is one answer."""
    number = sum(message["role"] == "assistant" for message in messages)
    types = row.get("question_types")
    if types is None:
        return [row["question_type"]] if number == 1 and isinstance(row.get("question_type"), str) else []
    if not isinstance(types, list) or len(types) != number or not all(isinstance(name, str) for name in types):
        raise ValueError(f"`question_types` must be {number} strings, one for each answer, not {types!r}")
    return types


def _block(kind: str, text: str | None = None, path: str | None = None) -> dict[str, str | None]:
    """A part of a message. All have the same fields, so that a table can hold them."""
    return {"type": kind, "text": text, "path": path}
