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
Turns videos, images and texts into shards of token ids, for pre-training.

    accelerate launch examples/tokenize_dataset.py --model_name_or_path outputs/base --output_dir outputs/tokens \\
        --inputs '[{"kind": "video", "path": "metadata.csv", "media_root": "videos"}]' --dry_run 20
    accelerate launch examples/tokenize_dataset.py --model_name_or_path outputs/base --output_dir outputs/tokens \\
        --inputs '[{"kind": "video", "path": "webvid.csv"}, {"kind": "image", "path": "laion-*.tar"}, {"kind": "text", "path": "c4.jsonl"}]'

Any number of processes and machines can work on it, be killed and started again, also in another number: the set is cut into units,
each becomes one shard, and a shard that is there is done, as long as its samples stay what they were. Those whose samples have changed
are made anew. What cannot be read is noted, with the reason, in `errors/`.
"""

import io
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from accelerate import PartialState
from huggingface_hub import snapshot_download
from PIL import Image
from tqdm.auto import tqdm
from training.arguments import parse_arguments
from training.model_identity import digest_files
from training.sources import InputSpec, Item, Unit, count_samples, read_units
from training.token_shards import read_metadata, write_shard
from transformers import AutoModel, AutoProcessor
from transformers.image_utils import load_image
from transformers.utils import logging

from transformers_videolavit.motion_vectors import codec_versions


logger = logging.get_logger(__name__)


@dataclass
class TokenizationArguments:
    model_name_or_path: str = field(metadata={"help": "Folder or repository of a model with the tokenizers."})
    output_dir: str = field(metadata={"help": "Where to write the shards."})
    inputs: list[dict] | str | None = field(
        default=None,
        metadata={"help": "Sets of samples, as JSON or in the YAML file; their keys are the arguments of InputSpec."},
    )
    unit_size: int = field(default=1000, metadata={"help": "Samples of a shard; of WebDataset a tar is one."})
    batch_size: int = field(default=32, metadata={"help": "Clips that the accelerator tokenizes at once."})
    num_workers: int = field(default=2, metadata={"help": "Processes that decode and extract; 0: this one."})
    prefetch: int = field(default=4, metadata={"help": "Samples that each worker may be ahead by."})
    clip_sampling: str = field(default="all", metadata={"help": "`alternate`, `shots` or `all`."})
    max_clips: int = field(default=8, metadata={"help": "Most clips of a video."})
    keyframe_format: str = field(default="png", metadata={"help": "How keyframes are kept: `png`, `jpeg` or `none`."})
    dtype: str = field(default="float32", metadata={"help": "Precision of the tokenizers."})
    device: str | None = field(default=None, metadata={"help": "By default the process's accelerator."})
    dry_run: int = field(default=0, metadata={"help": "Only tokenize so many samples and estimate the whole."})

    def __post_init__(self):
        if isinstance(self.inputs, str):
            self.inputs = json.loads(self.inputs)
        if not self.inputs:
            raise ValueError("`inputs` names no set to tokenize.")
        if self.keyframe_format not in ("png", "jpeg", "none"):
            raise ValueError(f"`keyframe_format` must be png, jpeg or none, not {self.keyframe_format!r}.")


ARGUMENTS = (TokenizationArguments,)


@dataclass
class Prepared:
    """What a worker makes of a sample: arrays of (clips, 3, height, width) and (clips, 2, frames, rows, columns)."""

    pixel_values: np.ndarray
    motion_vectors: np.ndarray | None
    keyframes: list[bytes]
    start_times: list[float]


class Preparation:
    """Decodes samples and extracts their motion; the part of the work that needs no accelerator."""

    def __init__(self, args: TokenizationArguments):
        self.processor = AutoProcessor.from_pretrained(args.model_name_or_path)
        self.args = args

    def __call__(self, item: Item) -> Prepared:
        if item.media is None:
            raise ValueError("there is no media")
        if item.kind == "image":
            image = load_image(io.BytesIO(item.media) if isinstance(item.media, bytes) else item.media)
            pixel_values = self.processor.image_processor(image, return_tensors="np")["pixel_values"]
            return Prepared(pixel_values, None, self._encode(pixel_values), [])
        video = self.processor.video_processor(
            io.BytesIO(item.media) if isinstance(item.media, bytes) else item.media,
            clip_sampling=self.args.clip_sampling,
            max_clips=self.args.max_clips,
            return_metadata=True,
            return_tensors="np",
        )
        (metadata,) = video["video_metadata"]
        start_times = [start / metadata.codec["fps"] for start in metadata.clip_starts]
        pixel_values = video["pixel_values_videos"]
        return Prepared(pixel_values, video["motion_vectors"], self._encode(pixel_values), start_times)

    def _encode(self, pixel_values: np.ndarray) -> list[bytes]:
        if self.args.keyframe_format == "none":
            return []
        # The normalisation undone: a keyframe is kept to the bit.
        processor = self.processor.image_processor
        mean, std = (np.array(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
        images = np.rint((pixel_values * std + mean) * 255).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        encoded = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format=self.args.keyframe_format, quality=95)
            encoded.append(buffer.getvalue())
        return encoded


def _start_worker(args: TokenizationArguments) -> None:
    global _preparation
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _preparation = Preparation(args)


def _end_with_parent() -> None:
    # A program that is killed cannot end its workers.
    parent_process().join()
    os._exit(1)


def _prepare(item: Item) -> Prepared:
    return _preparation(item)


class Workers:
    """
    Prepares samples in other processes, in their order, never more than some of them ahead of the accelerator.

    A process that dies, as a codec can have it, takes its pool along: the samples under way are then prepared one by one, each in a
    pool of its own, to find out which of them it was.

    Args:
        args ([`TokenizationArguments`]): The program's arguments.
    """

    def __init__(self, args: TokenizationArguments):
        self.args = args
        self.local = Preparation(args) if args.num_workers == 0 else None
        self.pool: ProcessPoolExecutor | None = None

    def __call__(self, items: Iterable[Item]) -> Iterator[tuple[Item, Prepared | Exception]]:
        items = iter(items)
        pending: list[tuple[Item, Future]] = []
        exhausted = False
        while pending or not exhausted:
            while not exhausted and len(pending) < max(1, self.args.num_workers * self.args.prefetch):
                item = next(items, None)
                exhausted = item is None
                if not exhausted:
                    pending.append((item, self._submit(item)))
            if pending:
                item, future = pending.pop(0)
                try:
                    yield item, future.result()
                except BrokenProcessPool:
                    suspects = [item, *(suspect for suspect, _ in pending)]
                    pending = []
                    yield from self._prepare_alone(suspects)
                except Exception as error:
                    yield item, error

    def _submit(self, item: Item) -> Future:
        if self.local is None:
            try:
                return self._get_pool().submit(_prepare, item)
            except BrokenProcessPool:
                # It broke since the last result: this sample is not to blame.
                self.close()
                return self._get_pool().submit(_prepare, item)
        future = Future()
        try:
            future.set_result(self.local(item))
        except Exception as error:
            future.set_exception(error)
        return future

    def _get_pool(self, num_workers: int | None = None) -> ProcessPoolExecutor:
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                num_workers or self.args.num_workers,
                mp_context=get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.args,),
            )
        return self.pool

    def _prepare_alone(self, items: list[Item]) -> Iterator[tuple[Item, Prepared | Exception]]:
        self.close()
        for item in items:
            try:
                yield item, self._get_pool(num_workers=1).submit(_prepare, item).result()
            except BrokenProcessPool:
                self.close()
                yield item, RuntimeError("the process that read it died")
            except Exception as error:
                yield item, error
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.pool = None


class Tokenizer:
    """
    The two tokenizers on their device.

    Args:
        args ([`TokenizationArguments`]): The program's arguments.
        device (`torch.device`): Where they run.
    """

    def __init__(self, args: TokenizationArguments, device: torch.device):
        model = AutoModel.from_pretrained(args.model_name_or_path, dtype=args.dtype)
        # The language model is not needed.
        self.keyframe_tokenizer = model.keyframe_tokenizer.to(device).eval()
        self.motion_tokenizer = model.motion_tokenizer.to(device).eval()
        self.batch_size = args.batch_size
        self.device = device

    @torch.no_grad()
    def __call__(self, batch: list[tuple[Item, Prepared]]) -> Iterator[dict]:
        """Rows of samples, in their order."""
        visual_codes = self._encode(self.keyframe_tokenizer, [prepared.pixel_values for _, prepared in batch])
        motion = [prepared.motion_vectors for _, prepared in batch if prepared.motion_vectors is not None]
        motion_codes = self._encode(self.motion_tokenizer, motion)
        for item, prepared in batch:
            visual = [next(visual_codes) for _ in prepared.pixel_values]
            clips = prepared.motion_vectors if prepared.motion_vectors is not None else ()
            yield make_row(item, visual, [next(motion_codes) for _ in clips], prepared.keyframes, prepared.start_times)

    def _encode(self, tokenizer: torch.nn.Module, clips: list[np.ndarray]) -> Iterator[list[int]]:
        # A long video alone may have more clips than are wanted at once.
        for chunk in torch.from_numpy(np.concatenate(clips)).split(self.batch_size) if clips else ():
            yield from (codes.tolist() for codes in tokenizer.encode(chunk.to(self.device)))


def make_row(
    item: Item, visual_codes: list, motion_codes: list, keyframes: list[bytes], start_times: list[float]
) -> dict:
    """A row of a shard."""
    return {
        "id": item.id,
        "kind": item.kind,
        "text": item.text,
        "visual_codes": visual_codes,
        "motion_codes": motion_codes,
        "keyframes": keyframes,
        "start_times": start_times,
        "source": item.source,
        "num_tokens": sum(len(codes) + 2 for codes in (*visual_codes, *motion_codes)),
    }


def tokenize(
    items: Iterable[Item], workers: Workers, tokenizer: Tokenizer, batch_size: int, progress: tqdm
) -> tuple[list[dict], list[dict]]:
    """
    Tokenizes samples.

    Returns:
        `tuple[list[dict], list[dict]]`: Rows, in the order of the samples, and errors, with the sample and the reason.
    """
    rows, errors, batch, num_clips, media = [], [], [], 0, []
    for item in items:
        if item.kind != "text":
            media.append(item)
        elif item.text.strip():
            rows.append(make_row(item, [], [], [], []))
        else:
            errors.append(make_error(item, ValueError("the text is empty")))
    progress.update(len(rows) + len(errors))
    for item, prepared in workers(media):
        progress.update()
        if isinstance(prepared, Exception):
            errors.append(make_error(item, prepared))
            continue
        batch.append((item, prepared))
        num_clips += len(prepared.pixel_values)
        if num_clips >= batch_size:
            rows.extend(tokenizer(batch))
            batch, num_clips = [], 0
    if batch:
        rows.extend(tokenizer(batch))
    return rows, errors


def make_error(item: Item, error: Exception) -> dict:
    """A row of the error table."""
    return {
        "id": item.id,
        "kind": item.kind,
        "source": item.source,
        "error": type(error).__name__,
        "reason": str(error),
    }


def describe_tokenization(args: TokenizationArguments) -> dict:
    """What the tokens depend on beside the samples. Shards of different ones do not mix."""
    folder = Path(args.model_name_or_path)
    if not folder.is_dir():
        folder = Path(snapshot_download(args.model_name_or_path, allow_patterns=["*.json", "*.safetensors"]))
    processor = AutoProcessor.from_pretrained(args.model_name_or_path)
    return {
        "transformers_videolavit": version("transformers-videolavit"),
        "model": args.model_name_or_path,
        "model_sha256": digest_files(sorted(folder.glob("*.safetensors"))),
        "dtype": args.dtype,
        "patch_selection": "argmax",
        "codec": codec_versions(),
        "video_processor": json.loads(processor.video_processor.to_json_string()),
        "clip_sampling": args.clip_sampling,
        "max_clips": args.max_clips,
        "keyframe_format": args.keyframe_format,
        "unit_size": args.unit_size,
        "inputs": args.inputs,
    }


def check_tokenization(path: Path, tokenization: dict) -> None:
    """
    Compares with the run that began the folder, or notes what this one depends on.

    Raises:
        ValueError: If something differs.
    """
    if path.is_file():
        found = json.loads(path.read_text())
        different = sorted(
            key for key in found.keys() | tokenization.keys() if found.get(key) != tokenization.get(key)
        )
        if different:
            raise ValueError(
                f"{path.parent} was begun with other tokens: {', '.join(different)} differ (see {path.name}). Choose another "
                "`output_dir`."
            )
    else:
        temporary = path.with_suffix(".incomplete")
        temporary.write_text(json.dumps(tokenization, indent=2) + "\n")
        temporary.replace(path)


def write_unit(folder: Path, unit: Unit, rows: list[dict], errors: list[dict], tokenization: dict) -> None:
    """Writes the errors of a unit, and then its shard, which marks it as done. Those of another content are replaced."""
    path = folder / "errors" / f"{unit.name}.jsonl"
    path.unlink(missing_ok=True)
    if errors:
        temporary = path.with_suffix(".incomplete")
        temporary.write_text("".join(json.dumps(error) + "\n" for error in errors))
        temporary.replace(path)
    metadata = {"tokenization": tokenization, "digest": unit.digest, "counts": count(rows, errors)}
    write_shard(folder / f"{unit.name}.parquet", rows, metadata)


def remove_others(folder: Path, names: set[str]) -> None:
    """Removes the shards and errors of units that there no longer are, as of sets that have become shorter."""
    for shard in sorted(folder.glob("input-*.parquet")):
        if shard.stem not in names:
            logger.warning(f"{shard} is removed: the sets no longer have so many samples.")
            (folder / "errors" / f"{shard.stem}.jsonl").unlink(missing_ok=True)
            shard.unlink()


def count(rows: list[dict], errors: list[dict]) -> dict[str, float]:
    """What became of the samples of a unit."""
    num_clips = sum(len(row["motion_codes"]) for row in rows)
    return {
        "samples": len(rows),
        "errors": len(errors),
        "videos": sum(row["kind"] == "video" for row in rows),
        "images": sum(row["kind"] == "image" for row in rows),
        "texts": sum(row["kind"] == "text" for row in rows),
        "clips": num_clips,
        "video_tokens": sum(row["num_tokens"] for row in rows if row["kind"] == "video"),
        "tokens": sum(row["num_tokens"] for row in rows),
    }


def summarize(counts: list[dict], clip_seconds: float) -> dict[str, float]:
    """Sums, with the tokens that a second of video takes."""
    total = {name: sum(entry[name] for entry in counts) for name in counts[0]} if counts else {}
    if total.get("clips"):
        total["tokens_per_second_of_video"] = total["video_tokens"] / (total["clips"] * clip_seconds)
    return total


def dry_run(args, specs: list[InputSpec], workers: Workers, tokenizer: Tokenizer, clip_seconds: float) -> dict:
    """Tokenizes some samples, and estimates the whole from them."""
    per_input = math.ceil(args.dry_run / len(specs))
    items = []
    for index, spec in enumerate(specs):
        unit = next(read_units(spec, f"input-{index}", per_input), None)
        items += unit.items[:per_input] if unit is not None else []
    start = time.monotonic()
    with tqdm(total=len(items), desc="Trying", unit="samples") as progress:
        rows, errors = tokenize(items, workers, tokenizer, args.batch_size, progress)
    seconds = time.monotonic() - start
    result = summarize([count(rows, errors)], clip_seconds) | {"samples_per_second": len(items) / seconds}
    sizes = [count_samples(spec) for spec in specs]
    if None not in sizes and items:
        stored = sum(len(keyframe) for row in rows for keyframe in row["keyframes"]) + 4 * result["tokens"]
        scale = sum(sizes) / len(items)
        result["estimate"] = {
            "samples": sum(sizes),
            "tokens": round(result["tokens"] * scale),
            "gigabytes": round(stored * scale / 1e9, 3),
            "hours_of_one_process": round(seconds * scale / 3600, 3),
        }
    return result


def main(args: list[str] | None = None) -> None:
    (args,) = parse_arguments(ARGUMENTS, args, description=__doc__)
    state = PartialState(cpu=args.device == "cpu")
    device = torch.device(args.device) if args.device is not None else state.device
    specs = [InputSpec(**entry) for entry in args.inputs]
    workers = Workers(args)
    tokenizer = Tokenizer(args, device)
    fps = AutoProcessor.from_pretrained(args.model_name_or_path).video_processor.fps
    clip_seconds = tokenizer.motion_tokenizer.config.num_frames / fps
    if args.dry_run:
        if state.is_main_process:
            print(json.dumps(dry_run(args, specs, workers, tokenizer, clip_seconds), indent=2))
        workers.close()
        return

    folder = Path(args.output_dir)
    tokenization = describe_tokenization(args)
    with state.main_process_first():
        (folder / "errors").mkdir(parents=True, exist_ok=True)
        check_tokenization(folder / "tokenization.json", tokenization)
    names = set()

    def is_wanted(name: str) -> bool:
        names.add(name)
        return (len(names) - 1) % state.num_processes == state.process_index

    def is_done(name: str, digest: str) -> bool:
        shard = folder / f"{name}.parquet"
        if not shard.exists():
            return False
        is_same = read_metadata(shard).get("digest") == digest
        if not is_same:
            logger.warning(f"{shard} is made anew: its samples have changed.")
        return is_same

    with tqdm(desc="Tokenizing", unit="samples", disable=not state.is_local_main_process) as progress:
        for index, spec in enumerate(specs):
            for unit in read_units(spec, f"input-{index}", args.unit_size, is_wanted, is_done):
                start = time.monotonic()
                rows, errors = tokenize(unit.items, workers, tokenizer, args.batch_size, progress)
                errors += [make_error(item, error) for item, error in unit.errors]
                write_unit(folder, unit, rows, errors, tokenization)
                seconds = time.monotonic() - start
                counts = count(rows, errors)
                progress.set_postfix(
                    {"clips/s": f"{counts['clips'] / seconds:.1f}", "tokens/s": f"{counts['tokens'] / seconds:.0f}"}
                )
    workers.close()
    state.wait_for_everyone()
    if state.is_main_process:
        remove_others(folder, names)
        shards = sorted(folder.glob("input-*.parquet"))
        counts = [read_metadata(path)["counts"] for path in shards]
        summary = {"shards": len(shards), **summarize(counts, clip_seconds)}
        temporary = folder / "summary.incomplete"
        temporary.write_text(json.dumps(summary, indent=2) + "\n")
        temporary.replace(folder / "summary.json")
        print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
