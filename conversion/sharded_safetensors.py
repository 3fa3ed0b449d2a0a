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
Writes a model's weights as sharded safetensors, byte for byte as `save_pretrained` does, with one tensor in memory at a time.

`safetensors.torch.save_file` takes all tensors of a file at once. Here a file gets its header first, from shapes and types,
and then each tensor at its place, in the order in which the sources give them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from original_checkpoint import read_tensors
from safetensors import safe_open
from safetensors.torch import save
from tqdm.auto import tqdm


@dataclass(frozen=True)
class Source:
    """
    Where a parameter comes from: a tensor of a file, or a constant.

    Args:
        path (`Path`, *optional*): The file.
        name (`str`, *optional*): The tensor in it.
        constant (`float`, *optional*): In place of a file, the value of every element.
    """

    path: Path | None = None
    name: str | None = None
    constant: float | None = None


def write_weights(
    folder: Path,
    parameters: Mapping[str, torch.Tensor],
    sources: Mapping[str, Source],
    file_name: str,
    max_shard_size: str,
    progress: tqdm,
    num_parameters: int | None = None,
) -> None:
    """
    Writes the weight files of a model and their index. Files that are there are left as they are.

    Args:
        folder (`Path`): Where to.
        parameters (`Mapping[str, torch.Tensor]`): The model's parameters, on `meta`, in the types to write them in.
        sources (`Mapping[str, Source]`): Where each of them comes from.
        file_name (`str`): Name of the file if there is one only: `model.safetensors` or `diffusion_pytorch_model.safetensors`.
        max_shard_size (`str`): Largest size of a file.
        progress (`tqdm`): Counts bytes.
        num_parameters (`int`, *optional*): For the index of a transformers model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pattern = file_name.replace(".safetensors", "{suffix}.safetensors")
    split = split_torch_state_dict_into_shards(
        dict(parameters), filename_pattern=pattern, max_shard_size=max_shard_size
    )
    for name, tensor_names in split.filename_to_tensors.items():
        if (folder / name).exists():
            progress.update(sum(parameters[tensor_name].nbytes for tensor_name in tensor_names))
        else:
            _write_file(folder / name, {name: parameters[name] for name in tensor_names}, sources, progress)
    if split.is_sharded:
        metadata = dict(split.metadata)
        if num_parameters is not None:
            metadata = {"total_parameters": num_parameters, **metadata}
        index = {"metadata": metadata, "weight_map": split.tensor_to_filename}
        write_text(folder / f"{file_name}.index.json", json.dumps(index, indent=2, sort_keys=True) + "\n")


def _write_file(
    path: Path, parameters: dict[str, torch.Tensor], sources: Mapping[str, Source], progress: tqdm
) -> None:
    header, offsets = _make_header(parameters)
    temporary = path.with_name(f"{path.name}.incomplete")
    with open(temporary, "wb") as file:
        file.write(header)
        for name, tensor in read_parameters(parameters, sources):
            file.seek(offsets[name])
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            progress.update(tensor.nbytes)
    os.replace(temporary, path)


def read_parameters(
    parameters: Mapping[str, torch.Tensor], sources: Mapping[str, Source]
) -> Iterator[tuple[str, torch.Tensor]]:
    """
    Reads parameters from their sources, file by file, in the order in which that takes least memory.

    Args:
        parameters (`Mapping[str, torch.Tensor]`): The parameters on `meta`, in the types that are wanted.
        sources (`Mapping[str, Source]`): Where each of them comes from.

    Returns:
        `Iterator[tuple[str, torch.Tensor]]`: Names and tensors. A tensor is to be done with before the next is asked for.
    """
    by_file: dict[Path, dict[str, list[str]]] = {}
    for name, parameter in parameters.items():
        source = sources[name]
        if source.path is None:
            yield name, torch.full(parameter.shape, source.constant, dtype=parameter.dtype)
        else:
            by_file.setdefault(source.path, {}).setdefault(source.name, []).append(name)
    for path, wanted in by_file.items():
        for source_name, tensor in read_tensors(path, wanted):
            for name in wanted[source_name]:
                yield name, tensor.to(parameters[name].dtype)
            del tensor


def _make_header(parameters: dict[str, torch.Tensor]) -> tuple[bytes, dict[str, int]]:
    """The header that safetensors itself gives a file of these parameters, and where each of them begins."""
    # The order of the tensors depends on names and types only: one that is empty stands for each.
    content = save({name: torch.empty(0, dtype=tensor.dtype) for name, tensor in parameters.items()}, {"format": "pt"})
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    position = 0
    for name, entry in header.items():
        if name != "__metadata__":
            entry["shape"] = list(parameters[name].shape)
            entry["data_offsets"] = [position, position + parameters[name].nbytes]
            position += parameters[name].nbytes
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    start = 8 + len(encoded)
    offsets = {name: start + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
    return len(encoded).to_bytes(8, "little") + encoded, offsets


def compare_weights(
    folder: Path, parameters: Mapping[str, torch.Tensor], sources: Mapping[str, Source], progress: tqdm
) -> list[str]:
    """
    Compares what was written, bit for bit, with its sources in the type that was asked for.

    Returns:
        `list[str]`: Names of the parameters that are missing, too many, of another shape or type, or different.
    """
    written = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            written |= dict.fromkeys(opened.keys(), path)
    wrong = sorted(written.keys() ^ parameters.keys())
    both = {name: parameter for name, parameter in parameters.items() if name in written}
    for name, tensor in read_parameters(both, sources):
        with safe_open(written[name], framework="pt") as opened:
            found = opened.get_tensor(name)
        if found.dtype != tensor.dtype or not torch.equal(found, tensor):
            wrong.append(name)
        progress.update(tensor.nbytes)
    return wrong


def write_text(path: Path, text: str) -> None:
    """Writes a file at once or not at all."""
    temporary = path.with_name(f"{path.name}.incomplete")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
