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

`torch.optim.Muon` takes matrices alone, and orthogonalizes one at a time in bfloat16, which on CPUs without units for it is slow.
"""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.adamw import adamw


# Of the Newton-Schulz iteration (Keller Jordan's post): the largest slope at 0.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
# Kernels of 3 × 3 have many times more columns than rows: Gram matrices then take half the time. On squares they would only lose precision.
GRAM_RATIO = 4
# Inputs and outputs of a network are no maps between features.
EXCLUDED = ("conv_in.", "conv_out.", "embed", "lm_head", "codebook")
MIN_SIDE = 8


class MuonWithAuxAdam(torch.optim.Optimizer):
    """
    Muon for the groups with `use_muon`, AdamW for the others.

    A weight is seen as a matrix of shape (out, in), a kernel of shape (out, in, ...) as one of shape (out, in · ...). Its momentum is
    brought close to an orthogonal matrix, whose entries are scaled to the size that AdamW's updates have
    (https://arxiv.org/abs/2502.16982), so that learning rates compare.

    Args:
        params (`Iterable[dict]`): Groups of parameters, with `use_muon`.
        lr (`float`): Learning rate of groups that have none of their own.
        momentum (`float`, defaults to 0.95): Muon's, of Nesterov's kind.
        betas (`tuple[float, float]`, defaults to `(0.9, 0.999)`): AdamW's.
        eps (`float`, defaults to 1e-8): AdamW's.
        weight_decay (`float`, defaults to 0.0): Of both, times the learning rate.
    """

    def __init__(
        self,
        params: Iterable[dict],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "use_muon": False})

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, if there is one, gives the loss anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            (self._step_muon if group["use_muon"] else self._step_adamw)(group, parameters)
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
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-size)

    def _step_adamw(self, group: dict, parameters: list[nn.Parameter]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(
                    step=torch.tensor(0.0), mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter)
                )
        means, squares, steps = (
            [self.state[parameter][name] for parameter in parameters] for name in ("mean", "square", "step")
        )
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],
            means,
            squares,
            [],
            steps,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """
    U Vᵀ of matrices U S Vᵀ, roughly: singular values that are not tiny come near to 1.

    Args:
        matrices (`torch.Tensor` of shape (batch_size, rows, columns)): In float32.
    """
    a, b, c = COEFFICIENTS
    matrices = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    if is_tall:
        matrices = matrices.mT
    if matrices.shape[-1] >= GRAM_RATIO * matrices.shape[-2]:
        matrices = _iterate_on_gram(matrices) @ matrices
    else:
        for _ in range(NUM_ITERATIONS):
            gram = matrices @ matrices.mT
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            matrices = torch.baddbmm(matrices, polynomial, matrices, beta=a)
    return matrices.mT if is_tall else matrices


def _iterate_on_gram(matrices: torch.Tensor) -> torch.Tensor:
    """What the iteration multiplies wide matrices by, from their Gram matrices alone, which are smaller."""
    a, b, c = COEFFICIENTS
    gram = matrices @ matrices.mT
    factor = identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    for iteration in range(NUM_ITERATIONS):
        # Polynomials of one symmetric matrix: they commute.
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * identity
        factor = polynomial @ factor
        if iteration < NUM_ITERATIONS - 1:
            gram = polynomial @ gram @ polynomial
    return factor


def parameter_groups(
    model: nn.Module, muon_learning_rate: float, learning_rate: float, weight_decay: float = 0.0
) -> list[dict]:
    """
    The trained parameters as groups for [`MuonWithAuxAdam`]: matrices and kernels with its learning rate, the rest with AdamW's. Biases and
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
            "use_muon": uses_muon,
            "lr": muon_learning_rate if uses_muon else learning_rate,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (uses_muon, decays), parameters in groups.items()
    ]
