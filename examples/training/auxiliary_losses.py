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
"""Losses beside that of the next token, of what hidden states tell."""

from abc import abstractmethod
from pathlib import Path

import torch
from torch import nn
from transformers import ProcessorMixin

from transformers_videolavit import save_remote_code

from .arguments import VideoLaVITTrainingArguments
from .language_modeling import LanguageModelTrainer
from .packing import IGNORED_LABEL


class AuxiliaryLossTrainer(LanguageModelTrainer):
    """
    [`LanguageModelTrainer`], with losses of what `model.auxiliary_heads` read from hidden states, which `auxiliary_losses` computes
    from these and from what `compute_loss` leaves in `_auxiliary_inputs`, added to the loss.

    In several processes, each has the auxiliary losses of its own rows.

    Args:
        args ([`VideoLaVITTrainingArguments`]): Arguments of the trainer.
        auxiliary_loss_weight (`float`): Weight of the auxiliary losses.
        loss_weights (`dict[str, float]`, *optional*): Weights among them, by name; by default 1.
        kwargs: Arguments of [`LanguageModelTrainer`].
    """

    def __init__(
        self,
        *,
        args: VideoLaVITTrainingArguments,
        auxiliary_loss_weight: float,
        loss_weights: dict[str, float] | None = None,
        **kwargs,
    ):
        # Unused parameters are found by the model's forward pass, of which the heads are no part; none is unused.
        args.ddp_find_unused_parameters = False
        super().__init__(args=args, **kwargs)
        self.auxiliary_loss_weight = auxiliary_loss_weight
        self.loss_weights = loss_weights or {}
        self._auxiliary_inputs: dict[str, torch.Tensor] = {}

    @abstractmethod
    def auxiliary_losses(self, hidden_states: tuple[torch.Tensor, ...], **inputs) -> dict[str, torch.Tensor]:
        """The losses by name, of hidden states of shape (1, total_length, hidden_size) before and behind each layer."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        return super().compute_loss(model, inputs | {"output_hidden_states": True}, *args, **kwargs)

    def next_token_loss(self, outputs, labels, num_items_in_batch=None):
        loss = super().next_token_loss(outputs, labels, num_items_in_batch)
        losses = self.auxiliary_losses(outputs["hidden_states"], **self._auxiliary_inputs)
        self.record_metrics({f"{name}_loss": value.detach() for name, value in losses.items()})
        # As much of it as of the loss of tokens, over processes and accumulated steps.
        num_labels = (labels[0, 1:] != IGNORED_LABEL).sum()
        share = num_labels / num_items_in_batch if num_items_in_batch is not None else 1.0
        # Heads that nothing is told of have gradients, too, of zero.
        parameters = sum(parameter.sum() for parameter in self._unwrapped.auxiliary_heads.parameters())
        auxiliary_loss = sum(self.loss_weights.get(name, 1.0) * value for name, value in losses.items())
        return loss + self.auxiliary_loss_weight * share * auxiliary_loss + 0.0 * parameters

    @property
    def _unwrapped(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.model)


def save_without_heads(model: nn.Module, processor: ProcessorMixin, folder: Path) -> None:
    """Saves a trained model and its processor; `model.auxiliary_heads` are removed."""
    del model.auxiliary_heads
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    save_remote_code(folder)
