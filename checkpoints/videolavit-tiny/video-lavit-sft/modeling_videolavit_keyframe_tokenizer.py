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
"""The keyframe tokenizer of Video-LaVIT: LaVIT's dynamic visual tokenizer (https://arxiv.org/abs/2309.04669, 3.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple, is_flash_attention_requested, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_videolavit import VideoLaVITKeyframeTokenizerConfig
from .modeling_videolavit_base import (
    VideoLaVITMLP,
    VideoLaVITPreTrainedModel,
    VideoLaVITTanhProjection,
    eager_attention_forward,
)
from .modeling_videolavit_vision import VideoLaVITVisionModel
from .vector_quantization import VectorQuantizer


@auto_docstring(custom_intro="The continuous visual tokens of a batch of images.")
@dataclass
class VideoLaVITKeyframeFeatures(ModelOutput):
    r"""
    features (`torch.FloatTensor` of shape `(total_kept, hidden_size)`):
        Merged features of the kept patches of all images, one image after another, in raster order.
    num_kept (`torch.LongTensor` of shape `(num_images,)`):
        Kept patches of each image, at least one.
    keep_mask (`torch.BoolTensor` of shape `(num_images, num_patches)`):
        `True` for kept patches.
    vision_last_hidden_state (`torch.FloatTensor` of shape `(num_images, 1 + num_patches, hidden_size)`):
        Output of the image encoder, class token first.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        Hidden states of the image encoder.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        Attention weights of the image encoder.
    """

    features: torch.FloatTensor | None = None
    num_kept: torch.LongTensor | None = None
    keep_mask: torch.BoolTensor | None = None
    vision_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@auto_docstring(custom_intro="Output of the keyframe tokenizer, with the parts of its training loss.")
@dataclass
class VideoLaVITKeyframeTokenizerOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned where the model has its decoder):
        Loss of stage-1 training (LaVIT, equation 4), plus the weighted commitment loss where features are quantized.
    last_hidden_state (`torch.FloatTensor` of shape `(num_images, num_patches, hidden_size)`):
        Merged features of the kept patches, zero at the dropped ones.
    keep_mask (`torch.BoolTensor` of shape `(num_images, num_patches)`):
        `True` for kept patches.
    codes (`torch.LongTensor` of shape `(num_images, num_patches)`, *optional*, returned where features are quantized):
        Visual codes of the kept patches, -1 at the dropped ones.
    reconstruction (`torch.FloatTensor` of shape `(num_images, num_patches, hidden_size)`, *optional*):
        The image encoder's features, reconstructed where the model has its decoder.
    reconstruction_loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned where the model has its decoder):
        1 - cosine similarity of features and reconstruction, averaged over patches (0 … 2).
    keep_rate_loss (`torch.FloatTensor` of shape `(1,)`):
        Squared difference between the share of kept patches and its target, averaged over images.
    keep_rate (`torch.FloatTensor` of shape `(1,)`):
        Share of kept patches.
    commitment_loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned where features are quantized):
        Mean squared distance between normalised features and their codes.
    perplexity (`torch.FloatTensor` of shape `(1,)`, *optional*, returned where features are quantized):
        Perplexity of the codes of this batch, on this process.
    codebook_usage (`torch.FloatTensor` of shape `(1,)`, *optional*, returned where features are quantized):
        Share of the codebook that this batch uses, on this process.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The merger's input and the outputs of its layers, of shape `(num_images, most_kept, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        Self-attention weights of the merger's layers.
    cross_attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        Attention weights of the merger's layers to the dropped patches.
    """

    loss: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    keep_mask: torch.BoolTensor | None = None
    codes: torch.LongTensor | None = None
    reconstruction: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    keep_rate_loss: torch.FloatTensor | None = None
    keep_rate: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None
    perplexity: torch.FloatTensor | None = None
    codebook_usage: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


def policy_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    policy: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Attention to the keys whose `policy` is 1, with a gradient for the policy of all keys, those at 0 included.

    No attention backend has this gradient, so it serves training of the selector alone. This is the masked softmax of
    the reference, which adds 1e-6 in all: a query with no key to attend to takes the mean of all values.
    """
    scores = torch.matmul(query, key.transpose(2, 3)).float() * scaling
    weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True).detach()) * policy
    epsilon = 1e-6
    weights = (weights + epsilon / key.shape[2]) / (weights.sum(dim=-1, keepdim=True) + epsilon)
    weights = nn.functional.dropout(weights.to(query.dtype), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class VideoLaVITKeyframeSelfAttention(nn.Module):
    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig, is_causal: bool):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = is_causal
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, is_policy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        query, key, value = (
            states.view(*input_shape, self.num_heads, self.head_dim).transpose(1, 2)
            for states in self.qkv(hidden_states).chunk(3, dim=-1)
        )
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        if is_policy:
            attention_interface = policy_attention_forward
        attn_output, attn_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=0.0 if not self.training else self.attention_dropout,
            scaling=self.scaling,
        )
        return self.out_proj(attn_output.reshape(*input_shape, -1).contiguous()), attn_weights


class VideoLaVITKeyframeCrossAttention(nn.Module):
    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden_states: torch.Tensor, memory: torch.Tensor, attention_mask: torch.Tensor | None, is_policy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        memory_shape = (*memory.shape[:-1], self.num_heads, self.head_dim)
        query = self.q_proj(hidden_states).view(*input_shape, self.num_heads, self.head_dim).transpose(1, 2)
        key = self.k_proj(memory).view(memory_shape).transpose(1, 2)
        value = self.v_proj(memory).view(memory_shape).transpose(1, 2)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        kwargs = {}
        if is_policy:
            attention_interface = policy_attention_forward
        elif is_flash_attention_requested(self.config) and attention_mask is not None:
            # The library unpads queries by the mask of the keys, as if both were one sequence: unpad the keys here.
            is_key = attention_mask.bool()
            key, value = (states.transpose(1, 2)[is_key][None].transpose(1, 2) for states in (key, value))
            num_keys = is_key.sum(dim=1, dtype=torch.int32)
            kwargs = {
                "cu_seq_lens_q": torch.arange(query.shape[0] + 1, dtype=torch.int32, device=query.device)
                * query.shape[2],
                "cu_seq_lens_k": nn.functional.pad(num_keys.cumsum(0, dtype=torch.int32), (1, 0)),
                "max_length_q": query.shape[2],
                "max_length_k": attention_mask.shape[1],
            }
            attention_mask = None
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
        return self.out_proj(attn_output.reshape(*input_shape, -1).contiguous()), attn_weights


class VideoLaVITKeyframeLayer(GradientCheckpointingLayer):
    """Self-attention, cross-attention to a memory and a feed-forward layer, with the norms in front."""

    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig, is_causal: bool):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = VideoLaVITKeyframeSelfAttention(config, is_causal)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.cross_attn = VideoLaVITKeyframeCrossAttention(config)
        self.layer_norm3 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VideoLaVITMLP(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor,
        attention_mask: torch.Tensor | None,
        memory_mask: torch.Tensor | None,
        is_policy: bool,
    ) -> torch.Tensor:
        # Of the decoder, whose self-attention is never restricted, only the memory's mask can be a policy.
        attn_output, _ = self.self_attn(
            self.layer_norm1(hidden_states), attention_mask, is_policy and attention_mask is not None
        )
        hidden_states = hidden_states + attn_output
        attn_output, _ = self.cross_attn(self.layer_norm2(hidden_states), memory, memory_mask, is_policy)
        hidden_states = hidden_states + attn_output
        return hidden_states + self.mlp(self.layer_norm3(hidden_states))


class VideoLaVITPatchSelector(nn.Module):
    """Scores each patch by itself and by the mean over the image. Class 0 keeps, class 1 drops."""

    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig):
        super().__init__()
        hidden_size = config.hidden_size
        self.layer_norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.proj_in = nn.Linear(hidden_size, hidden_size)
        self.fc1 = nn.Linear(hidden_size, hidden_size // 2)
        self.fc2 = nn.Linear(hidden_size // 2, hidden_size // 4)
        self.fc3 = nn.Linear(hidden_size // 4, 2)
        self.activation_fn = ACT2FN[config.hidden_act]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden_states = self.activation_fn(self.proj_in(self.layer_norm(features)))
        local_features, global_features = hidden_states.chunk(2, dim=-1)
        global_features = global_features.mean(dim=1, keepdim=True).expand_as(local_features)
        hidden_states = torch.cat((local_features, global_features), dim=-1)
        hidden_states = self.activation_fn(self.fc1(hidden_states))
        hidden_states = self.activation_fn(self.fc2(hidden_states))
        return nn.functional.log_softmax(self.fc3(hidden_states), dim=-1, dtype=torch.float32)


class VideoLaVITPatchMerger(nn.Module):
    """Compresses the dropped patches, the memory, into the kept ones."""

    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig):
        super().__init__()
        self.memory_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(
            [VideoLaVITKeyframeLayer(config, is_causal=True) for _ in range(config.num_hidden_layers)]
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states, memory, attention_mask, memory_mask, is_policy: bool = False) -> torch.Tensor:
        for layer in self.layers:
            hidden_states = layer(hidden_states, memory, attention_mask, memory_mask, is_policy=is_policy)
        return self.layernorm(hidden_states)


class VideoLaVITFeatureDecoder(nn.Module):
    """Reconstructs the image encoder's features from the tokens of the kept patches; used in stage-1 training alone."""

    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig):
        super().__init__()
        num_patches = config.vision_config.num_patches
        self.proj_in = nn.Linear(config.codebook_dim, config.hidden_size)
        self.position_embedding = nn.Parameter(torch.empty(num_patches, config.hidden_size))
        self.query_embedding = nn.Parameter(torch.empty(1, num_patches, config.hidden_size))
        self.layers = nn.ModuleList(
            [VideoLaVITKeyframeLayer(config, is_causal=False) for _ in range(config.decoder_num_hidden_layers)]
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.projection = VideoLaVITTanhProjection(config.hidden_size, config.hidden_size)

    def forward(self, tokens, position_ids, memory_mask, is_policy: bool = False) -> torch.Tensor:
        memory = self.proj_in(tokens) + self.position_embedding[position_ids]
        hidden_states = self.query_embedding.expand(tokens.shape[0], -1, -1)
        for layer in self.layers:
            hidden_states = layer(hidden_states, memory, None, memory_mask, is_policy=is_policy)
        return self.projection(self.layernorm(hidden_states))


@auto_docstring(
    custom_intro="""
    The keyframe tokenizer: an image encoder, a selector that keeps the patches worth a token, a merger that compresses
    the other patches into them, and a quantizer. The image encoder is frozen.
    """
)
class VideoLaVITKeyframeTokenizer(VideoLaVITPreTrainedModel):
    config: VideoLaVITKeyframeTokenizerConfig
    base_model_prefix = "keyframe_tokenizer"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["VideoLaVITPatchSelector", "VideoLaVITKeyframeLayer"]
    _can_record_outputs = {
        "hidden_states": OutputRecorder(VideoLaVITKeyframeLayer, layer_name="merger"),
        "attentions": OutputRecorder(VideoLaVITKeyframeSelfAttention, index=1, layer_name="merger"),
        "cross_attentions": OutputRecorder(VideoLaVITKeyframeCrossAttention, index=1, layer_name="merger"),
    }

    def __init__(self, config: VideoLaVITKeyframeTokenizerConfig):
        super().__init__(config)
        self.vision_model = VideoLaVITVisionModel(config.vision_config).requires_grad_(False)
        self.selector = VideoLaVITPatchSelector(config)
        self.merger = VideoLaVITPatchMerger(config)
        self.encoder_projection = VideoLaVITTanhProjection(config.hidden_size, config.codebook_dim)
        self.quantizer = VectorQuantizer(config)
        # CODEPATH: the released checkpoints come without the decoder of stage-1 training.
        self.decoder = VideoLaVITFeatureDecoder(config) if config.decoder_num_hidden_layers > 0 else None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, VideoLaVITFeatureDecoder):
            init.normal_(module.position_embedding, std=self.config.initializer_range)
            init.normal_(module.query_embedding, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        self.vision_model.set_input_embeddings(value)

    @can_return_tuple
    def select_and_merge(
        self,
        pixel_values: torch.FloatTensor,
        do_sample: bool = False,
        generator: torch.Generator | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> VideoLaVITKeyframeFeatures:
        """
        Computes the continuous visual tokens of images: features of the kept patches, with the others merged into them.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`):
                Images, normalised with CLIP's mean and standard deviation.
            do_sample (`bool`, defaults to `False`):
                Whether each patch is kept with its probability, as in training, or where that is at least one half. An
                image of which no patch would be kept keeps its best-scoring patch.
            generator (`torch.Generator`, *optional*):
                Random numbers for `do_sample`.

        Returns:
            [`VideoLaVITKeyframeFeatures`]

        Raises:
            ValueError: If `pixel_values` has another shape.
        """
        outputs = self._encode_images(pixel_values, **kwargs)
        features = outputs.last_hidden_state[:, 1:]
        keep_mask = self._select(features, do_sample, generator)
        merged, is_kept, _ = self.merge_kept(features, keep_mask)
        return VideoLaVITKeyframeFeatures(
            features=merged[is_kept],
            num_kept=is_kept.sum(dim=1),
            keep_mask=keep_mask.to(merged.device),
            vision_last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def get_features(
        self, pixel_values: torch.FloatTensor, do_sample: bool = False, generator: torch.Generator | None = None
    ) -> list[torch.FloatTensor]:
        """
        The continuous visual tokens of images, for understanding.

        Args: as of [`~VideoLaVITKeyframeTokenizer.select_and_merge`].

        Returns:
            `list[torch.FloatTensor]`: For each image a tensor of shape `(num_kept, hidden_size)`.
        """
        outputs = self.select_and_merge(pixel_values, do_sample=do_sample, generator=generator, return_dict=True)
        return list(outputs.features.split(outputs.num_kept.tolist()))

    @torch.no_grad()
    def encode(
        self, pixel_values: torch.FloatTensor, do_sample: bool = False, generator: torch.Generator | None = None
    ) -> list[torch.LongTensor]:
        """
        The discrete visual tokens of images.

        Args: as of [`~VideoLaVITKeyframeTokenizer.select_and_merge`].

        Returns:
            `list[torch.LongTensor]`: For each image the codes of its kept patches in raster order, 0 …
            `codebook_size` - 1, of shape `(num_kept,)`.

        Example:

        ```python
        >>> import torch
        >>> from transformers_videolavit import VideoLaVITKeyframeTokenizer, VideoLaVITKeyframeTokenizerConfig

        >>> sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> config = VideoLaVITKeyframeTokenizerConfig(
        ...     vision_config={**sizes, "image_size": 56}, num_hidden_layers=2, num_attention_heads=2
        ... )
        >>> tokenizer = VideoLaVITKeyframeTokenizer(config).eval()
        >>> codes = tokenizer.encode(torch.randn(2, 3, 56, 56))
        >>> len(codes), bool(codes[0].max() < 16384)
        (2, True)
        ```"""
        outputs = self.select_and_merge(pixel_values, do_sample=do_sample, generator=generator, return_dict=True)
        _, codes, _ = self.quantizer(self.encoder_projection(outputs.features))
        return list(codes.split(outputs.num_kept.tolist()))

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring(
        custom_intro="""
        Tokenizes images and, where the model has its decoder (`decoder_num_hidden_layers > 0`), reconstructs the image
        encoder's features from the tokens (LaVIT, equation 4). Stage-1 training runs it in training mode, in two phases:
        first without quantization, in which the selector learns to keep a third of the patches by hard straight-through
        Gumbel-softmax decisions; then with quantization, in which the selector gets no gradient and goes on sampling its
        decisions, and the codebook follows the features. In evaluation mode a patch is kept where that is more probable.
        """
    )
    def forward(
        self, pixel_values: torch.FloatTensor, quantize: bool = True, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | VideoLaVITKeyframeTokenizerOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`):
            Images, normalised with CLIP's mean and standard deviation.
        quantize (`bool`, *optional*, defaults to `True`):
            Whether the features are quantized (the second phase of training) or stay continuous (the first).

        Raises:
            ValueError: If `pixel_values` has another shape, or a model without decoder is in training mode.
        """
        if self.training and self.config.decoder_num_hidden_layers == 0:
            raise ValueError("The model has no decoder to train with: its `decoder_num_hidden_layers` is 0.")
        features = self._encode_images(pixel_values).last_hidden_state[:, 1:]
        is_policy = self.training and not quantize
        if is_policy:
            policy = self._sample_policy(features)
            keep_mask = is_kept = policy > 0.5
            merged, position_ids = self._merge_all(features, policy)
        else:
            keep_mask = self._select(features, do_sample=self.training)
            policy = keep_mask.float()
            merged, is_kept, position_ids = self.merge_kept(features, keep_mask)

        tokens = self.encoder_projection(merged)
        codes = commitment_loss = perplexity = codebook_usage = None
        if quantize:
            quantized, packed_codes, commitment_loss = self.quantizer(tokens[is_kept], update_codebook=self.training)
            perplexity, codebook_usage = self.quantizer.code_usage(packed_codes)
            codes = torch.full_like(keep_mask, -1, dtype=torch.long).masked_scatter(keep_mask, packed_codes)
            tokens = torch.zeros_like(tokens).masked_scatter(is_kept[..., None], quantized)
        else:
            tokens = nn.functional.normalize(tokens, dim=-1)

        keep_rate = policy.mean(dim=1)
        keep_rate_loss = (keep_rate - self.config.keep_rate).square().mean()
        loss = reconstruction = reconstruction_loss = None
        # CODEPATH: the released checkpoints come without the decoder of stage-1 training.
        if self.decoder is not None:
            if is_policy:
                memory_mask = policy[:, None, None]
            else:
                memory_mask = create_bidirectional_mask(self.config, features, is_kept, encoder_hidden_states=merged)
            reconstruction = self.decoder(tokens, position_ids, memory_mask, is_policy=is_policy)
            similarity = nn.functional.cosine_similarity(reconstruction.float(), features.float(), dim=-1)
            reconstruction_loss = 1 - similarity.mean()
            loss = reconstruction_loss + self.config.keep_rate_loss_weight * keep_rate_loss
            if quantize:
                loss = loss + self.config.commitment_loss_weight * commitment_loss

        last_hidden_state = torch.zeros_like(features).masked_scatter(
            keep_mask[..., None], merged[is_kept].to(features.dtype)
        )
        return VideoLaVITKeyframeTokenizerOutput(
            loss=loss,
            last_hidden_state=last_hidden_state,
            keep_mask=keep_mask,
            codes=codes,
            reconstruction=reconstruction,
            reconstruction_loss=reconstruction_loss,
            keep_rate_loss=keep_rate_loss,
            keep_rate=keep_rate.mean(),
            commitment_loss=commitment_loss,
            perplexity=perplexity,
            codebook_usage=codebook_usage,
        )

    @torch.no_grad()
    def _encode_images(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]):
        return self.vision_model(pixel_values, return_dict=True, **kwargs)

    @torch.no_grad()
    def _select(
        self, features: torch.Tensor, do_sample: bool = False, generator: torch.Generator | None = None
    ) -> torch.BoolTensor:
        keep_scores, drop_scores = self.selector(features).unbind(dim=-1)
        if do_sample:
            device = keep_scores.device if generator is None else generator.device
            uniform = torch.rand(keep_scores.shape, generator=generator, device=device)
            keep_mask = uniform.to(keep_scores.device) < keep_scores.exp()
        else:
            keep_mask = keep_scores >= drop_scores
        return keep_mask | _best_where_none(keep_mask, keep_scores)

    def _sample_policy(self, features: torch.Tensor) -> torch.Tensor:
        log_probabilities = self.selector(features)
        policy = nn.functional.gumbel_softmax(log_probabilities, tau=self.config.gumbel_temperature, hard=True)[..., 0]
        return policy + _best_where_none(policy > 0.5, log_probabilities[..., 0]).to(policy.dtype)

    def merge_kept(
        self, features: torch.Tensor, keep_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Merges the dropped patches into the kept ones, for decisions made elsewhere. The merger computes the rows of kept
        patches alone, which no other row influences: equal to all rows, up to 1e-6 in the softmax of the reference.

        Args:
            features (`torch.FloatTensor` of shape `(num_images, num_patches, hidden_size)`):
                The image encoder's features, without the class token.
            keep_mask (`torch.BoolTensor` of shape `(num_images, num_patches)`):
                `True` for kept patches, at least one in each image.

        Returns:
            `tuple[torch.FloatTensor, torch.BoolTensor, torch.LongTensor]`: Merged features of shape `(num_images,
            most_kept, hidden_size)`, padded on the right; the mask that tells them from the padding, and their places
            among the kept patches, both of shape `(num_images, most_kept)`.
        """
        keep_mask = keep_mask.to(features.device)
        num_patches = keep_mask.shape[1]
        num_kept = keep_mask.sum(dim=1, keepdim=True)
        num_dropped = num_patches - num_kept
        # The kept patches in raster order, then the dropped ones.
        order = keep_mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        position_ids = torch.arange(num_patches, device=features.device).expand_as(order)

        kept = _gather(features, order[:, : int(num_kept.amax())])
        is_kept = position_ids[:, : kept.shape[1]] < num_kept
        # Padding stands behind the kept patches of an image, so that a causal mask hides it.
        attention_mask = create_causal_mask(self.config, kept, attention_mask=None, past_key_values=None)

        memory = self.merger.memory_layernorm(features)
        dropped = _gather(memory, order.flip(1)[:, : max(int(num_dropped.amax()), 1)])
        is_dropped = position_ids[:, : dropped.shape[1]] < num_dropped.clamp(min=1)
        # With no key to attend to, the reference's softmax takes the mean of all values: attend to the mean instead.
        dropped = torch.where(num_dropped[..., None] == 0, memory.mean(dim=1, keepdim=True), dropped)
        memory_mask = create_bidirectional_mask(self.config, kept, is_dropped, encoder_hidden_states=dropped)
        merged = self.merger(kept, dropped, attention_mask, memory_mask)
        return merged, is_kept.to(merged.device), position_ids[:, : kept.shape[1]]

    def _merge_all(self, features: torch.Tensor, policy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs the merger on all rows, with a gradient for every decision of the selector."""
        keep = (policy > 0.5).long()
        policy = policy[:, None, None]  # (batch, heads, queries, patches)
        before = torch.ones(features.shape[1], features.shape[1], device=policy.device).tril(diagonal=-1)
        attention_policy = policy * before + torch.eye(features.shape[1], device=policy.device)
        merged = self.merger(
            features, self.merger.memory_layernorm(features), attention_policy, 1 - policy, is_policy=True
        )
        # A token's position is its place among the kept ones.
        return merged, keep.cumsum(dim=1) - keep


def _gather(hidden_states: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return hidden_states.gather(1, indices[..., None].expand(-1, -1, hidden_states.shape[-1]))


def _best_where_none(keep_mask: torch.Tensor, scores: torch.Tensor) -> torch.BoolTensor:
    """The best-scoring patch of images of which no patch is kept."""
    is_best = torch.zeros_like(keep_mask).scatter(1, scores.argmax(dim=1, keepdim=True), True)
    return is_best & ~keep_mask.any(dim=1, keepdim=True)


__all__ = ["VideoLaVITKeyframeFeatures", "VideoLaVITKeyframeTokenizer", "VideoLaVITKeyframeTokenizerOutput"]
