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
Muon (https://kellerjordan.github.io/posts/muon/) for weight matrices and convolution kernels, beside AdamW for everything else.

`torch.optim.Muon` takes matrices alone, and computes in bfloat16, which is slow on CPUs that have no units for it.
"""

from collections.abc import Iterable

import torch
from torch import nn


# Of the Newton-Schulz iteration (Keller Jordan's post): the largest slope at 0.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
# Inputs and outputs of a network are no maps between features.
EXCLUDED = ("conv_in.", "conv_out.", "embed", "lm_head", "codebook")
MIN_SIDE = 8


class Muon(torch.optim.Optimizer):
    """
    Muon for the groups that say `muon=True`, AdamW for the others.

    A weight is seen as a matrix of shape (out, in), a kernel of shape (out, in, ...) as one of shape (out, in · ...). Its momentum is
    brought close to an orthogonal matrix, whose entries are scaled to the size that AdamW's updates have
    (https://arxiv.org/abs/2502.16982), so that learning rates compare.

    Args:
        params (`Iterable[dict]`): Groups of parameters, with `muon`.
        lr (`float`): Learning rate of groups that have none of their own.
        momentum (`float`, defaults to 0.95): Muon's, of Nesterov's kind.
        betas (`tuple[float, float]`, defaults to `(0.9, 0.99)`): AdamW's.
        eps (`float`, defaults to 1e-8): AdamW's.
        weight_decay (`float`, defaults to 0.0): Of both, times the learning rate.
    """

    def __init__(
        self,
        params: Iterable[dict],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "muon": False})

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, if there is one, gives the loss anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            (self._step_muon if group["muon"] else self._step_adamw)(group, parameters)
        return loss

    def _step_muon(self, group: dict, parameters: list[nn.Parameter]) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, torch.Tensor]]] = {}
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter.grad)
            state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
            matrix = parameter.grad.add(state["momentum"], alpha=group["momentum"]).flatten(1)
            by_shape.setdefault(tuple(matrix.shape), []).append((parameter, matrix))
        for shape, pairs in by_shape.items():
            updates = orthogonalize(torch.stack([matrix for _, matrix in pairs]))
            size = 0.2 * max(shape) ** 0.5 * group["lr"]
            for (parameter, _), update in zip(pairs, updates):
                parameter.add_(update.reshape(parameter.shape), alpha=-size)

    def _step_adamw(self, group: dict, parameters: list[nn.Parameter]) -> None:
        first, second = group["betas"]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
            state["mean"].lerp_(parameter.grad, 1 - first)
            state["square"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            root = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
            parameter.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - first ** state["step"]))


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """
    U Vᵀ of matrices U S Vᵀ, roughly: singular values come out between about 0.7 and 1.2.

    Args:
        matrices (`torch.Tensor` of shape (batch_size, rows, columns)): In float32.
    """
    a, b, c = COEFFICIENTS
    matrices = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    if is_tall:
        matrices = matrices.mT
    for _ in range(NUM_ITERATIONS):
        gram = matrices @ matrices.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        matrices = torch.baddbmm(matrices, polynomial, matrices, beta=a)
    return matrices.mT if is_tall else matrices


def parameter_groups(
    model: nn.Module, muon_learning_rate: float, learning_rate: float, weight_decay: float = 0.0
) -> list[dict]:
    """
    The trained parameters as groups for [`Muon`]: matrices and kernels with its learning rate, the rest with AdamW's. Biases and
    scales don't decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_map = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= MIN_SIDE
            uses_muon = is_map and not any(part in name for part in EXCLUDED)
            groups.setdefault((uses_muon, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "muon": uses_muon,
            "lr": muon_learning_rate if uses_muon else learning_rate,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (uses_muon, decays), parameters in groups.items()
    ]
