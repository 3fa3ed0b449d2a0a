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
        if encoder_hidden_states is None:
            encoder_hidden_states = hidden_states
        query = attn.to_q(hidden_states).unflatten(2, (attn.heads, -1))  # (batch, queries, heads, head_dim)
        key = attn.to_k(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))
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
        key_bias (`bool`, *optional*, defaults to `True`):
            Whether the key projection has a bias. The motion encoder has none: a bias of the keys adds the same number
            to every score of a query, which the softmax removes.
    """

    _default_processor_cls = VideoLaVITAttnProcessor
    _available_processors = [VideoLaVITAttnProcessor]
    # The fused layer would need a bias for the keys.
    _supports_qkv_fusion = False

    def __init__(self, dim: int, heads: int, out_dim: int | None = None, key_bias: bool = True):
        super().__init__()
        if dim % heads != 0:
            raise ValueError(f"The width {dim} is not divisible by the number of heads {heads}.")
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim, bias=key_bias)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim if out_dim is None else out_dim), nn.Dropout(0.0)])
        self.set_processor(VideoLaVITAttnProcessor())

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
