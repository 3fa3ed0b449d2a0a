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
The EDM objective of the video detokenizer (Video-LaVIT, arXiv 2402.03161, Eq. 3; Karras et al., arXiv 2206.00364), with the
preconditioning of Stable Video Diffusion: what a scheduler of prediction type `v_prediction` does at inference.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LogNormal:
    """
    Noise levels whose logarithm is normally distributed.

    Args:
        mean (`float`): Mean of ln σ.
        std (`float`): Standard deviation of ln σ.
    """

    mean: float
    std: float

    def __post_init__(self):
        if not self.std >= 0:
            raise ValueError(f"`std` of a noise distribution must not be negative, but is {self.std}.")

    def level(self, normal: torch.Tensor) -> torch.Tensor:
        """The noise level that belongs to a value drawn from the standard normal distribution."""
        return (self.mean + self.std * normal).exp()


@dataclass(frozen=True)
class EDMScalings:
    """
    The preconditioning D(x; σ) = `c_skip` x + `c_out` F(`c_in` x; `c_noise`) of a denoiser D by a network F, for data of unit
    variance. All are of the shape of σ.
    """

    c_skip: torch.Tensor
    c_out: torch.Tensor
    c_in: torch.Tensor
    c_noise: torch.Tensor


def edm_scalings(sigma: torch.Tensor) -> EDMScalings:
    """
    Stable Video Diffusion's preconditioning.

    Args:
        sigma (`torch.Tensor`): Noise levels, greater than 0.
    """
    variance = sigma.square() + 1
    return EDMScalings(
        c_skip=1 / variance, c_out=-sigma / variance.sqrt(), c_in=variance.rsqrt(), c_noise=sigma.log() / 4
    )


def expand_like(values: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """One value for each sample of a batch, of shape (batch_size,), in as many dimensions as `sample` has."""
    return values.reshape(-1, *[1] * (sample.ndim - 1))


def denoise(model_output: torch.Tensor, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """
    The denoised estimate D(x; σ).

    Args:
        model_output (`torch.Tensor` of shape (batch_size, ...)): F(c_in x; c_noise).
        noisy (`torch.Tensor` of shape (batch_size, ...)): x.
        sigma (`torch.Tensor` of shape (batch_size,)): σ.
    """
    scalings = edm_scalings(expand_like(sigma, noisy))
    return scalings.c_skip * noisy + scalings.c_out * model_output


def edm_losses(
    model_output: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor
) -> torch.Tensor:
    """
    The mean of λ(σ) (D(x; σ) - X₀)² of each sample, with x = X₀ + σ n and λ(σ) = (σ² + 1) / σ² (Eq. 3).

    Since λ(σ) = 1 / c_out², this is the squared error of the network's own output; so it is computed, because at small σ the
    difference of D and X₀ has few digits left.

    Args:
        model_output (`torch.Tensor` of shape (batch_size, ...)): F(c_in x; c_noise).
        clean (`torch.Tensor` of shape (batch_size, ...)): X₀.
        noise (`torch.Tensor` of shape (batch_size, ...)): n, of unit variance.
        sigma (`torch.Tensor` of shape (batch_size,)): σ.

    Returns:
        `torch.Tensor` of shape (batch_size,).
    """
    level = expand_like(sigma, clean)
    target = (noise - level * clean) / (level.square() + 1).sqrt()
    return (model_output - target).square().flatten(1).mean(dim=1)
