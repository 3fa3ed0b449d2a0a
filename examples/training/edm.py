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
The objective of the video detokenizer (Video-LaVIT, Eq. 3): EDM (Karras et al., https://arxiv.org/abs/2206.00364) with the
preconditioning of Stable Video Diffusion, which is v-prediction with the data's deviation taken as 1.
"""

import torch


def sample_sigmas(batch_size: int, mean: float, std: float, device: torch.device) -> torch.Tensor:
    """Noise levels whose logarithm is normal; published for the latents: mean 1.0, deviation 1.2."""
    return torch.exp(mean + std * torch.randn(batch_size, device=device))


def precondition(sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Scales that keep what goes into the network and what comes out of it of unit variance.

    Args:
        sigmas (`torch.Tensor` of shape (batch_size,)): Noise levels.

    Returns:
        `tuple` of c_skip = 1 / (σ² + 1), c_out = −σ / √(σ² + 1), c_in = 1 / √(σ² + 1) and c_noise = ln σ / 4, each of shape
        (batch_size,).
    """
    variance = sigmas.square() + 1
    return 1 / variance, -sigmas / variance.sqrt(), 1 / variance.sqrt(), sigmas.log() / 4


def edm_loss(denoised: torch.Tensor, latents: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """
    Mean of λ(σ) ‖D(x; σ) − x₀‖², with λ = (σ² + 1) / σ².

    Args:
        denoised (`torch.Tensor` of shape (batch_size, ...)): The network's estimate of the latents.
        latents (`torch.Tensor` of the same shape): The latents.
        sigmas (`torch.Tensor` of shape (batch_size,)): Noise levels.
    """
    weights = (sigmas.square() + 1) / sigmas.square()
    errors = (denoised.float() - latents.float()).square().flatten(1).mean(dim=1)
    return (weights * errors).mean()


def expand_as(values: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Values of shape (batch_size,) with as many dimensions as a tensor has."""
    return values.reshape(-1, *[1] * (tensor.ndim - 1))
