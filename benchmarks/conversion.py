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
Peak memory of the conversion of a checkpoint in the original layout, against its largest shard.

    python benchmarks/conversion.py

It makes a checkpoint of random weights of more than 2 GB in a temporary folder: the full vocabulary, a language model in shards
of 1 GB, and the tiny tokenizers of `tests/fixtures`. The conversion runs in a process of its own, which reports its peak.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards


ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "tests" / "fixtures" / "tiny" / "checkpoint"
HEADS = "vision=2,keyframe_tokenizer=2,motion_tokenizer=2,motion_encoder=2,keyframe_token_decoder=2"
# Runs in the conversion's process: peak of the memory of its own (anonymous pages) and of all, in MiB, before and after.
PROGRAM = """
import re, sys, threading, time
sys.path.insert(0, {folder!r})
import convert_original_checkpoint

def read(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\\s+(\\d+)", file.read())[1]) / 1024

before, peaks, running = {{name: read(name) for name in ("VmRSS", "RssAnon")}}, {{"VmRSS": 0, "RssAnon": 0}}, True

def watch():
    while running:
        for name in peaks:
            peaks[name] = max(peaks[name], read(name))
        time.sleep(0.01)

thread = threading.Thread(target=watch)
thread.start()
convert_original_checkpoint.main({arguments!r})
running = False
thread.join()
print("MEASURED", peaks["RssAnon"] - before["RssAnon"], read("VmHWM") - before["VmRSS"])
"""


def make_checkpoint(folder: Path, hidden_size: int, num_layers: int, max_shard_size: str) -> int:
    """
    Writes a checkpoint in the original layout, with a language model of random weights.

    Returns:
        `int`: Bytes of its largest shard.
    """
    shutil.copytree(CHECKPOINT, folder, dirs_exist_ok=True)
    model = folder / "language_model"
    intermediate_size = hidden_size * 43 // 16
    shapes = {"model.embed_tokens.weight": (49412, hidden_size)}
    for layer in range(num_layers):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{part}_proj.weight": (hidden_size, hidden_size) for part in "qkvo"}
        shapes |= {f"{prefix}mlp.{part}_proj.weight": (intermediate_size, hidden_size) for part in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden_size, intermediate_size)
        shapes |= {f"{prefix}{part}_layernorm.weight": (hidden_size,) for part in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (hidden_size,), "lm_head.weight": (49412, hidden_size)}
    meta = {name: torch.empty(shape, dtype=torch.bfloat16, device="meta") for name, shape in shapes.items()}
    split = split_torch_state_dict_into_shards(
        meta, filename_pattern="pytorch_model{suffix}.bin", max_shard_size=max_shard_size
    )
    (model / "pytorch_model.bin").unlink()
    for name, tensor_names in split.filename_to_tensors.items():
        torch.save({key: torch.randn(shapes[key]).bfloat16() for key in tensor_names}, model / name)
    index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_size": hidden_size, "intermediate_size": intermediate_size, "num_hidden_layers": num_layers}
    config |= {"num_attention_heads": hidden_size // 128, "num_key_value_heads": hidden_size // 128}
    (model / "config.json").write_text(json.dumps(config))
    # The tiny checkpoint's projection to the language model has another width: as in the released one, there is none.
    encoder = torch.load(folder / "visual_tokenizer" / "tokenizer_encoder.bin", weights_only=True)
    encoder = {name: tensor for name, tensor in encoder.items() if not name.startswith("vit_proj")}
    torch.save(encoder, folder / "visual_tokenizer" / "tokenizer_encoder.bin")
    shutil.rmtree(folder / "language_model_sft")
    return max(path.stat().st_size for path in model.glob("*.bin"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=2048)
    parser.add_argument("--num-layers", type=int, default=24)
    parser.add_argument("--max-shard-size", default="1GB")
    parser.add_argument("--dtype", default="float16", help="type to convert to; the checkpoint is in bfloat16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        largest = make_checkpoint(
            Path(folder) / "source", arguments.hidden_size, arguments.num_layers, arguments.max_shard_size
        )
        size = sum(path.stat().st_size for path in (Path(folder) / "source" / "language_model").glob("*.bin"))
        command = ["--source", f"{folder}/source", "--output", f"{folder}/output", "--components", "video-lavit"]
        command += ["--dtype", arguments.dtype, "--num-attention-heads", HEADS, "--verify"]
        program = PROGRAM.format(folder=str(ROOT / "conversion"), arguments=command)
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        own, peak = map(float, result.stdout.split("MEASURED")[1].split())
    shard = largest / 2**20
    print(
        "| language model, MiB | largest shard, MiB | own memory, MiB | with mapped files, MiB | ratio |\n|---|---|---|---|---|"
    )
    print(f"| {size / 2**20:.0f} | {shard:.0f} | {own:.0f} | {peak:.0f} | {peak / shard:.2f} |")


if __name__ == "__main__":
    main()
