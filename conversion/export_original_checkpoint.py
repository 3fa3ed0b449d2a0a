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
Writes converted repositories back under the original names, for code that reads the original checkpoint.

    python conversion/export_original_checkpoint.py --source converted --output original

`--source` is the folder that holds `video-lavit`, `video-lavit-sft` and `video-lavit-detokenizer`, or some of them; the
language models can be trained further ones. Tokenizer files are not written: they are the original's own.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from original_checkpoint import TensorInfo, describe_tensors, read_tensors
from parameter_names_diffusers import (
    count_layers,
    keyframe_token_decoder_names,
    motion_encoder_names,
)
from parameter_names_transformers import convert_to_original
from repository_plans import TOKEN_DECODER_FILE, VIDEO_UNET_FILE, VISUAL_FILES
from sharded_safetensors import write_text
from tqdm.auto import tqdm


# The original name of a tensor -> the tensor of ours.
Tensors = dict[str, tuple[TensorInfo, str]]


def export_language_model(source: Path, is_tuned: bool) -> dict[str, Tensors]:
    """The files of `video-lavit` or `video-lavit-sft`, and what they hold."""
    tensors = describe_tensors(source)
    files = {"language_model_sft": "language_model_sft"} if is_tuned else {"language_model": "language_model"}
    if not is_tuned:
        files |= VISUAL_FILES
    return {
        path: {
            old: (tensors[new], new) for old, new in convert_to_original({name: name for name in tensors}, key).items()
        }
        for key, path in files.items()
    }


def export_detokenizer(source: Path) -> dict[str, Tensors]:
    """The files of `video-lavit-detokenizer`, and what they hold."""
    encoder, unet = describe_tensors(source / "motion_encoder"), describe_tensors(source / "unet")
    decoder = describe_tensors(source / "keyframe_token_decoder")
    video = _rename(encoder, motion_encoder_names(count_layers(encoder)), "motion_encoder.")
    video |= {f"unet.{name}": (info, name) for name, info in unet.items()}
    files = {
        VIDEO_UNET_FILE: video,
        TOKEN_DECODER_FILE: _rename(decoder, keyframe_token_decoder_names(count_layers(decoder))),
    }
    for folder, path in (
        ("vae", "video_detokenizer/vae/diffusion_pytorch_model.bin"),
        ("keyframe_vae", "image_detokenizer/vae/diffusion_pytorch_model.bin"),
        ("keyframe_unet", "image_detokenizer/unet/diffusion_pytorch_model.bin"),
    ):
        files[path] = {name: (info, name) for name, info in describe_tensors(source / folder).items()}
    return files


def _rename(tensors: dict[str, TensorInfo], names: dict[str, str], prefix: str = "") -> Tensors:
    return {prefix + old: (tensors[new], new) for old, new in names.items()}


def write_file(path: Path, contents: Tensors, dtype: torch.dtype | None, max_shard_size: str, progress: tqdm) -> None:
    """
    Writes a pickle, or shards of one with their index where `path` is a folder. One of them is in memory at a time.

    Args:
        path (`Path`): The file, or the folder of a language model.
        contents (`Tensors`): What it holds.
        dtype (`torch.dtype`, *optional*): Type of the weights; by default each keeps its own.
        max_shard_size (`str`): Largest size of a shard.
        progress (`tqdm`): Counts tensors.
    """
    if path.suffix == ".bin":
        path.parent.mkdir(parents=True, exist_ok=True)
        _save({path: list(contents)}, contents, dtype, progress)
        return
    path.mkdir(parents=True, exist_ok=True)
    shapes = {
        name: torch.empty(info.shape, dtype=dtype or info.dtype, device="meta") for name, (info, _) in contents.items()
    }
    split = split_torch_state_dict_into_shards(
        shapes, filename_pattern="pytorch_model{suffix}.bin", max_shard_size=max_shard_size
    )
    _save({path / name: names for name, names in split.filename_to_tensors.items()}, contents, dtype, progress)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_text(path / "pytorch_model.bin.index.json", json.dumps(index, indent=2, sort_keys=True) + "\n")


def _save(files: dict[Path, list[str]], contents: Tensors, dtype: torch.dtype | None, progress: tqdm) -> None:
    for path, names in files.items():
        tensors = {}
        for name in names:
            info, own_name = contents[name]
            _, tensor = next(read_tensors(info.path, [own_name]))
            tensors[name] = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
            progress.update()
        temporary = path.with_name(f"{path.name}.incomplete")
        torch.save(tensors, temporary)
        temporary.replace(path)


# What is written of each repository, and which of its files are copied to where.
EXPORTS: dict[str, tuple[Callable[[Path], dict[str, Tensors]], dict[str, str]]] = {
    "video-lavit": (
        lambda source: export_language_model(source, is_tuned=False),
        {"generation_config.json": "language_model/generation_config.json"},
    ),
    "video-lavit-sft": (
        lambda source: export_language_model(source, is_tuned=True),
        {"generation_config.json": "language_model_sft/generation_config.json"},
    ),
    "video-lavit-detokenizer": (
        export_detokenizer,
        {
            "vae/config.json": "video_detokenizer/vae/config.json",
            "unet/config.json": "video_detokenizer/unet/config.json",
            "scheduler/scheduler_config.json": "video_detokenizer/scheduler/scheduler_config.json",
            "keyframe_vae/config.json": "image_detokenizer/vae/config.json",
            "keyframe_unet/config.json": "image_detokenizer/unet/config.json",
            "keyframe_scheduler/scheduler_config.json": "image_detokenizer/scheduler/scheduler_config.json",
        },
    ),
}
LANGUAGE_MODELS = {"video-lavit": "language_model", "video-lavit-sft": "language_model_sft"}


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder that holds the converted repositories")
    parser.add_argument("--output", type=Path, required=True, help="where to write the original layout")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="type of the weights")
    parser.add_argument("--max-shard-size", default="5GB", help="largest size of a shard of a language model")
    arguments = parser.parse_args(args)
    found = [name for name in EXPORTS if (arguments.source / name).is_dir()]
    if not found:
        parser.error(f"{arguments.source} holds none of {', '.join(EXPORTS)}")
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    for name in found:
        source = arguments.source / name
        export, copies = EXPORTS[name]
        files = export(source)
        with tqdm(total=sum(map(len, files.values())), desc=f"Exporting {name}", unit="tensors") as progress:
            for path, contents in files.items():
                write_file(arguments.output / path, contents, dtype, arguments.max_shard_size, progress)
        for path, target in copies.items():
            (arguments.output / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, arguments.output / target)
        if name in LANGUAGE_MODELS:
            config = json.loads((source / "config.json").read_text())["text_config"]
            text = json.dumps({**config, "architectures": ["LlamaForCausalLM"]}, indent=2, sort_keys=True)
            write_text(arguments.output / LANGUAGE_MODELS[name] / "config.json", text + "\n")


if __name__ == "__main__":
    main()
