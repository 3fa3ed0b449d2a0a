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
"""Vector quantization with a codebook that follows its features by an exponential moving average."""

import torch
from torch import distributed, nn
from transformers.utils.generic import maybe_autocast


class VectorQuantizer(nn.Module):
    """
    Replaces each vector by the nearest of a codebook's unit vectors.

    The codebook is not trained by gradients. In training it starts from the k-means of its first batch; then each code
    moves towards the mean of the vectors that chose it, by an exponential moving average (van den Oord et al.,
    https://arxiv.org/abs/1711.00937, appendix A.1, on unit vectors); a code that hardly any vector chooses is replaced
    by a vector of the batch. With `torch.distributed` all processes keep the same codebook, made of all their vectors.

    Everything is computed in float32, whatever the precision of the vectors. A codebook that is to be trained must be
    in float32 itself, since a moving average in half precision stands still.

    Args:
        config:
            Configuration with `codebook_size`, `codebook_dim`, `codebook_decay` and `codebook_revival_threshold`.
    """

    # Lloyd's algorithm has all but converged by then, and the moving average goes on from there.
    kmeans_iterations = 10

    def __init__(self, config):
        super().__init__()
        self.codebook_size = config.codebook_size
        self.decay = config.codebook_decay
        self.revival_threshold = config.codebook_revival_threshold
        # A parameter, as every weight of the checkpoint, though it has no gradient.
        self.codebook = nn.Parameter(torch.zeros(config.codebook_size, config.codebook_dim), requires_grad=False)
        # Moving average of the number of vectors that choose each code in one step.
        self.cluster_size = nn.Buffer(torch.zeros(config.codebook_size))
        self.is_initialized = nn.Buffer(torch.zeros((), dtype=torch.bool))

    def forward(
        self,
        features: torch.Tensor | None = None,
        update_codebook: bool = False,
        indices: torch.LongTensor | None = None,
    ) -> tuple[torch.Tensor, torch.LongTensor, torch.Tensor | None]:
        """
        Quantizes vectors, or looks up the vectors of codes.

        Args:
            features (`torch.FloatTensor` of shape `(..., codebook_dim)`, *optional*):
                Vectors of any length; their direction is quantized.
            update_codebook (`bool`, defaults to `False`):
                Whether the codebook learns from these vectors.
            indices (`torch.LongTensor` of shape `(...)`, *optional*):
                Indices of codes to look up, in place of `features`.

        Returns:
            `tuple[torch.FloatTensor, torch.LongTensor, torch.FloatTensor]`: The codes' vectors, of shape
            `(..., codebook_dim)`; their indices, of shape `(...)`; the commitment loss, the mean squared distance
            between a component of the unit vectors and of their codes, or `None` for a look-up. Where
            `update_codebook` is set, the gradient of the vectors passes straight through to `features`.
        """
        if indices is not None:
            return self.codebook[indices], indices, None
        with maybe_autocast(features.device.type, enabled=False):
            unit_features = nn.functional.normalize(features.float(), dim=-1)
            flat_features = unit_features.detach().flatten(0, -2)
            if update_codebook and not self.is_initialized:
                self.start_from_kmeans(flat_features)
            indices = self._find_nearest(flat_features)
            # Detached: loading a checkpoint marks every parameter as one to be trained.
            quantized = self.codebook.detach()[indices].float().view(unit_features.shape)
            commitment_loss = nn.functional.mse_loss(unit_features, quantized)
            if update_codebook:
                self._update_codebook(flat_features, indices)
                quantized = unit_features + (quantized - unit_features).detach()
        return quantized.to(features.dtype), indices.view(features.shape[:-1]), commitment_loss

    @torch.no_grad()
    def start_from_kmeans(self, unit_features: torch.Tensor):
        """
        Makes a codebook of the k-means of vectors, in place of the one that training would start from its first batch. Of
        more vectors than a step has, every code counts as used until the moving average has forgotten them.

        Args:
            unit_features (`torch.FloatTensor` of shape `(num_vectors, codebook_dim)`): Unit vectors, of this process.
        """
        self.codebook.copy_(_sample(unit_features, self.codebook_size))
        for _ in range(self.kmeans_iterations):
            # Of many vectors, the distances to all codes at once would not fit into memory.
            nearest = torch.cat([self._find_nearest(part) for part in unit_features.split(8192)])
            counts, means = self._get_clusters(unit_features, nearest)
            self.codebook.copy_(torch.where((counts > 0)[:, None], means, self.codebook))
        self.cluster_size.copy_(counts)
        self.is_initialized.fill_(True)

    def code_usage(self, indices: torch.LongTensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        How much of the codebook a batch uses, on this process.

        Args:
            indices (`torch.LongTensor`): Indices of codes, of any shape.

        Returns:
            `tuple[torch.FloatTensor, torch.FloatTensor]`: The perplexity of the codes (1 … `codebook_size`) and the
            share of codes that occur (0 … 1).
        """
        counts = self._count(indices.flatten())
        probabilities = counts / counts.sum()
        perplexity = torch.exp(-torch.xlogy(probabilities, probabilities).sum())
        return perplexity, (counts > 0).float().mean()

    def _find_nearest(self, unit_features: torch.Tensor) -> torch.LongTensor:
        codebook = self.codebook.float()
        # |z - e|² without |z|², which is the same for all codes. |e|² is not quite 1 in a half-precision checkpoint.
        return torch.addmm(-codebook.square().sum(dim=-1), unit_features, codebook.t(), alpha=2).argmax(dim=-1)

    def _count(self, indices: torch.LongTensor) -> torch.Tensor:
        counts = torch.zeros(self.codebook_size, device=indices.device)
        return counts.scatter_add_(0, indices, torch.ones_like(indices, dtype=counts.dtype))

    def _get_clusters(self, unit_features: torch.Tensor, indices: torch.LongTensor):
        """Number and mean direction of the vectors of each code, over all processes."""
        counts = _sum_over_processes(self._count(indices))
        sums = torch.zeros_like(self.codebook, dtype=torch.float32).index_add_(0, indices, unit_features)
        return counts, nn.functional.normalize(_sum_over_processes(sums), dim=-1)

    @torch.no_grad()
    def _update_codebook(self, unit_features: torch.Tensor, indices: torch.LongTensor):
        counts, means = self._get_clusters(unit_features, indices)
        self.cluster_size.lerp_(counts.to(self.cluster_size), 1 - self.decay)
        moved = nn.functional.normalize(torch.lerp(self.codebook.float(), means, 1 - self.decay), dim=-1)
        codebook = torch.where((counts > 0)[:, None], moved, self.codebook)

        is_dead = self.cluster_size < self.revival_threshold
        # As many candidates as codes, so that the device need not tell the host how many are dead.
        candidates = _sample(unit_features, self.codebook_size)
        self.codebook.copy_(torch.where(is_dead[:, None], candidates, codebook))
        self.cluster_size.masked_fill_(is_dead, self.revival_threshold)


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    if _is_distributed():
        distributed.all_reduce(tensor)
    return tensor


def _sample(features: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Draws rows of all processes' features, without repetition where there are enough; the same on all processes."""
    num_processes = distributed.get_world_size() if _is_distributed() else 1
    share = -(-num_samples // num_processes)
    order = torch.randperm(features.shape[0], device=features.device)
    samples = features[order[torch.arange(share, device=features.device) % features.shape[0]]]
    if num_processes > 1:
        gathered = [torch.empty_like(samples) for _ in range(num_processes)]
        distributed.all_gather(gathered, samples)
        samples = torch.stack(gathered, dim=1).flatten(0, 1)
    return samples[:num_samples]


__all__ = ["VectorQuantizer"]
