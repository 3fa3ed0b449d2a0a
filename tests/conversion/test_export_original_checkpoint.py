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
"""Converted repositories, written back under the original names."""

import json

import pytest
import torch
from conversion_runs import convert
from safetensors.torch import load_file
from tiny_models import CHECKPOINT


def export(*args):
    from export_original_checkpoint import main

    main([str(arg) for arg in args])


def load(path):
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


def original_files():
    """The weights of the tiny checkpoint that a conversion uses."""
    files = [path for path in CHECKPOINT.rglob("*") if path.suffix in (".bin", ".safetensors")]
    return {path.relative_to(CHECKPOINT): load(path) for path in files if "video_detokenizer/unet" not in str(path)}


def test_conversion_and_export_are_the_identity(tmp_path):
    convert(tmp_path / "converted")
    export("--source", tmp_path / "converted", "--output", tmp_path / "exported")
    for path, tensors in original_files().items():
        exported = load(tmp_path / "exported" / path.with_suffix(".bin"))
        if str(path) == "visual_tokenizer/tokenizer_encoder.bin":
            # `vit_proj` is the tokenizer's where the file has it, as here.
            assert "vit_proj.weight" in tensors
        assert exported.keys() == tensors.keys(), path
        for name, tensor in tensors.items():
            assert exported[name].dtype == tensor.dtype and torch.equal(exported[name], tensor), (path, name)


def test_an_exported_checkpoint_converts_again(converted, tmp_path):
    export("--source", converted, "--output", tmp_path / "exported")
    for name in ("language_model", "language_model_sft"):
        tokenizer = (CHECKPOINT / name / "tokenizer.model").read_bytes()
        (tmp_path / "exported" / name / "tokenizer.model").write_bytes(tokenizer)
        (tmp_path / "exported" / name / "tokenizer_config.json").write_text(
            (CHECKPOINT / name / "tokenizer_config.json").read_text()
        )
    convert(tmp_path / "again", source=tmp_path / "exported")
    for path in converted.rglob("*.safetensors"):
        assert (tmp_path / "again" / path.relative_to(converted)).read_bytes() == path.read_bytes(), path


def test_shards_and_types_of_an_export(converted, tmp_path):
    export("--source", converted, "--output", tmp_path, "--dtype", "bfloat16", "--max-shard-size", "1MB")
    folder = tmp_path / "language_model_sft"
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    shards = {name: load(folder / name) for name in set(index["weight_map"].values())}
    original = load(CHECKPOINT / "language_model_sft" / "pytorch_model.bin")
    assert len(shards) > 1 and index["weight_map"].keys() == original.keys()
    for name, tensor in original.items():
        found = shards[index["weight_map"][name]][name]
        assert found.dtype == torch.bfloat16 and torch.equal(found, tensor.bfloat16())


def test_a_folder_without_repositories_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        export("--source", tmp_path, "--output", tmp_path / "out")
    assert "holds none of video-lavit" in capsys.readouterr().err
