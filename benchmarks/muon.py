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
Speed of a step of Muon (`--muon_learning_rate`) against PyTorch's, which takes matrices alone, one at a time and in bfloat16.

    python benchmarks/muon.py
    python benchmarks/muon.py --widths 320 1280 --device cuda

For each width, weights of the shapes of attention layers and of flattened kernels of 3 × 3. Random gradients: they don't change the speed.
"""

import argparse
import sys
from pathlib import Path

import torch
from keyframe_tokenizer import measure


sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from training.muon import MuonWithAuxAdam


def build_weights(width: int, num_weights: int, columns: int, device: torch.device) -> list[torch.nn.Parameter]:
    """Matrices with gradients."""
    weights = [torch.nn.Parameter(torch.randn(width, columns, device=device)) for _ in range(num_weights)]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    return weights


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256], help="output channels")
    parser.add_argument("--num-weights", type=int, default=8, help="weights of each shape")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps; the median is shown")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(arguments)
    device = torch.device(arguments.device)

    print("| weights | PyTorch's, ms | this one, ms | ratio |")
    print("|---|---|---|---|")
    for width in arguments.widths:
        for columns in (width, 9 * width):
            weights = build_weights(width, arguments.num_weights, columns, device)
            theirs = torch.optim.Muon(weights, lr=1e-3, adjust_lr_fn="match_rms_adamw")
            ours = MuonWithAuxAdam([{"params": weights, "use_muon": True}], lr=1e-3)
            plain, batched = measure((theirs.step, ours.step), arguments.repeats, device)
            shape = f"{arguments.num_weights} of {width} × {columns}"
            print(f"| {shape} | {1e3 * plain:.1f} | {1e3 * batched:.1f} | {plain / batched:.1f} |", flush=True)


if __name__ == "__main__":
    main()
