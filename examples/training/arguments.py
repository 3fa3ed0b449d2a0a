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
"""Arguments of the training programs: dataclasses, a YAML file that fills them in, and a command line that overrides it."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import HfArg


@dataclass
class VideoLaVITTrainingArguments(TrainingArguments):
    """
    `transformers.TrainingArguments` with learning rates for groups of parameters and resumption by default.

    Args:
        learning_rates (`dict[str, float]`, *optional*): Peak learning rates of the parameters whose name matches a
            regular expression (`re.search`; the first that matches counts). The others have `learning_rate`.
        overwrite_checkpoints (`bool`, defaults to `False`): Start anew although `output_dir` has checkpoints.
        muon_learning_rate (`float`, *optional*): Peak learning rate of weight matrices and convolution kernels, which Muon then updates
            in place of AdamW. The others have `learning_rate`.
        flash_sdp (`bool`, defaults to `True`): Whether PyTorch may choose its flash kernel for attention. On CPUs that one is slow
            to go back through many short sequences, such as a position's over the frames.
        in_memory (`bool`, defaults to `False`): Whether to read all training samples first and to keep them in the memory of the
            device, for small models that would otherwise wait for their data. They are then the same in every epoch.
        dataset_name (`str`, *optional*): Name of the training data for the model card.
    """

    # Items of our datasets need not be named as the arguments of a model.
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Remove what the model's forward does not take from the samples."}
    )
    # An incomplete batch at the end of an epoch would differ with the number of processes.
    dataloader_drop_last: bool = field(
        default=True, metadata={"help": "Leave out the last batch of an epoch if it is not complete."}
    )
    # Transformers calls it `max_steps`, diffusers `max_train_steps`.
    max_steps: int = HfArg(
        default=-1,
        aliases=["--max_train_steps"],
        help="Number of optimizer steps; overrides `num_train_epochs` where it is positive.",
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Checkpoint folder to continue from. By default the last complete one in `output_dir`, if there is one."
        },
    )
    overwrite_checkpoints: bool = field(
        default=False, metadata={"help": "Start anew although `output_dir` has checkpoints."}
    )
    learning_rates: dict | str | None = field(
        default=None,
        metadata={
            "help": "Learning rates of the parameters whose names match a regular expression, as JSON: "
            "'{\"merger|multi_modal_projector\": 5e-5}'. The first that matches counts."
        },
    )
    muon_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Has Muon update weight matrices and convolution kernels, with this learning rate; the rest stays with AdamW."
        },
    )
    flash_sdp: bool = field(
        default=True,
        metadata={
            "help": "Whether PyTorch may choose its flash kernel for attention, which on CPUs is slow in training."
        },
    )
    in_memory: bool = field(
        default=False,
        metadata={"help": "Whether to read all training samples first and to keep them in the device's memory."},
    )
    dataset_name: str | None = field(default=None, metadata={"help": "Name of the training data for the model card."})

    def __post_init__(self):
        if isinstance(self.learning_rates, str):
            self.learning_rates = json.loads(self.learning_rates)
        super().__post_init__()


def parse_arguments(
    dataclass_types: Sequence[type], args: Sequence[str] | None = None, description: str | None = None
) -> tuple[Any, ...]:
    """
    Parses a command line whose `--config FILE.yaml` gives values that the other arguments override.

    Args:
        dataclass_types (`Sequence[type]`): Dataclasses, as `HfArgumentParser` takes them.
        args (`Sequence[str]`, *optional*): The command line, by default the program's.
        description (`str`, *optional*): What `--help` says first.

    Returns:
        `tuple`: One instance of each dataclass.

    Raises:
        ValueError: If the YAML file is no mapping, or has a key that none of the dataclasses has.
    """
    parser = HfArgumentParser(dataclass_types, description=description)
    parser.add_argument("--config", type=Path, help="YAML file with values of the arguments below.")
    config_parser = HfArgumentParser((), add_help=False, allow_abbrev=False)
    config_parser.add_argument("--config", type=Path)
    path = config_parser.parse_known_args(args)[0].config
    if path is not None:
        _set_defaults(parser, path)
    return parser.parse_args_into_dataclasses(args, look_for_args_file=False)[: len(dataclass_types)]


def _set_defaults(parser: HfArgumentParser, path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{os.fspath(path)!r} must hold a mapping of argument names to values.")
    actions = {action.dest: action for action in parser._actions}
    unknown = sorted(set(values) - set(actions))
    if unknown:
        raise ValueError(f"{os.fspath(path)!r} has arguments that this program does not have: {unknown}.")
    for name, value in values.items():
        # What argparse does with a default that is a string: YAML reads "1e-4" as one.
        actions[name].required = False
        actions[name].default = value
