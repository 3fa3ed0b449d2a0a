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
"""What the models of Video-LaVIT share: their base class, self-attention and feed-forward layers."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring

from .configuration_videolavit import VideoLaVITConfig
from .vector_quantization import VectorQuantizer


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value).transpose(1, 2).contiguous()
    return attn_output, attn_weights


class VideoLaVITAttention(nn.Module):
    """Self-attention without a bias of the keys, which a softmax could not see (as in EVA and BEiT)."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.q_bias = nn.Parameter(torch.empty(config.hidden_size))
        self.v_bias = nn.Parameter(torch.empty(config.hidden_size))
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        head_shape = (*input_shape, self.num_heads, self.head_dim)
        query, key, value = self.qkv(hidden_states).chunk(3, dim=-1)
        query = (query + self.q_bias).view(head_shape).transpose(1, 2)
        key = key.view(head_shape).transpose(1, 2)
        value = (value + self.v_bias).view(head_shape).transpose(1, 2)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=0.0 if not self.training else self.attention_dropout,
            scaling=self.scaling,
            **kwargs,
        )
        attn_output = self.out_proj(attn_output.reshape(*input_shape, -1).contiguous())
        return attn_output, attn_weights


class VideoLaVITMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class VideoLaVITTanhProjection(nn.Module):
    """The two-layer head before a quantizer and after a decoder."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.fc1 = nn.Linear(in_features, in_features)
        self.activation_fn = nn.Tanh()
        self.fc2 = nn.Linear(in_features, out_features)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


@auto_docstring
class VideoLaVITPreTrainedModel(PreTrainedModel):
    config: VideoLaVITConfig
    base_model_prefix = "model"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def set_attn_implementation(self, attn_implementation: str | dict, allow_all_kernels: bool = False):
        """As of transformers; `"vision_config"` also names the image encoder inside the keyframe tokenizer."""
        if (
            isinstance(attn_implementation, dict)
            and "vision_config" in attn_implementation
            and isinstance(self.config, VideoLaVITConfig)
        ):
            # It is one object at both places, of which the library would visit the nested one last.
            tokenizer_config = self.config.keyframe_tokenizer_config
            nested = attn_implementation.get("keyframe_tokenizer_config", tokenizer_config._attn_implementation)
            nested = nested if isinstance(nested, dict) else {"": nested}
            nested = {"vision_config": attn_implementation["vision_config"], **nested}
            attn_implementation = {**attn_implementation, "keyframe_tokenizer_config": nested}
        super().set_attn_implementation(attn_implementation, allow_all_kernels=allow_all_kernels)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, VideoLaVITAttention):
            init.zeros_(module.q_bias)
            init.zeros_(module.v_bias)
        elif isinstance(module, VectorQuantizer):
            codes = torch.randn_like(module.codebook, dtype=torch.float32)
            init.copy_(module.codebook, nn.functional.normalize(codes, dim=-1))
            init.zeros_(module.cluster_size)
            init.zeros_(module.is_initialized)


__all__ = ["VideoLaVITPreTrainedModel"]
