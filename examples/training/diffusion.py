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
"""What the training of the two diffusion detokenizers shares: frozen helpers, moving averages of the weights, images to latents."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import nn
from transformers import TrainerCallback, set_seed
from transformers.integrations import is_deepspeed_zero3_enabled

from training.trainer import VideoLaVITTrainer


EMA_FILE = "ema.pt"


class TrainedParts(nn.Module):
    """
    Models that are trained together, next to frozen ones, which are neither trained nor saved in checkpoints.

    Args:
        trained (`dict[str, nn.Module]`): Submodules.
        frozen (`dict[str, nn.Module]`): Helpers.
    """

    def __init__(self, trained: dict[str, nn.Module], frozen: dict[str, nn.Module]):
        super().__init__()
        for name, module in trained.items():
            self.add_module(name, module)
        # In a dictionary they are no submodules.
        self._frozen = {name: module.requires_grad_(False).eval() for name, module in frozen.items()}

    def helper(self, name: str) -> nn.Module:
        """A frozen model, on the device of the trained ones."""
        device = next(self.parameters()).device
        module = self._frozen[name]
        if next(module.parameters()).device != device:
            module.to(device)
        return module

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict | None = None, every_n_layers: int = 1, offload: bool = False
    ) -> None:
        """
        Gradient checkpointing of the trained models, by the name that the trainer calls.

        Raises:
            ValueError: If options are given, of which diffusers' models have none.
        """
        if activation_checkpointing_kwargs or every_n_layers != 1 or offload:
            raise ValueError(
                "`gradient_checkpointing_kwargs` must be empty: diffusers' models have no options of gradient checkpointing."
            )
        for module in self.children():
            if isinstance(module, ModelMixin) and module._supports_gradient_checkpointing:
                module.enable_gradient_checkpointing()


@torch.no_grad()
def encode_images(vae: nn.Module, images: torch.Tensor, chunk_size: int = 8, sample: bool = True) -> torch.Tensor:
    """
    Encodes images, some at a time, in the autoencoder's own precision: they are what training aims at.

    Args:
        vae (`AutoencoderKL` or `AutoencoderKLTemporalDecoder`): The autoencoder.
        images (`torch.Tensor` of shape (batch_size, 3, height, width)): Values from -1 to 1.
        chunk_size (`int`, defaults to 8): How many at a time.
        sample (`bool`, defaults to `True`): Whether latents are drawn from their distribution, or its mode is taken.

    Returns:
        `torch.Tensor` of shape (batch_size, channels, latent_height, latent_width): In float32, not multiplied by the scale.
    """
    latents = []
    with torch.autocast(images.device.type, enabled=False):
        for chunk in images.split(chunk_size):
            distribution = vae.encode(chunk.to(vae.dtype)).latent_dist
            latents.append((distribution.sample() if sample else distribution.mode()).float())
    return torch.cat(latents)


class MovingAverageTrainer(VideoLaVITTrainer):
    """
    Keeps a moving average of the trained weights, which is evaluated, saved in checkpoints and resumed, and has each process draw
    noise of its own.

    Args:
        ema_decay (`float`): Its decay; 0 for none.

    Raises:
        ValueError: If the decay is no number from 0 to 1, or the weights are sharded over the processes.
    """

    def __init__(self, *args, ema_decay: float, **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= ema_decay < 1:
            raise ValueError(f"`ema_decay` must be from 0 to 1, 1 excluded, but is {ema_decay}.")
        if self.is_fsdp_enabled or is_deepspeed_zero3_enabled():
            raise ValueError(
                "A detokenizer trains in one process or under DDP, with whole weights in each process: not with FSDP or "
                "DeepSpeed ZeRO-3."
            )
        self.add_callback(_NoiseCallback())
        self.ema: EMAModel | None = None
        if ema_decay > 0:
            self.ema = EMAModel(self._trained_parameters(), decay=ema_decay, foreach=True)
            self.add_callback(_MovingAverageCallback(self))

    def _trained_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def use_moving_average(self) -> None:
        """Puts the averages in the place of the weights."""
        if self.ema is not None:
            self.ema.copy_to(self._trained_parameters())

    @contextmanager
    def moving_average(self) -> Iterator[None]:
        """Has the averages in the place of the weights for a while."""
        if self.ema is None:
            yield
            return
        self.ema.store(self._trained_parameters())
        self.use_moving_average()
        try:
            yield
        finally:
            self.ema.restore(self._trained_parameters())

    def evaluation_loop(self, *args, **kwargs):
        # The final model has the averages, so theirs is the loss to know, and to choose the best checkpoint by.
        with self.moving_average():
            return super().evaluation_loop(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder):
        """A checkpoint is no pipeline: only the final one is pushed."""

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        if self.ema is not None and self.args.should_save:
            torch.save(self.ema.state_dict(), os.path.join(output_dir, EMA_FILE))

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        self._load_moving_average(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_moving_average(resume_from_checkpoint)

    def _load_best_model(self):
        super()._load_best_model()
        self._load_moving_average(self.state.best_model_checkpoint)

    def _load_moving_average(self, checkpoint):
        if self.ema is not None and checkpoint is not None:
            self.ema.load_state_dict(torch.load(os.path.join(checkpoint, EMA_FILE), weights_only=True))
            self.ema.to(self.args.device)


class _NoiseCallback(TrainerCallback):
    """
    Seeds the processes differently once all have built the same model, or all would draw the same noise. A checkpoint has the state
    of each process.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        if args.process_index > 0 and state.global_step == 0:
            set_seed(args.seed + args.process_index)


class _MovingAverageCallback(TrainerCallback):
    def __init__(self, trainer: MovingAverageTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.ema.to(args.device)

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.trainer.ema.step(self.trainer._trained_parameters())
