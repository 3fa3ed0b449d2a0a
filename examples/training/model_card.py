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
"""The model card of a training run."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import accelerate
import datasets
import torch
import transformers
from huggingface_hub import ModelCard, ModelCardData
from transformers import Trainer
from transformers.modelcard import extract_hyperparameters_from_trainer, parse_log_history


TEMPLATE = Path(__file__).with_name("model_card.md")


def write_model_card(
    trainer: Trainer, tags: Sequence[str], base_model: str | None, description: str, usage: str
) -> None:
    """
    Writes `README.md` into a trainer's output folder: what was trained, from what, on what, how, and with what result.

    Args:
        trainer (`Trainer`): After training.
        tags (`Sequence[str]`): Tags next to `video-lavit`.
        base_model (`str`, *optional*): What was tuned.
        description (`str`): What the model is, in Markdown.
        usage (`str`): Python code that loads and uses the model; `{model}` stands for its name.
    """
    args = trainer.args
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    _, lines, _ = parse_log_history(trainer.state.log_history)
    losses = [(log["step"], log["loss"]) for log in trainer.state.log_history if "loss" in log]
    data = ModelCardData(
        library_name="peft" if "lora" in tags else "transformers",
        tags=["video-lavit", *tags],
        base_model=base_model if base_model is not None and not os.path.isdir(base_model) else None,
        datasets=args.dataset_name,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        model_name=name,
        description=description,
        base_model=base_model,
        dataset=args.dataset_name,
        usage=usage.replace("{model}", name),
        hyperparameters=extract_hyperparameters_from_trainer(trainer),
        num_processes=args.world_size,
        num_steps=trainer.state.global_step,
        num_epochs=trainer.state.epoch,
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        evaluations=lines or [],
        versions={
            "Python": platform.python_version(),
            "PyTorch": torch.__version__,
            "Transformers": transformers.__version__,
            "Accelerate": accelerate.__version__,
            "Datasets": datasets.__version__,
        },
    )
    path = Path(args.output_dir) / "README.md"
    temporary = path.with_suffix(".incomplete")
    card.save(temporary)
    os.replace(temporary, path)
