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
"""Runs benchmarks: shares the work among processes, keeps what is done, and puts it together in the order of the items."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin
from transformers.image_utils import load_image

from diffusers_videolavit import VideoLaVITDetokenizerPipeline

from .questions import GenerationItem, Item


class Predictions:
    """
    Answers by the names of their questions, one line of JSON each, in a file of each process.

    Args:
        folder (`Path`): Where the files are. Those of an earlier run, with any number of processes, count.
        state (`PartialState`): The processes.
        items (`list[Item]`): The questions.
    """

    def __init__(self, folder: Path, state: PartialState, items: list[Item]):
        self.folder = folder
        self.state = state
        self.items = items
        folder.mkdir(parents=True, exist_ok=True)
        done = self.read()
        state.wait_for_everyone()
        missing = [item for item in items if item.id not in done]
        self.todo = missing[state.process_index :: state.num_processes]

    def read(self) -> dict[str, str]:
        """What there is. A line that a killed run left unfinished is none."""
        predictions = {}
        for path in sorted(self.folder.glob("answers-*.jsonl")):
            # `splitlines` would also split at line separators of Unicode within an answer.
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                predictions[entry["id"]] = entry["answer"]
        return predictions

    def add(self, items: Iterable[Item], answers: Iterable[str]) -> None:
        """Writes answers, so that they outlast the process."""
        path = self.folder / f"answers-{self.state.process_index:05d}.jsonl"
        lines = [
            json.dumps({"id": item.id, "answer": answer}, ensure_ascii=False) for item, answer in zip(items, answers)
        ]
        # What a killed run left unfinished must not swallow the next line.
        is_unfinished = path.exists() and not path.read_bytes().endswith(b"\n")
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n" * is_unfinished + "\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def collect(self) -> list[str]:
        """
        All answers, in the order of the questions.

        Raises:
            RuntimeError: If some are missing.
        """
        predictions = self.read()
        missing = [item.id for item in self.items if item.id not in predictions]
        if missing:
            raise RuntimeError(f"{len(missing)} questions have no answer: {missing[:5]}.")
        return [predictions[item.id] for item in self.items]


@torch.no_grad()
def answer_conversations(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    conversations: list[list[dict]],
    max_new_tokens: int,
    **processor_kwargs,
) -> list[str]:
    """
    A model's greedy answers to a batch of conversations.

    Args:
        model ([`VideoLaVITForCausalLM`]): The model.
        processor ([`VideoLaVITProcessor`]): Its processor.
        conversations (`list[list[dict]]`): Messages, as chat templates take them.
        max_new_tokens (`int`): Longest answer.
        processor_kwargs: Passed to the processor.
    """
    inputs = processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, **processor_kwargs},
    ).to(model.device, model.dtype)
    ids = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return processor.post_process_image_text_to_text(ids[:, inputs["input_ids"].shape[1] :])


def answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    predictions: Predictions,
    media: str,
    batch_size: int,
    max_new_tokens: int,
    max_clips: int,
) -> None:
    """
    Answers the questions that this process has to answer.

    Args:
        model ([`VideoLaVITForCausalLM`]): The model.
        processor ([`VideoLaVITProcessor`]): Its processor.
        predictions ([`Predictions`]): What is to be done, and where answers go.
        media (`str`): `"image"` or `"video"`.
        batch_size (`int`): Questions at a time.
        max_new_tokens (`int`): Longest answer.
        max_clips (`int`): Most clips of a video.
    """
    todo = predictions.todo
    progress = tqdm(total=len(todo), desc="Answering", disable=not predictions.state.is_main_process)
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        conversations = [
            [{"role": "user", "content": [_block(item, media), {"type": "text", "text": item.question}]}]
            for item in batch
        ]
        videos_kwargs = {"videos_kwargs": {"max_clips": max_clips}} if media == "video" else {}
        predictions.add(batch, answer_conversations(model, processor, conversations, max_new_tokens, **videos_kwargs))
        progress.update(len(batch))


def _block(item: Item, media: str) -> dict:
    if media == "video":
        return {"type": "video", "path": str(item.media)}
    image = item.media if isinstance(item.media, Image.Image) else load_image(str(item.media))
    return {"type": "image", "image": image.convert("RGB")}


@torch.no_grad()
def generate(
    pipe: VideoLaVITDetokenizerPipeline,
    state: PartialState,
    items: list[GenerationItem],
    folder: Path,
    media: str,
    batch_size: int,
    seed: int,
    **pipe_kwargs,
) -> None:
    """
    Generates what this process has to of one image or video for each prompt. Item `i` has the seed `seed + i`, whoever makes it.

    Args:
        pipe ([`VideoLaVITDetokenizerPipeline`]): The pipeline with a language model.
        state (`PartialState`): The processes.
        items (`list[GenerationItem]`): All prompts.
        folder (`Path`): Where the pixels go, without loss: `<id>.npz` with `frames` of shape (frames, height, width, 3).
        media (`str`): `"image"` or `"video"`.
        batch_size (`int`): Prompts at a time.
        seed (`int`): Seed of the first prompt.
        pipe_kwargs: Other arguments of the pipeline.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [(index, item) for index, item in enumerate(items) if not generated_path(folder, item).exists()]
    state.wait_for_everyone()
    todo = missing[state.process_index :: state.num_processes]
    progress = tqdm(total=len(todo), desc="Generating", disable=not state.is_main_process)
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        inputs = {
            "prompt": [item.prompt for _, item in batch],
            "generator": [torch.Generator().manual_seed(seed + index) for index, _ in batch],
            "output_type": "np",
            **pipe_kwargs,
        }
        if media == "image":
            results = [image[None] for image in pipe.keyframe(**inputs).images]
        else:
            results = pipe(**inputs).frames
        for (_, item), frames in zip(batch, results):
            path = generated_path(folder, item)
            temporary = path.with_name(f"{path.name}.incomplete")
            with open(temporary, "wb") as file:
                np.savez_compressed(file, frames=np.round(255 * np.asarray(frames)).astype(np.uint8))
            os.replace(temporary, path)
        progress.update(len(batch))


def generated_path(folder: Path, item: GenerationItem) -> Path:
    """Where the pixels of a prompt are."""
    return folder / f"{item.id}.npz"


def digest(values: Iterable) -> str:
    """Hash of what a result depends on: questions, prompts, answers."""
    sha256 = hashlib.sha256()
    for value in values:
        sha256.update(json.dumps(value, default=str, ensure_ascii=False).encode() + b"\n")
    return sha256.hexdigest()
