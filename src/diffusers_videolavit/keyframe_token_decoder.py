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
"""The decoder from visual codes to SDXL's conditions (https://arxiv.org/abs/2309.04669, Section 3.2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin, FeedForward
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import nn

from .attention import VideoLaVITAttention, VideoLaVITSelfAttention
from .single_file import SingleFileMixin


@dataclass
class KeyframeTokenDecoderOutput(BaseOutput):
    """
    The output of [`KeyframeTokenDecoder`].

    Args:
        prompt_embeds (`torch.Tensor` of shape `(batch_size, num_positions, sum(prompt_embed_dims))`):
            What takes the place of SDXL's prompt embeddings.
        pooled_prompt_embeds (`torch.Tensor` of shape `(batch_size, pooled_embed_dim)`):
            What takes the place of SDXL's pooled prompt embedding.
        features (`torch.Tensor` of shape `(batch_size, num_positions, out_channels)`):
            What both are made of: the image encoder's features of all patches, as far as the codes tell them (LaVIT,
            arXiv 2309.04669, equation 4).
    """

    prompt_embeds: torch.Tensor = None
    pooled_prompt_embeds: torch.Tensor = None
    features: torch.Tensor = None


class KeyframeTokenDecoderBlock(nn.Module):
    """Self-attention of the queries, cross-attention to the codes, and a feed-forward layer."""

    def __init__(self, dim: int, num_attention_heads: int, intermediate_size: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = VideoLaVITSelfAttention(dim, num_attention_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = VideoLaVITAttention(dim, num_attention_heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, inner_dim=intermediate_size, activation_fn="gelu")

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        hidden_states = hidden_states + self.attn1(self.norm1(hidden_states))
        hidden_states = hidden_states + self.attn2(
            self.norm2(hidden_states), encoder_hidden_states, encoder_attention_mask
        )
        return hidden_states + self.ff(self.norm3(hidden_states))


class KeyframeTokenPooling(nn.Module):
    """Attention of the mean of a sequence to this mean and the sequence (CLIP's attention pooling)."""

    def __init__(self, num_positions: int, dim: int, num_attention_heads: int, out_dim: int):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(num_positions + 1, dim) / dim**0.5)
        self.attn = VideoLaVITAttention(dim, num_attention_heads, out_dim=out_dim)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Maps `(batch_size, num_positions, dim)` to `(batch_size, out_dim)`."""
        hidden_states = torch.cat([hidden_states.mean(dim=1, keepdim=True), hidden_states], dim=1) + self.pos_embed
        return self.attn(hidden_states[:, :1], hidden_states).squeeze(1)


class KeyframeTokenDecoder(ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin, SingleFileMixin):
    """
    Decodes the visual codes of a keyframe to the prompt embeddings and the pooled embedding of an SDXL U-Net.

    The codebook travels with the decoder (as a buffer: the keyframe tokenizer trains it), so that integer codes are all
    that pixels need.

    Args:
        codebook_size (`int`, *optional*, defaults to 16384): Number of visual codes.
        codebook_dim (`int`, *optional*, defaults to 32): Width of a code.
        num_positions (`int`, *optional*, defaults to 256):
            Number of patches of a keyframe: the largest number of codes, and the number of queries.
        hidden_size (`int`, *optional*, defaults to 1408): Width of the blocks.
        intermediate_size (`int`, *optional*, defaults to 6144): Inner width of the feed-forward layers.
        num_layers (`int`, *optional*, defaults to 12): Number of blocks.
        num_attention_heads (`int`, *optional*, defaults to 16): Number of heads of every attention.
        out_channels (`int`, *optional*, defaults to 1408): Width of the decoded features.
        prompt_embed_dims (`tuple[int, int]`, *optional*, defaults to `(768, 1280)`):
            Widths of the two parts of the prompt embeddings (those of SDXL's two text encoders).
        pooled_embed_dim (`int`, *optional*, defaults to 1280): Width of the pooled embedding.

    Example:

    ```python
    >>> import torch
    >>> from diffusers_videolavit import KeyframeTokenDecoder

    >>> token_decoder = KeyframeTokenDecoder(hidden_size=32, intermediate_size=64, num_layers=2, out_channels=32)
    >>> output = token_decoder([torch.tensor([7, 4096, 12]), torch.tensor([5])])
    >>> output.prompt_embeds.shape, output.pooled_prompt_embeds.shape
    (torch.Size([2, 256, 2048]), torch.Size([2, 1280]))

    ```
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["KeyframeTokenDecoderBlock", "KeyframeTokenPooling"]
    _repeated_blocks = ["KeyframeTokenDecoderBlock"]
    _skip_layerwise_casting_patterns = ["pos_embed", "query_embed", "norm"]

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 16384,
        codebook_dim: int = 32,
        num_positions: int = 256,
        hidden_size: int = 1408,
        intermediate_size: int = 6144,
        num_layers: int = 12,
        num_attention_heads: int = 16,
        out_channels: int = 1408,
        prompt_embed_dims: tuple[int, int] = (768, 1280),
        pooled_embed_dim: int = 1280,
    ):
        super().__init__()
        self.register_buffer("codebook", F.normalize(torch.randn(codebook_size, codebook_dim), dim=-1))
        self.proj_in = nn.Linear(codebook_dim, hidden_size)
        self.pos_embed = nn.Parameter(torch.randn(1, num_positions, hidden_size) * 0.02)
        self.query_embed = nn.Parameter(torch.randn(1, num_positions, hidden_size) * 0.02)
        self.transformer_blocks = nn.ModuleList(
            [KeyframeTokenDecoderBlock(hidden_size, num_attention_heads, intermediate_size) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(hidden_size)
        self.proj_out_1 = nn.Linear(hidden_size, hidden_size)
        self.act_out = nn.Tanh()
        self.proj_out_2 = nn.Linear(hidden_size, out_channels)

        self.prompt_proj_1 = nn.Linear(out_channels, prompt_embed_dims[0])
        self.prompt_proj_2 = nn.Linear(out_channels, prompt_embed_dims[1])
        self.pooling = KeyframeTokenPooling(num_positions, out_channels, num_attention_heads, pooled_embed_dim)

        self.gradient_checkpointing = False

    def pad_codes(self, codes: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Pads the codes of several keyframes to one length.

        Args:
            codes (`list` of `torch.LongTensor` of shape `(num_codes,)`):
                Each keyframe's 1 to `num_positions` codes, each from 0 to `codebook_size - 1`.

        Returns:
            `tuple` of two `torch.Tensor` of shape `(batch_size, largest num_codes)` on the model's device: the codes,
            padded with code 0 on the right, and a mask that is `True` at the real ones.

        Raises:
            ValueError: If a keyframe has too few or too many codes, or a code is no integer or out of range.
        """
        if len(codes) == 0:
            raise ValueError("`codes` is empty: it has to hold the codes of at least one keyframe.")
        for i, frame_codes in enumerate(codes):
            if frame_codes.ndim != 1 or not 1 <= frame_codes.shape[0] <= self.config.num_positions:
                raise ValueError(
                    f"A keyframe has 1 to {self.config.num_positions} codes in one dimension, but `codes[{i}]` is of "
                    f"shape {tuple(frame_codes.shape)}."
                )
            if frame_codes.is_floating_point() or frame_codes.is_complex():
                raise ValueError(f"Visual codes are integers, but `codes[{i}]` is of type {frame_codes.dtype}.")
            lowest, highest = frame_codes.min().item(), frame_codes.max().item()
            if lowest < 0 or highest >= self.config.codebook_size:
                raise ValueError(
                    f"Visual codes are from 0 to {self.config.codebook_size - 1}, but `codes[{i}]` holds {lowest} to "
                    f"{highest}."
                )
        padded = nn.utils.rnn.pad_sequence([frame_codes.long() for frame_codes in codes], batch_first=True)
        num_codes = torch.tensor([frame_codes.shape[0] for frame_codes in codes], device=padded.device)
        mask = torch.arange(padded.shape[1], device=padded.device) < num_codes[:, None]
        return padded.to(self.device), mask.to(self.device)

    def forward(
        self,
        codes: torch.Tensor | list[torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> KeyframeTokenDecoderOutput | tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_codes)` or `list` of `torch.LongTensor`):
                Visual codes, from 0 to `codebook_size - 1`, in raster order of their patches. A list holds one
                one-dimensional tensor a keyframe, of different lengths if need be.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_codes)`, *optional*):
                `True` (or 1) at real codes, `False` at the padding on the right. Not with a list.
            return_dict (`bool`, *optional*, defaults to `True`):
                Whether to return a [`KeyframeTokenDecoderOutput`] instead of a plain tuple.

        Returns:
            [`KeyframeTokenDecoderOutput`] or `tuple` of the prompt embeddings, the pooled embedding and the features.

        Raises:
            ValueError: If `codes` or `attention_mask` do not have these shapes, or a list holds a code out of range.
        """
        if isinstance(codes, list):
            if attention_mask is not None:
                raise ValueError("`attention_mask` goes with padded `codes`, not with a list of them.")
            codes, attention_mask = self.pad_codes(codes)
        if codes.ndim != 2 or not 1 <= codes.shape[1] <= self.config.num_positions:
            raise ValueError(
                f"`codes` has to be of shape (batch_size, 1 to {self.config.num_positions}), but is of shape "
                f"{tuple(codes.shape)}."
            )
        if attention_mask is not None and attention_mask.shape != codes.shape:
            raise ValueError(
                f"`attention_mask` of shape {tuple(attention_mask.shape)} does not fit `codes` of shape "
                f"{tuple(codes.shape)}."
            )
        if attention_mask is not None:
            attention_mask = attention_mask[:, None, None, :].bool()  # the same for all heads and queries

        # Its rows have unit length as the tokenizer keeps them; normalising them again would move half-precision weights.
        embeds = F.embedding(codes, self.codebook).to(self.dtype)
        encoder_hidden_states = self.proj_in(embeds) + self.pos_embed[:, : codes.shape[1]]
        # A copy: a view of a parameter keeps requires_grad without gradients too, and the blocks would compile twice.
        hidden_states = self.query_embed.repeat(codes.shape[0], 1, 1)

        for block in self.transformer_blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(
                    block, hidden_states, encoder_hidden_states, attention_mask
                )
            else:
                hidden_states = block(hidden_states, encoder_hidden_states, attention_mask)

        features = self.proj_out_2(self.act_out(self.proj_out_1(self.norm_out(hidden_states))))

        prompt_embeds = torch.cat([self.prompt_proj_1(features), self.prompt_proj_2(features)], dim=-1)
        pooled_prompt_embeds = self.pooling(features)

        if not return_dict:
            return prompt_embeds, pooled_prompt_embeds, features
        return KeyframeTokenDecoderOutput(
            prompt_embeds=prompt_embeds, pooled_prompt_embeds=pooled_prompt_embeds, features=features
        )
