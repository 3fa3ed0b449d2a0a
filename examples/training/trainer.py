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
The `transformers.Trainer` of all training programs.

What it adds: the model's own metrics in the log, checkpoints of which a killed run leaves only whole ones to resume from,
learning rates for groups of parameters, evaluation by the training loss, and a final model that appears at once or not at all.
"""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate.utils import gather_object
from huggingface_hub import HfApi
from transformers import Trainer, TrainerCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, rotate_checkpoints
from transformers.utils import logging

from training.arguments import VideoLaVITTrainingArguments
from training.cache import InMemorySamples
from training.model_card import write_model_card
from training.muon import MuonWithAuxAdam, parameter_groups


logger = logging.get_logger(__name__)

# Written last into a checkpoint, by the main process after all others have finished theirs.
COMPLETE_MARK = "complete"
# Where a final model is written before it is moved into the output folder.
INCOMPLETE = ".incomplete"


class DatasetEpochCallback(TrainerCallback):
    """
    Tells the training data of each epoch: accelerate's data loaders do so in one process, but in several they tell the
    sampler only.
    """

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if hasattr(train_dataloader.dataset, "set_epoch"):
            train_dataloader.dataset.set_epoch(int(state.epoch))


class VideoLaVITTrainer(Trainer):
    """
    Trainer of the tokenizers, the detokenizers and the language model.

    Args:
        metric_names (`Sequence[str]`, *optional*): Scalars of the model's output to log next to the loss, as means over
            the steps since the last log and over the processes; in evaluation with the prefix `eval_`.
        kwargs: Arguments of `transformers.Trainer`; `args` are [`VideoLaVITTrainingArguments`].

    Raises:
        ValueError: If the arguments do not go together, or not with the training data.
    """

    args: VideoLaVITTrainingArguments

    def __init__(self, *args, metric_names: Sequence[str] = (), **kwargs):
        self.metric_names = tuple(metric_names)
        self._metric_records: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        super().__init__(*args, **kwargs)
        if self.args.muon_learning_rate is not None and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError(
                "`muon_learning_rate` wants whole weight matrices in each process: it does not go with FSDP or DeepSpeed."
            )
        if self.args.in_memory:
            self.train_dataset = InMemorySamples(self.train_dataset, self.args)
            # Other processes could not read the device's memory.
            self.args.dataloader_num_workers, self.args.dataloader_pin_memory = 0, False
        if self.args.dataloader_persistent_workers and hasattr(self.train_dataset, "set_epoch"):
            raise ValueError(
                "`dataloader_persistent_workers` does not go with training data that are drawn anew in each epoch: workers that "
                "outlast an epoch are not told of the next one and would draw the same again."
            )
        self.add_callback(DatasetEpochCallback())

    def record_metrics(self, metrics: dict[str, torch.Tensor], counts: dict[str, torch.Tensor] | None = None) -> None:
        """
        Notes scalars for the next line of the log.

        Args:
            metrics (`dict[str, torch.Tensor]`): Scalars by name.
            counts (`dict[str, torch.Tensor]`, *optional*): What each is the mean of, such as a number of tokens: the weight
                it has in the mean that is logged. By default all weigh the same.
        """
        for name, value in metrics.items():
            value = value.detach().float().reshape(())
            count = counts[name].to(value) if counts is not None else torch.ones_like(value)
            sums, total = self._metric_records.get(name, (0.0, 0.0))
            self._metric_records[name] = (sums + torch.where(count > 0, value * count, 0.0), total + count)

    def _pop_metrics(self, prefix: str = "") -> dict[str, float]:
        """Means of what all processes have recorded since the last call. All processes call it together."""
        record = {name: (float(sums), float(total)) for name, (sums, total) in self._metric_records.items()}
        self._metric_records = {}
        records = gather_object([record]) if self.accelerator.num_processes > 1 else [record]
        metrics = {}
        for name in sorted({name for record in records for name in record}):
            sums, totals = zip(*(record.get(name, (0.0, 0.0)) for record in records))
            if sum(totals) > 0:
                metrics[prefix + name] = sum(sums) / sum(totals)
        return metrics

    def get_train_dataloader(self):
        batch_size = self.args.train_batch_size * self.args.world_size
        if self.args.dataloader_drop_last and len(self.train_dataset) < batch_size:
            raise ValueError(
                f"The training data make {len(self.train_dataset)} items, fewer than the {batch_size} of one batch of all "
                "processes. Lower `per_device_train_batch_size`."
            )
        return super().get_train_dataloader()

    def get_eval_dataloader(self, eval_dataset=None):
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        dataloader = super().get_eval_dataloader(eval_dataset)
        self.args.dataloader_drop_last = drop_last
        return dataloader

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self.record_metrics({name: outputs[name] for name in self.metric_names})
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """The training loss, also of models whose batches have no labels."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        return loss.detach(), None, None

    def evaluation_loop(self, *args, metric_key_prefix="eval", **kwargs):
        training_records, self._metric_records = self._metric_records, {}
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        output.metrics.update(self._pop_metrics(f"{metric_key_prefix}_"))
        self._metric_records = training_records
        return output

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs |= self._pop_metrics()
        super().log(logs, start_time)

    def create_optimizer(self, model=None):
        is_new = self.optimizer is None
        if is_new and self.args.muon_learning_rate is not None:
            rates = (self.args.muon_learning_rate, self.args.learning_rate)
            groups = parameter_groups(model or self.model, *rates, self.args.weight_decay)
            betas = (self.args.adam_beta1, self.args.adam_beta2)
            self.optimizer = MuonWithAuxAdam(groups, self.args.learning_rate, betas=betas, eps=self.args.adam_epsilon)
        optimizer = super().create_optimizer(model)
        if is_new and self.args.learning_rates:
            names = {id(parameter): name for name, parameter in (model or self.model).named_parameters()}
            optimizer.param_groups[:] = [
                {**group, "params": parameters, "lr": learning_rate}
                for group in optimizer.param_groups
                for learning_rate, parameters in self._group_by_learning_rate(group, names).items()
            ]
        return optimizer

    def _group_by_learning_rate(self, group, names):
        groups = {}
        for parameter in group["params"]:
            rates = [
                rate for pattern, rate in self.args.learning_rates.items() if re.search(pattern, names[id(parameter)])
            ]
            groups.setdefault(float(rates[0] if rates else group["lr"]), []).append(parameter)
        return groups

    def _save_checkpoint(self, model, trial):
        # Older checkpoints go only once every process has written its part of the new one.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            (folder / COMPLETE_MARK).touch()
            rotate_checkpoints(
                output_dir=self.args.output_dir,
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )


def find_last_checkpoint(output_dir: str) -> str | None:
    """The last complete checkpoint of a folder, or `None`. Incomplete ones, of a run that was killed, are deleted."""
    while os.path.isdir(output_dir) and (checkpoint := get_last_checkpoint(output_dir)) is not None:
        if os.path.exists(os.path.join(checkpoint, COMPLETE_MARK)):
            return checkpoint
        logger.warning(f"{checkpoint!r} is incomplete: the run that wrote it was killed. It is deleted.")
        shutil.rmtree(checkpoint)
    return None


def prepare_run(args: VideoLaVITTrainingArguments) -> str | None:
    """
    Seeds everything and looks for what an earlier run left in `output_dir`.

    Args:
        args ([`VideoLaVITTrainingArguments`]): The run's arguments.

    Returns:
        `str`, *optional*: The checkpoint to resume from.

    Raises:
        ValueError: If the checkpoint given is incomplete or no folder.
    """
    set_seed(args.seed)
    logging.set_verbosity(args.get_process_log_level())
    # PyTorch's switch is for CPUs, too, whatever its name.
    torch.backends.cuda.enable_flash_sdp(args.flash_sdp)
    if args.resume_from_checkpoint is not None:
        if not os.path.isfile(os.path.join(args.resume_from_checkpoint, COMPLETE_MARK)):
            raise ValueError(f"`resume_from_checkpoint` {args.resume_from_checkpoint!r} is no complete checkpoint.")
        return args.resume_from_checkpoint
    with args.main_process_first(desc="looking for checkpoints"):
        if not args.overwrite_checkpoints:
            return find_last_checkpoint(args.output_dir)
        if args.should_save and os.path.isdir(args.output_dir):
            while (checkpoint := get_last_checkpoint(args.output_dir)) is not None:
                shutil.rmtree(checkpoint)
    return None


def save_at_once(folder: Path, write: Callable[[Path], None]) -> None:
    """
    Puts what `write` saves into a folder: written elsewhere first and then moved, so that a folder that loads is whole.

    Args:
        folder (`Path`): Where the files shall be.
        write (`Callable[[Path], None]`): Saves into the folder it is given.
    """
    temporary = folder / INCOMPLETE
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    move_into_place(temporary, folder)


def move_into_place(temporary: Path, folder: Path) -> None:
    """Moves the files of a folder into another one, those without which nothing loads last, and deletes the first."""
    files = [path for path in temporary.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name in ("config.json", "model_index.json")):
        target = folder / path.relative_to(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    shutil.rmtree(temporary)


def train_and_save(
    trainer: VideoLaVITTrainer,
    checkpoint: str | None,
    save: Callable[[Path], None] | None = None,
    tags: Sequence[str] = (),
    base_model: str | None = None,
    description: str = "",
    usage: str = "",
) -> None:
    """
    Trains, evaluates, and saves the model with its card.

    Args:
        trainer ([`VideoLaVITTrainer`]): The trainer.
        checkpoint (`str`, *optional*): Checkpoint to resume from, of [`prepare_run`].
        save (`Callable[[Path], None]`, *optional*): Saves the trained model into a folder, on the main process. By
            default the trainer's `save_model`, on all.
        tags (`Sequence[str]`, *optional*): Tags of the model card.
        base_model (`str`, *optional*): What was tuned.
        description (`str`, *optional*): What the model card says of the model, in Markdown.
        usage (`str`, *optional*): Python code that loads and uses the model, for its card; `{model}` stands for its name.
    """
    args = trainer.args
    is_finished = checkpoint is not None and _is_finished(checkpoint, args)
    if is_finished:
        # The run ended between its last checkpoint and its final model: a step more would be one too many.
        trainer.state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
        best = trainer.state.best_model_checkpoint if args.load_best_model_at_end else None
        trainer._load_from_checkpoint(best if best is not None and os.path.isdir(best) else checkpoint)
    else:
        result = trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_metrics("train", result.metrics)
    if trainer.eval_dataset is not None:
        trainer.save_metrics("eval", trainer.evaluate())

    folder = Path(args.output_dir)
    if save is None:
        # Gathering a sharded model needs every process; only the main one writes.
        temporary = folder / INCOMPLETE
        if args.should_save:
            shutil.rmtree(temporary, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()
        if is_finished:
            trainer._save(str(temporary))
        else:
            trainer.save_model(str(temporary), _internal_call=True)
        if args.should_save:
            move_into_place(temporary, folder)
    elif args.should_save:
        save_at_once(folder, save)
    trainer.accelerator.wait_for_everyone()
    trainer.save_state()
    if args.should_save:
        write_model_card(trainer, tags, base_model, description, usage)
    if args.push_to_hub and args.should_save:
        push_folder(args)


def push_folder(args: VideoLaVITTrainingArguments) -> None:
    """
    Uploads what a run has made, without its checkpoints: the output folder as it is, whatever it holds.

    Args:
        args ([`VideoLaVITTrainingArguments`]): The run's arguments.
    """
    api = HfApi(token=args.hub_token)
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    repo_id = api.create_repo(name, private=args.hub_private_repo, exist_ok=True).repo_id
    api.upload_folder(
        repo_id=repo_id,
        folder_path=args.output_dir,
        commit_message="End of training",
        ignore_patterns=[f"{PREFIX_CHECKPOINT_DIR}-*", f"{INCOMPLETE}/*", "*.incomplete"],
    )


def _is_finished(checkpoint: str, args: VideoLaVITTrainingArguments) -> bool:
    state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
    if args.max_steps > 0:
        return state.global_step >= args.max_steps
    # Steps are counted as fractions of an epoch, whose sum may fall short of a whole one by rounding.
    return state.epoch >= args.num_train_epochs - 1e-9
