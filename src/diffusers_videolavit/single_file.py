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
"""Loading a model from one weight file."""

from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders import FromOriginalModelMixin
from diffusers.loaders.single_file_utils import load_single_file_checkpoint


class SingleFileMixin(FromOriginalModelMixin):
    """
    Adds `from_single_file` to a model that diffusers does not know.

    `FromOriginalModelMixin` itself serves diffusers' own classes only.
    """

    # What precedes the names of this model's parameters in files that hold other models too.
    _single_file_prefix: str | None = None

    @classmethod
    def from_single_file(
        cls,
        pretrained_model_link_or_path_or_dict: str | dict[str, torch.Tensor],
        config: str | None = None,
        subfolder: str = "",
        torch_dtype: torch.dtype | None = None,
        revision: str | None = None,
        config_revision: str | None = None,
        cache_dir: str | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        disable_mmap: bool = False,
        **kwargs: Any,
    ):
        """
        Loads a model from a single `.safetensors` file, or a pickle that holds nothing but tensors.

        Args:
            pretrained_model_link_or_path_or_dict (`str` or `dict[str, torch.Tensor]`):
                A file, the URL of a file on the Hub, or its content.
            config (`str`, *optional*):
                Repository on the Hub or local folder with the model's `config.json`. Without it the sizes are the
                defaults, which are those of the released weights.
            subfolder (`str`, *optional*, defaults to `""`): Where in `config` the `config.json` is.
            torch_dtype (`torch.dtype`, *optional*): What the weights are cast to; the file's own by default.
            revision (`str`, *optional*): Revision of the file on the Hub.
            config_revision (`str`, *optional*): Revision of `config` on the Hub.
            cache_dir (`str`, *optional*): Where downloads are kept.
            force_download (`bool`, *optional*, defaults to `False`): Whether to download what is in the cache.
            local_files_only (`bool`, *optional*, defaults to `False`): Whether to refrain from downloading.
            token (`str` or `bool`, *optional*): Token for the Hub.
            disable_mmap (`bool`, *optional*, defaults to `False`): Whether to read the file instead of mapping it.
            **kwargs: Arguments of the model that replace those of the configuration.

        Returns:
            The model, in evaluation mode.

        Raises:
            ValueError: If the file lacks weights of the model, has others, or has them in other shapes.
        """
        if isinstance(pretrained_model_link_or_path_or_dict, dict):
            checkpoint = pretrained_model_link_or_path_or_dict
        else:
            checkpoint = load_single_file_checkpoint(
                pretrained_model_link_or_path_or_dict,
                force_download=force_download,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                token=token,
                revision=revision,
                disable_mmap=disable_mmap,
            )
        prefix = cls._single_file_prefix
        if prefix is not None and any(name.startswith(prefix) for name in checkpoint):
            checkpoint = {
                name.removeprefix(prefix): tensor for name, tensor in checkpoint.items() if name.startswith(prefix)
            }

        model_config = {}
        if config is not None:
            model_config = cls.load_config(
                config,
                subfolder=subfolder,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                revision=config_revision,
            )
        with init_empty_weights():
            model = cls.from_config(model_config, **kwargs)

        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
        found = {name: tensor.shape for name, tensor in checkpoint.items()}
        if expected != found:
            raise ValueError(
                f"The weights are not those of {cls.__name__}: missing {sorted(expected.keys() - found.keys())[:5]}, "
                f"unknown {sorted(found.keys() - expected.keys())[:5]}, in other shapes "
                f"{sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])[:5]}."
            )
        model.load_state_dict(checkpoint, assign=True)
        if torch_dtype is not None:
            model.to(torch_dtype)
        return model.eval()
