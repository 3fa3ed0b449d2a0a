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
"""Outputs of the pipelines."""

from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from diffusers.utils import BaseOutput


@dataclass
class VideoLaVITKeyframePipelineOutput(BaseOutput):
    """
    Output of [`VideoLaVITKeyframePipeline`].

    Args:
        images (`list[PIL.Image.Image]`, `np.ndarray` or `torch.Tensor`):
            PIL images, an array of shape `(batch_size, height, width, 3)` or a tensor of shape
            `(batch_size, 3, height, width)` with values from 0 to 1, or the latents.
    """

    images: list[PIL.Image.Image] | np.ndarray | torch.Tensor


@dataclass
class VideoLaVITDetokenizerPipelineOutput(BaseOutput):
    """
    Output of [`VideoLaVITDetokenizerPipeline`].

    Args:
        frames (`list[list[PIL.Image.Image]]`, `np.ndarray` or `torch.Tensor`):
            One list of PIL images a video, an array of shape `(batch_size, num_frames, height, width, 3)` or a tensor
            of shape `(batch_size, num_frames, 3, height, width)` with values from 0 to 1, or the latents, of shape
            `(batch_size, num_frames, 4, latent_height, latent_width)`.
    """

    frames: list[list[PIL.Image.Image]] | np.ndarray | torch.Tensor
