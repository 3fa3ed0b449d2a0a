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
Adds the adapters of `finetune_lora.py` to the weights of their model and saves the result as a model of its own.

    python examples/merge_lora.py --adapter outputs/lora --output_dir outputs/instruct
"""

import argparse
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from training.trainer import save_at_once
from transformers import AutoModelForCausalLM, AutoProcessor

from transformers_videolavit import save_remote_code


def main(args: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, help="folder or repository of the adapter")
    parser.add_argument("--model", help="the model it was trained on, where its configuration names it no longer")
    parser.add_argument("--output_dir", type=Path, required=True, help="where to save the merged model")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16", help="precision of the result"
    )
    arguments = parser.parse_args(args)

    base_model = arguments.model or PeftConfig.from_pretrained(arguments.adapter).base_model_name_or_path
    # Merged in full precision: the sum is rounded once.
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, arguments.adapter).merge_and_unload()
    for name, parameter in model.named_parameters():
        # In half precision another code of a codebook can be the nearest.
        if "quantizer." not in name:
            parameter.data = parameter.data.to(getattr(torch, arguments.dtype))
    processor = AutoProcessor.from_pretrained(base_model)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        save_remote_code(folder)

    save_at_once(arguments.output_dir, save)


if __name__ == "__main__":
    main()
