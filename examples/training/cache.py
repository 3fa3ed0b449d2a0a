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
"""Samples that are made once and kept on disk or in memory, for training that would otherwise wait for its data."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm
from transformers import TrainingArguments


class CachedSamples(torch.utils.data.Dataset):
    """
    Samples that are made before training and kept in a folder.

    What a data set draws anew in each epoch, such as the place of a clip in its video, stays as it is first drawn. Each file is
    there whole or not at all; those that are there are not made again, and of several runs that want the same, one makes them.

    Args:
        dataset (`torch.utils.data.Dataset`): Its items are dictionaries of tensors; `files` name what they are made of.
        folder (`str` or `os.PathLike`): Where to keep them.
        transform (`Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]`): What to keep of some items, stacked to one batch.
        settings (`dict`): What else the samples depend on, as JSON can hold it.
        args (`TrainingArguments`): The run's: all its processes share the work, each with its data loader's workers, and make as
            many samples at a time as they train on.

    Raises:
        ValueError: If the folder has samples of other files or settings.
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset,
        folder: str | os.PathLike,
        transform: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
        settings: dict,
        args: TrainingArguments,
    ):
        self.folder = Path(folder)
        self.length = len(dataset)
        self.folder.mkdir(parents=True, exist_ok=True)
        files = hashlib.sha256("\n".join(dataset.files).encode()).hexdigest()
        with args.main_process_first(local=False, desc="describing the cache"), FileLock(self.folder / ".lock"):
            _describe(self.folder / "cache.json", {"files": files, **settings})
        # Also the temporary names: runs with other numbers of processes may be at it.
        self.part = f"{args.process_index}-of-{args.world_size}"
        with FileLock(self.folder / f".{self.part}.lock"):
            self._make_missing(range(args.process_index, self.length, args.world_size), dataset, transform, args)
        # The others go on once all samples are there.
        with args.main_process_first(local=False, desc="caching samples"):
            pass

    def _make_missing(
        self, indices: range, dataset: torch.utils.data.Dataset, transform: Callable, args: TrainingArguments
    ) -> None:
        missing = [index for index in indices if not self._path(index).exists()]
        batch_size = args.per_device_train_batch_size
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(dataset, missing), batch_size, num_workers=args.dataloader_num_workers
        )
        progress = tqdm(loader, desc="Caching samples", disable=args.disable_tqdm or not missing)
        for start, batch in zip(range(0, len(missing), batch_size), progress):
            columns = {name: tensor.cpu() for name, tensor in transform(batch).items()}
            for index, *values in zip(missing[start : start + batch_size], *columns.values()):
                temporary = self._path(index).with_suffix(f".{self.part}.incomplete")
                copies = [tensor.clone(memory_format=torch.contiguous_format) for tensor in values]
                save_file(dict(zip(columns, copies)), temporary)
                os.replace(temporary, self._path(index))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return load_file(self._path(index))

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:08d}.safetensors"


class InMemorySamples(torch.utils.data.Dataset):
    """
    Samples that are read once and then kept in the memory of the device that trains.

    What a data set draws anew in each epoch stays as it is first drawn.

    Args:
        dataset (`torch.utils.data.Dataset`): Its items are tensors, or dictionaries of tensors, of the same shapes.
        args (`TrainingArguments`): The run's: each process reads all samples, with its data loader's workers.

    Raises:
        ValueError: If items are of different shapes, or no tensors.
    """

    chunk_size = 64

    def __init__(self, dataset: torch.utils.data.Dataset, args: TrainingArguments):
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=self.chunk_size, num_workers=args.dataloader_num_workers, collate_fn=_stack_items
        )
        chunks = [
            {name: tensor.to(args.device) for name, tensor in chunk.items()}
            for chunk in tqdm(loader, desc="Reading samples", disable=args.disable_tqdm)
        ]
        self.tensors = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
        self.length = len(dataset)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor | dict[str, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor | dict[str, torch.Tensor]]:
        columns = {}
        for name, tensor in self.tensors.items():
            columns[name] = tensor[torch.tensor(indices, device=tensor.device)].unbind()
        if _WHOLE_ITEM in columns:
            return list(columns[_WHOLE_ITEM])
        return [dict(zip(columns, values)) for values in zip(*columns.values())]


# The name of what is no dictionary.
_WHOLE_ITEM = ""


def _stack_items(items: list) -> dict[str, torch.Tensor]:
    items = [{_WHOLE_ITEM: item} if isinstance(item, torch.Tensor) else item for item in items]
    try:
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"Only tensors of the same shapes can be kept in memory (`in_memory`): {error}") from error


def fingerprint(model: torch.nn.Module) -> str:
    """Digest of a model's weights, for the settings of a cache."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _describe(path: Path, description: dict) -> None:
    text = json.dumps(description, indent=2, sort_keys=True)
    if not path.exists():
        temporary = path.with_name(f"{path.name}.incomplete")
        temporary.write_text(text)
        os.replace(temporary, path)
    elif path.read_text() != text:
        raise ValueError(
            f"{str(path.parent)!r} is a cache of other files or settings: delete it or choose another folder."
        )
