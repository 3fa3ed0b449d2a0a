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
"""The motion encoder of Video-LaVIT's video detokenizer (https://arxiv.org/abs/2402.03161, Section 3.2)."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin, FeedForward
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from .attention import VideoLaVITSelfAttention
from .single_file import SingleFileMixin


class MotionConditionEncoderBlock(nn.Module):
    """Attention among the positions of a frame, attention of a position over the frames, and a feed-forward layer."""

    def __init__(self, dim: int, num_attention_heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.spatial_attn = VideoLaVITSelfAttention(dim, num_attention_heads, key_bias=False)
        self.norm2 = nn.LayerNorm(dim)
        self.temporal_attn = VideoLaVITSelfAttention(dim, num_attention_heads, key_bias=False)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="gelu")

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Maps `(batch_size, num_frames, num_positions, dim)` to the same shape."""
        batch_size, num_frames = hidden_states.shape[:2]

        attn_output = self.spatial_attn(self.norm1(hidden_states).flatten(0, 1))  # (batch * frames, positions, dim)
        hidden_states = hidden_states + attn_output.unflatten(0, (batch_size, num_frames))

        norm_hidden_states = (
            self.norm2(hidden_states).transpose(1, 2).flatten(0, 1)
        )  # (batch * positions, frames, dim)
        attn_output = self.temporal_attn(norm_hidden_states)
        hidden_states = hidden_states + attn_output.unflatten(0, (batch_size, -1)).transpose(1, 2)

        return hidden_states + self.ff(self.norm3(hidden_states))


class MotionConditionEncoder(ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin, SingleFileMixin):
    """
    Encodes a clip's motion field for the cross-attentions of [`UNetSpatioTemporalMotionConditionModel`].

    Args:
        sample_size (`int`, *optional*, defaults to 16):
            Height and width of the grid to which the motion field is resized: the features have `sample_size ** 2`
            positions a frame.
        in_channels (`int`, *optional*, defaults to 2): Horizontal and vertical displacement.
        hidden_size (`int`, *optional*, defaults to 512): Width of the blocks.
        num_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 8): Number of heads of every attention.
        cross_attention_dim (`int`, *optional*, defaults to 1024): Width of the features.

    Example:

    ```python
    >>> import torch
    >>> from diffusers_videolavit import MotionConditionEncoder

    >>> motion_encoder = MotionConditionEncoder(hidden_size=32, num_layers=2, cross_attention_dim=16)
    >>> motion_encoder(torch.zeros(1, 2, 24, 40, 72)).shape
    torch.Size([1, 24, 256, 16])

    ```
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["MotionConditionEncoderBlock"]
    _repeated_blocks = ["MotionConditionEncoderBlock"]
    _skip_layerwise_casting_patterns = ["pos_embed", "norm"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        in_channels: int = 2,
        hidden_size: int = 512,
        num_layers: int = 12,
        num_attention_heads: int = 8,
        cross_attention_dim: int = 1024,
    ):
        super().__init__()
        self.proj_in = nn.Linear(in_channels, hidden_size)
        self.pos_embed = nn.Parameter(torch.randn(1, sample_size**2, hidden_size) * 0.02)
        self.transformer_blocks = nn.ModuleList(
            [MotionConditionEncoderBlock(hidden_size, num_attention_heads) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(hidden_size)
        self.proj_out = nn.Linear(hidden_size, cross_attention_dim)

        self.gradient_checkpointing = False

    def forward(self, motion: torch.Tensor) -> torch.Tensor:
        """
        Args:
            motion (`torch.Tensor` of shape `(batch_size, 2, num_frames, height, width)`):
                Displacements in units of their standard deviations, at any height and width; what
                `VideoLaVITMotionTokenizer.decode(codes, height, width)` returns.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_frames, sample_size ** 2, cross_attention_dim)`, positions in
            raster order.

        Raises:
            ValueError: If `motion` does not have this shape.
        """
        if motion.ndim != 5 or motion.shape[1] != self.config.in_channels:
            raise ValueError(
                f"`motion` has to be of shape (batch_size, {self.config.in_channels}, num_frames, height, width), but is "
                f"of shape {tuple(motion.shape)}."
            )
        batch_size, sample_size = motion.shape[0], self.config.sample_size

        hidden_states = motion.transpose(1, 2).flatten(0, 1)  # (batch * frames, 2, height, width)
        # The released weights were trained with a library version in which tensors were resized without antialiasing.
        hidden_states = F.interpolate(hidden_states, size=(sample_size, sample_size), mode="bicubic")
        hidden_states = hidden_states.flatten(2).transpose(1, 2)  # (batch * frames, positions, 2)
        hidden_states = self.proj_in(hidden_states.to(self.dtype)) + self.pos_embed
        hidden_states = hidden_states.unflatten(0, (batch_size, -1))  # (batch, frames, positions, hidden_size)

        for block in self.transformer_blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, hidden_states)
            else:
                hidden_states = block(hidden_states)

        return self.proj_out(self.norm_out(hidden_states))
