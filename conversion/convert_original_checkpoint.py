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
Converts the released Video-LaVIT checkpoint into repositories for transformers and diffusers.

    python conversion/convert_original_checkpoint.py --source rain1011/Video-LaVIT-v1 --output converted
    python conversion/convert_original_checkpoint.py --source checkpoint --output converted --dtype bfloat16 --verify

It writes `video-lavit` (pre-trained, for generation), `video-lavit-sft` (instruction-tuned, for understanding) and
`video-lavit-detokenizer` (the pipeline to pixels) as sharded safetensors with all that loading them needs, their own copy of
the model's code, and a model card. Tensors are copied one at a time: memory is needed for little more than one of them. Names
and shapes are checked before anything is written, and a run that was stopped goes on where it was when it is started again.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from repository_plans import NUM_ATTENTION_HEADS, PLANS, REPOSITORIES, ModelPlan, RepositoryPlan
from sharded_safetensors import compare_weights, write_text, write_weights
from tqdm.auto import tqdm

from model_cards import write_model_card
from transformers_videolavit import save_remote_code


DTYPES = {"auto": None, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What a repository was converted from, and whether that is done.
RECORD_FILE = "conversion.json"


def convert(plan: RepositoryPlan, repo_id: str, dtype: torch.dtype | None, max_shard_size: str) -> None:
    """
    Writes a repository, or what is missing of it.

    Args:
        plan ([`RepositoryPlan`]): What it is made of.
        repo_id (`str`): What its card calls it.
        dtype (`torch.dtype`, *optional*): Type of the weights; by default each keeps its own.
        max_shard_size (`str`): Largest size of a file of weights.
    """
    record = _describe(plan, dtype, max_shard_size)
    found = _find_record(plan.folder, record)
    if found["complete"]:
        tqdm.write(f"{plan.folder} is complete.")
        if found["repo_id"] != repo_id:
            write_model_card(plan.name, plan.folder, repo_id)
            _write_record(plan.folder, {**found, "repo_id": repo_id})
        return
    with _progress(plan, f"Writing {plan.name}", dtype) as progress:
        for model in plan.models:
            num_parameters = None if model.file_name.startswith("diffusion") else _count_parameters(model)
            parameters = model.parameters(dtype)
            write_weights(
                model.folder, parameters, model.sources, model.file_name, max_shard_size, progress, num_parameters
            )
    for name, reason in plan.ignored.items():
        tqdm.write(f"{plan.name}: ignored {name}: {reason}")
    plan.save_rest(plan.folder)
    write_model_card(plan.name, plan.folder, repo_id)
    # The configurations last: without them nothing loads.
    for model in plan.models:
        model.save_config(dtype)
    if (plan.folder / "config.json").is_file():
        save_remote_code(plan.folder)
    _write_record(plan.folder, {**record, "repo_id": repo_id, "complete": True})


def _describe(plan: RepositoryPlan, dtype: torch.dtype | None, max_shard_size: str) -> dict:
    paths = sorted({info.path.resolve() for model in plan.models for info in model.infos.values()})
    state = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    return {
        "dtype": "auto" if dtype is None else str(dtype).removeprefix("torch."),
        "max_shard_size": max_shard_size,
        "digest": hashlib.sha256(json.dumps(state).encode()).hexdigest(),
    }


def _find_record(folder: Path, record: dict) -> dict:
    """The record in a folder, or a new one. What another source or other arguments have left in the folder is deleted."""
    path = folder / RECORD_FILE
    if path.is_file():
        found = json.loads(path.read_text())
        if record.items() <= found.items():
            return found
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists and is no conversion: it would be overwritten. Choose another output.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_record(folder, {**record, "complete": False})
    return {**record, "complete": False}


def _write_record(folder: Path, record: dict) -> None:
    write_text(folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")


def verify(plan: RepositoryPlan, dtype: torch.dtype | None) -> None:
    """
    Loads what was written by the models' own classes, without reading the weights, and compares every weight with its source,
    bit for bit in the type it was written in.

    Raises:
        ValueError: If one differs, is missing or is too many.
    """
    lines = ["| model | class | tensors | MiB |", "|---|---|---|---|"]
    with _progress(plan, f"Verifying {plan.name}", dtype) as progress:
        for model in plan.models:
            parameters = model.parameters(dtype)
            wrong = compare_weights(model.folder, parameters, model.sources, progress)
            model_class = type(model.model)
            if not wrong:
                _, report = model_class.from_pretrained(model.folder, device_map="meta", output_loading_info=True)
                wrong = sorted({*report["missing_keys"], *report["unexpected_keys"]})
            if wrong:
                raise ValueError(f"{model.folder}: {len(wrong)} parameters are not as in the source: {wrong[:8]}.")
            size = sum(parameter.nbytes for parameter in parameters.values()) / 2**20
            name = model.folder.relative_to(plan.folder.parent)
            lines.append(f"| {name} | {model_class.__name__} | {len(parameters)} equal | {size:.1f} |")
    tqdm.write("\n".join(lines))


def _progress(plan: RepositoryPlan, description: str, dtype: torch.dtype | None) -> tqdm:
    total = sum(tensor.nbytes for model in plan.models for tensor in model.parameters(dtype).values())
    return tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, desc=description)


def _count_parameters(model: ModelPlan) -> int:
    return sum(parameter.numel() for parameter in model.model.parameters())


def parse_heads(text: str) -> dict[str, int]:
    """Attention heads by part, of `vision=2,motion_tokenizer=2`."""
    heads = {}
    for item in filter(None, text.split(",")):
        part, _, number = item.partition("=")
        if part not in NUM_ATTENTION_HEADS or not number.isdecimal():
            raise argparse.ArgumentTypeError(
                f"{item!r} is not PART=NUMBER with a part of {', '.join(NUM_ATTENTION_HEADS)}"
            )
        heads[part] = int(number)
    return heads


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="folder or Hub repository of the original checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="folder in which the repositories are written")
    parser.add_argument(
        "--components", nargs="+", choices=REPOSITORIES, default=list(REPOSITORIES), help="which of them"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="auto", help="type of the weights (auto: as they are stored)"
    )
    parser.add_argument("--max-shard-size", default="5GB", help="largest size of a file of weights")
    parser.add_argument("--push-to-hub", metavar="OWNER", help="upload the repositories to this owner's account")
    parser.add_argument("--private", action="store_true", help="make the uploaded repositories private")
    parser.add_argument("--verify", action="store_true", help="compare what was written with the source")
    parser.add_argument(
        "--num-attention-heads",
        type=parse_heads,
        default={},
        metavar="PART=NUMBER,...",
        help="attention heads of a checkpoint of other sizes than the released one's; parts: "
        + ", ".join(NUM_ATTENTION_HEADS),
    )
    arguments = parser.parse_args(args)

    source = Path(arguments.source)
    if not source.is_dir():
        wanted = {path for name in arguments.components for path in REPOSITORIES[name]}
        patterns = [pattern for path in sorted(wanted) for pattern in (path, f"{path}/*")]
        source = Path(snapshot_download(arguments.source, allow_patterns=patterns))
    dtype = DTYPES[arguments.dtype]
    # All are planned, and so checked, before the first is written.
    plans = [
        PLANS[name](source, arguments.output / name, arguments.num_attention_heads) for name in arguments.components
    ]
    for plan in plans:
        repo_id = f"{arguments.push_to_hub}/{plan.name}" if arguments.push_to_hub else plan.name
        convert(plan, repo_id, dtype, arguments.max_shard_size)
        if arguments.verify:
            verify(plan, dtype)
    if arguments.push_to_hub:
        api = HfApi()
        for plan in plans:
            repo_id = f"{arguments.push_to_hub}/{plan.name}"
            api.create_repo(repo_id, exist_ok=True, private=arguments.private)
            api.upload_large_folder(repo_id=repo_id, folder_path=plan.folder, repo_type="model")


if __name__ == "__main__":
    main()
