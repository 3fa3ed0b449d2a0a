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
"""The attention layer that the motion encoder and the keyframe token decoder share."""

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import nn


class VideoLaVITAttnProcessor:
    """Self-attention and cross-attention through diffusers' attention backends."""

    _attention_backend = None

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        query, key, value = (
            projected.unflatten(2, (attn.heads, -1))  # (batch, queries or keys, heads, head_dim)
            for projected in attn.project(hidden_states, encoder_hidden_states)
        )
        hidden_states = dispatch_attention_fn(
            query, key, value, attn_mask=attention_mask, backend=self._attention_backend
        )
        hidden_states = hidden_states.flatten(2, 3).to(query.dtype)
        hidden_states = attn.to_out[0](hidden_states)
        return attn.to_out[1](hidden_states)


class VideoLaVITAttention(nn.Module, AttentionModuleMixin):
    """
    Multi-head attention.

    Args:
        dim (`int`): Width of the queries.
        heads (`int`): Number of heads; divides `dim`.
        out_dim (`int`, *optional*, defaults to `dim`): Width of the output.
    """

    _default_processor_cls = VideoLaVITAttnProcessor
    _available_processors = [VideoLaVITAttnProcessor]
    # Where the queries and keys are of one sequence, they are fused from the start.
    _supports_qkv_fusion = False

    def __init__(self, dim: int, heads: int, out_dim: int | None = None):
        super().__init__()
        if dim % heads != 0:
            raise ValueError(f"The width {dim} is not divisible by the number of heads {heads}.")
        self.heads = heads
        self._add_projections(dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim if out_dim is None else out_dim), nn.Dropout(0.0)])
        self.set_processor(VideoLaVITAttnProcessor())

    def _add_projections(self, dim: int) -> None:
        self.to_q, self.to_k, self.to_v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def project(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries of `(batch_size, num_queries, dim)`, keys and values of `(batch_size, num_keys, dim)`."""
        if encoder_hidden_states is None:
            encoder_hidden_states = hidden_states
        return self.to_q(hidden_states), self.to_k(encoder_hidden_states), self.to_v(encoder_hidden_states)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, num_queries, dim)`): What asks.
            encoder_hidden_states (`torch.Tensor` of shape `(batch_size, num_keys, dim)`, *optional*):
                What is attended to; `hidden_states` themselves when it is not given.
            attention_mask (`torch.Tensor`, *optional*):
                Booleans broadcastable to `(batch_size, heads, num_queries, num_keys)`, `True` where a key takes part.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_queries, out_dim)`.
        """
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask)


class VideoLaVITSelfAttention(VideoLaVITAttention):
    """
    Multi-head self-attention, whose queries, keys and values are one layer's output, with the biases that the released
    weights have.

    Args:
        dim (`int`): Width of the queries.
        heads (`int`): Number of heads; divides `dim`.
        key_bias (`bool`, *optional*, defaults to `True`):
            Whether the keys have a bias. The motion encoder's have none: it would add the same number to every score of a
            query, which the softmax removes.
    """

    def __init__(self, dim: int, heads: int, key_bias: bool = True):
        self.key_bias = key_bias
        super().__init__(dim, heads)

    def _add_projections(self, dim: int) -> None:
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=self.key_bias)
        if not self.key_bias:
            self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def project(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values of `(batch_size, num_queries, dim)`; there are no `encoder_hidden_states`."""
        query, key, value = self.to_qkv(hidden_states).chunk(3, dim=-1)
        return (query, key, value) if self.key_bias else (query + self.q_bias, key, value + self.v_bias)
