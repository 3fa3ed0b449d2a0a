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
"""The image encoder of Video-LaVIT: EVA-CLIP ViT-g/14 (https://arxiv.org/abs/2303.15389)."""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_videolavit import VideoLaVITVisionConfig
from .modeling_videolavit_base import VideoLaVITAttention, VideoLaVITMLP, VideoLaVITPreTrainedModel


class VideoLaVITVisionEmbeddings(nn.Module):
    def __init__(self, config: VideoLaVITVisionConfig):
        super().__init__()
        self.image_shape = (config.num_channels, config.image_size, config.image_size)
        self.class_embedding = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.position_embedding = nn.Parameter(torch.empty(1, config.num_patches + 1, config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != self.image_shape:
            raise ValueError(
                f"`pixel_values` must have the shape (images, {', '.join(map(str, self.image_shape))}), not "
                f"{tuple(pixel_values.shape)}."
            )
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))
        patches = patches.flatten(2).transpose(1, 2)  # (batch, patches, hidden)
        class_token = self.class_embedding.expand(patches.shape[0], -1, -1)
        return torch.cat((class_token.to(patches.dtype), patches), dim=1) + self.position_embedding


class VideoLaVITVisionLayer(GradientCheckpointingLayer):
    def __init__(self, config: VideoLaVITVisionConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = VideoLaVITAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VideoLaVITMLP(config)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        attn_output, _ = self.self_attn(self.layer_norm1(hidden_states), **kwargs)
        hidden_states = hidden_states + attn_output
        return hidden_states + self.mlp(self.layer_norm2(hidden_states))


@auto_docstring(
    custom_intro="""
    The EVA-CLIP ViT-g/14 image encoder. Video-LaVIT reads the output of its last layer, before the final norm.
    """
)
class VideoLaVITVisionModel(VideoLaVITPreTrainedModel):
    config: VideoLaVITVisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _input_embed_layer = "patch_embedding"
    _no_split_modules = ["VideoLaVITVisionEmbeddings", "VideoLaVITVisionLayer"]
    _can_record_outputs = {"hidden_states": VideoLaVITVisionLayer, "attentions": VideoLaVITAttention}

    def __init__(self, config: VideoLaVITVisionConfig):
        super().__init__(config)
        self.embeddings = VideoLaVITVisionEmbeddings(config)
        self.layers = nn.ModuleList([VideoLaVITVisionLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.projection_dim)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, VideoLaVITVisionEmbeddings):
            init.normal_(module.class_embedding, std=self.config.initializer_range)
            init.normal_(module.position_embedding, std=self.config.initializer_range)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`):
            Images, normalised with CLIP's mean and standard deviation.

        Returns:
            `last_hidden_state` of shape `(num_images, 1 + num_patches, hidden_size)` is the last layer's output before
            the final norm, class token first; `pooler_output` of shape `(num_images, projection_dim)` is the image in
            EVA-CLIP's image-text space.

        Example:

        ```python
        >>> import torch
        >>> from transformers_videolavit import VideoLaVITVisionConfig, VideoLaVITVisionModel

        >>> config = VideoLaVITVisionConfig(
        ...     hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56
        ... )
        >>> model = VideoLaVITVisionModel(config).eval()
        >>> model(torch.zeros(1, 3, 56, 56)).last_hidden_state.shape
        torch.Size([1, 17, 32])
        ```"""
        hidden_states = self.embeddings(pixel_values)
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        pooler_output = self.head(self.layernorm(hidden_states[:, 0]))
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=pooler_output)


__all__ = ["VideoLaVITVisionModel"]
