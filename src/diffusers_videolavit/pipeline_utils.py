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
"""What both pipelines share: saving and loading, LoRA adapters of the U-Net, sizes, images and half-precision VAEs."""

import inspect
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders import StableDiffusionLoraLoaderMixin

from . import component_classes


# Files of a saved pipeline: `DiffusionPipeline` knows diffusers' own classes only, but follows these.
PIPELINE_FILE = "pipeline"
COMPONENT_FILE = "videolavit"
FILE_CONTENT = '''"""Lets `diffusers.DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` find the class."""

from {module} import {name}


__all__ = ["{name}"]
'''


class VideoLaVITPipelineMixin(DiffusionPipeline):
    """
    Saving and loading of a pipeline that is not part of diffusers.

    A saved pipeline can be loaded, from a folder or the Hub, with its own class, and with `DiffusionPipeline` and
    `trust_remote_code=True`, by way of the files saved along. Both need this package to be installed.
    """

    def register_to_config(self, **kwargs: Any) -> None:
        # Not the module of the class, which may move, but the file next to the weights.
        for name, value in kwargs.items():
            if isinstance(value, tuple) and len(value) == 2 and value[1] in component_classes.COMPONENT_PACKAGES:
                kwargs[name] = (COMPONENT_FILE, value[1])
        super().register_to_config(**kwargs)

    def save_config(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> None:
        files = {PIPELINE_FILE: (__name__.split(".")[0], type(self).__name__)}
        for name, value in self.config.items():
            if isinstance(value, (list, tuple)) and value[0] == COMPONENT_FILE:
                files[f"{name}/{COMPONENT_FILE}"] = (component_classes.__name__, value[1])
        for path, (module, class_name) in files.items():
            path = os.path.join(save_directory, f"{path}.py")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(FILE_CONTENT.format(module=module, name=class_name))
        super().save_config(save_directory, push_to_hub=push_to_hub, **kwargs)

    def to_json_string(self) -> str:
        config = json.loads(super().to_json_string())
        config["_class_name"] = [PIPELINE_FILE, type(self).__name__]
        return json.dumps(config, indent=2, sort_keys=True) + "\n"

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike) -> dict[str, Any]:
        config = super()._dict_from_json_file(json_file)
        # The class is at hand: the file that leads `DiffusionPipeline` to it, and the trust it asks for, are not needed.
        config["_class_name"] = cls.__name__
        return config

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> tuple[dict, dict, dict]:
        init_dict, unused_kwargs, hidden_dict = super().extract_init_dict(config_dict, **kwargs)
        for name, value in init_dict.items():
            if isinstance(value, (list, tuple)) and value[0] == COMPONENT_FILE:
                init_dict[name] = (component_classes.__name__, value[1])
        return init_dict, unused_kwargs, hidden_dict


class UNetLoraLoaderMixin(StableDiffusionLoraLoaderMixin):
    """Loads LoRA adapters into `unet`, from files in diffusers' and in other common formats."""

    _lora_loadable_modules = ["unet"]

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | dict[str, torch.Tensor],
        adapter_name: str | None = None,
        hotswap: bool = False,
        low_cpu_mem_usage: bool = True,
        **kwargs,
    ) -> None:
        """
        Loads a LoRA adapter into `unet`.

        Args:
            pretrained_model_name_or_path_or_dict (`str` or `dict[str, torch.Tensor]`):
                A repository, a folder, a file or the weights themselves, with names that begin with `unet.`.
            adapter_name (`str`, *optional*): The adapter's name, `default_{i}` by default.
            hotswap (`bool`, *optional*, defaults to `False`):
                Whether to replace the weights of the loaded adapter of this name in place.
            low_cpu_mem_usage (`bool`, *optional*, defaults to `True`):
                Whether to leave out the initialization of weights that are loaded anyway.
            kwargs: Passed to [`~loaders.StableDiffusionLoraLoaderMixin.lora_state_dict`].

        Raises:
            ValueError: If the weights are not those of a LoRA adapter of `unet`.
        """
        if isinstance(pretrained_model_name_or_path_or_dict, dict):
            # It is emptied while it is read.
            pretrained_model_name_or_path_or_dict = pretrained_model_name_or_path_or_dict.copy()
        state_dict, network_alphas, metadata = self.lora_state_dict(
            pretrained_model_name_or_path_or_dict, unet_config=self.unet.config, return_lora_metadata=True, **kwargs
        )
        if not all("lora" in name for name in state_dict):
            raise ValueError("Invalid LoRA checkpoint: the names of all its weights have to contain `lora`.")
        self.load_lora_into_unet(
            state_dict,
            network_alphas=network_alphas,
            unet=self.unet,
            adapter_name=adapter_name,
            _pipeline=self,
            low_cpu_mem_usage=low_cpu_mem_usage,
            hotswap=hotswap,
            metadata=metadata,
        )

    def fuse_lora(self, components: list[str] | None = None, **kwargs) -> None:
        """Merges the active adapters into the weights of `unet`; arguments as in diffusers."""
        super().fuse_lora(components=["unet"] if components is None else components, **kwargs)

    def unfuse_lora(self, components: list[str] | None = None, **kwargs) -> None:
        """Undoes [`~UNetLoraLoaderMixin.fuse_lora`]."""
        super().unfuse_lora(components=["unet"] if components is None else components, **kwargs)


def num_pixels_a_latent(vae: ModelMixin) -> int:
    """Pixels along one side of the square that one position of the VAE's latent stands for."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def check_size(height: int, width: int, multiple: int, names: tuple[str, str] = ("height", "width")) -> None:
    """
    Refuses a size that the U-Net cannot halve at each of its levels.

    Raises:
        ValueError: If a side is not a positive multiple of `multiple`; the nearest valid ones are named.
    """
    for name, side in zip(names, (height, width)):
        if not isinstance(side, int) or side < 1 or side % multiple != 0:
            below = max(int(side) // multiple, 1) * multiple
            nearest = str(below) if side <= below else f"{below} or {below + multiple}"
            raise ValueError(f"`{name}` has to be divisible by {multiple}, but is {side}: the nearest is {nearest}.")


def check_callback_tensors(pipeline: DiffusionPipeline, names: list[str]) -> None:
    """
    Refuses tensors that the pipeline does not hand to a callback.

    Raises:
        ValueError: If `names` holds others than `_callback_tensor_inputs`.
    """
    unknown = [name for name in names if name not in pipeline._callback_tensor_inputs]
    if unknown:
        raise ValueError(
            f"`callback_on_step_end_tensor_inputs` has to be in {pipeline._callback_tensor_inputs}, but holds {unknown}."
        )


def check_sampling_inputs(
    batch_size: int,
    num_inference_steps: int,
    generator: torch.Generator | list[torch.Generator] | None,
    latents: torch.Tensor | None,
    latents_shape: tuple[int, ...],
) -> None:
    """
    Checks what sampling is given.

    Raises:
        ValueError: If there is no step, or the generators or latents do not fit the batch.
    """
    if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
        raise ValueError(f"`num_inference_steps` has to be a positive integer, but is {num_inference_steps}.")
    if isinstance(generator, list) and len(generator) != batch_size:
        raise ValueError(f"`generator` is a list of {len(generator)} generators for a batch of {batch_size}.")
    if latents is not None and tuple(latents.shape) != latents_shape:
        raise ValueError(f"`latents` have to be of shape {latents_shape}, but are of shape {tuple(latents.shape)}.")


def image_to_tensor(image: PIL.Image.Image | np.ndarray | torch.Tensor, name: str = "image") -> torch.Tensor:
    """
    Converts an image to a float32 tensor.

    Args:
        image (`PIL.Image.Image`, `np.ndarray` or `torch.Tensor`):
            A PIL image, an array of shape `(height, width, 3)` or a tensor of shape `(3, height, width)`; values of
            arrays and tensors are from 0 to 1, or from 0 to 255 as `uint8`.

    Returns:
        `torch.Tensor` of shape `(3, height, width)`, values from 0 to 1.

    Raises:
        ValueError: If `image` is nothing of this.
    """
    if isinstance(image, PIL.Image.Image):
        return VaeImageProcessor.numpy_to_pt(VaeImageProcessor.pil_to_numpy(image.convert("RGB")))[0]
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(image).movedim(-1, 0) if image.ndim == 3 else torch.from_numpy(image)
    if not isinstance(image, torch.Tensor) or image.ndim != 3 or image.shape[0] != 3:
        described = (
            f"shape {tuple(image.shape)}" if isinstance(image, torch.Tensor) else f"type {type(image).__name__}"
        )
        raise ValueError(
            f"`{name}` has to be a PIL image, an array of shape (height, width, 3) or a tensor of shape (3, height, "
            f"width), but is of {described}."
        )
    if image.dtype == torch.uint8:
        return image.float() / 255
    image = image.float()
    if not bool(torch.isfinite(image).all()) or image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"The values of `{name}` have to be from 0 to 1, but are from {image.min():.4g} to {image.max():.4g}."
        )
    return image


def resize_images(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resizes images of shape `(batch_size, 3, height, width)` and values from 0 to 1, bicubic with antialiasing."""
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, size=(height, width), mode="bicubic", antialias=True).clamp(0, 1)


@contextmanager
def upcast_vae(vae: ModelMixin) -> Iterator[torch.dtype]:
    """Runs a VAE that overflows in half precision in float32; gives the data type to compute in."""
    if vae.dtype != torch.float16 or not vae.config.force_upcast:
        yield vae.dtype
        return
    vae.to(dtype=torch.float32)
    try:
        yield torch.float32
    finally:
        vae.to(dtype=torch.float16)


def step_arguments(scheduler: SchedulerMixin, **kwargs) -> dict[str, Any]:
    """Those of the arguments that the scheduler's `step` takes."""
    accepted = inspect.signature(scheduler.step).parameters
    return {name: value for name, value in kwargs.items() if name in accepted}


# The signature of `callback_on_step_end`: pipeline, step, timestep, tensors by name; returns tensors to replace.
StepCallback = Callable[[DiffusionPipeline, int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor]]
