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
"""Reads the tensors of checkpoint files one at a time: pickles, which are memory-mapped, and safetensors, whole or in shards."""

import gc
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open


# In the order of preference.
SINGLE_FILE_NAMES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
# A mapped file is closed and opened again after so many bytes: the pages that were read count as memory until then.
WINDOW_SIZE = 2**28


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor is, and what it is."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


def find_files(path: Path) -> list[Path]:
    """
    The weight files of a component.

    Args:
        path (`Path`): A file, or a folder with one file of weights or an index of shards.

    Raises:
        FileNotFoundError: If there are none, or a shard that the index names is missing.
    """
    if path.is_file():
        return [path]
    for index in sorted(path.glob("*.index.json")):
        files = [path / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"{index} names shards that are missing: {missing}.")
        return files
    for name in SINGLE_FILE_NAMES:
        if (path / name).is_file():
            return [path / name]
    raise FileNotFoundError(f"{path} has no weights: neither an index of shards nor one of {SINGLE_FILE_NAMES}.")


def describe_tensors(path: Path) -> dict[str, TensorInfo]:
    """
    Names, shapes and types of a component's tensors, without reading them.

    Args:
        path (`Path`): A file or a folder, as for [`find_files`].

    Raises:
        ValueError: If a file is no checkpoint of tensors, or two shards hold the same name.
    """
    tensors = {}
    for file in find_files(path):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                slices = {name: opened.get_slice(name) for name in list(opened.keys())}
                shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
                # A scalar cannot be sliced.
                found = {name: part[:0] if shapes[name] else opened.get_tensor(name) for name, part in slices.items()}
        else:
            found = _load_pickle(file)
            shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        twice = sorted(found.keys() & tensors.keys())
        if twice:
            raise ValueError(f"{file} holds tensors that another shard holds, too: {twice[:5]}.")
        tensors |= {name: TensorInfo(file, shapes[name], tensor.dtype) for name, tensor in found.items()}
    return tensors


def read_tensors(path: Path, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """
    Reads tensors of one file, one at a time, so that little more than one of them is in memory.

    Args:
        path (`Path`): The file.
        names (`Iterable[str]`): Which tensors.

    Returns:
        `Iterator[tuple[str, torch.Tensor]]`: Names and tensors. A tensor is to be done with before the next is asked for.
    """
    names = list(names)
    if path.suffix == ".safetensors":
        for name in names:
            with safe_open(path, framework="pt") as opened:
                yield name, opened.get_tensor(name)
        return
    tensors, read = None, 0
    for name in names:
        if tensors is None or read > WINDOW_SIZE:
            tensors, read = None, 0
            # Loading leaves reference cycles, which would keep the last mapping.
            gc.collect()
            tensors = _load_pickle(path)
        read += tensors[name].nbytes
        yield name, tensors[name]


def _load_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise ValueError(f"{path} is no PyTorch checkpoint: {error}") from error
        # Files of PyTorch before 1.6 cannot be mapped.
        tensors = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of tensors alone: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path} is no mapping of names to tensors.")
    return tensors
