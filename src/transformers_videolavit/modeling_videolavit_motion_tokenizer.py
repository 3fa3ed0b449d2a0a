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
"""The motion tokenizer of Video-LaVIT: a spatio-temporal VQ-VAE (https://arxiv.org/abs/2402.03161, section 3.1)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_videolavit import VideoLaVITMotionTokenizerConfig
from .modeling_videolavit_base import (
    VideoLaVITAttention,
    VideoLaVITMLP,
    VideoLaVITPreTrainedModel,
    VideoLaVITTanhProjection,
)
from .vector_quantization import VectorQuantizer


@auto_docstring(custom_intro="Output of the motion tokenizer, with the parts of its training loss.")
@dataclass
class VideoLaVITMotionTokenizerOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`):
        Reconstruction loss plus weighted commitment loss.
    reconstruction (`torch.FloatTensor` of shape `(num_clips, num_channels, num_frames, motion_height, motion_width)`):
        Motion decoded from the codes, in the unit of the input.
    codes (`torch.LongTensor` of shape `(num_clips, num_motion_tokens)`):
        Motion codes in the order time, height, width.
    reconstruction_loss (`torch.FloatTensor` of shape `(1,)`):
        Mean squared error of the motion.
    commitment_loss (`torch.FloatTensor` of shape `(1,)`):
        Mean squared distance between normalised features and their codes.
    perplexity (`torch.FloatTensor` of shape `(1,)`):
        Perplexity of the codes of this batch, on this process.
    codebook_usage (`torch.FloatTensor` of shape `(1,)`):
        Share of the codebook that this batch uses, on this process.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The encoder's input and the outputs of the layers of encoder and decoder, each of shape
        `(num_clips, time, positions, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        Attention weights, spatial and temporal in turn for each layer of encoder and decoder. The batch of the spatial
        ones is clips times frames, that of the temporal ones clips times positions.
    """

    loss: torch.FloatTensor | None = None
    reconstruction: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None
    perplexity: torch.FloatTensor | None = None
    codebook_usage: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class VideoLaVITMotionLayer(GradientCheckpointingLayer):
    """Attention within each frame, then along time at each position, then a feed-forward layer."""

    def __init__(self, config: VideoLaVITMotionTokenizerConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.spatial_attn = VideoLaVITAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.temporal_attn = VideoLaVITAttention(config)
        self.layer_norm3 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VideoLaVITMLP(config)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        batch_size, num_frames, num_positions, _ = hidden_states.shape
        spatial = self.layer_norm1(hidden_states).flatten(0, 1)  # (batch * frames, positions, hidden)
        spatial, _ = self.spatial_attn(spatial, **kwargs)
        hidden_states = hidden_states + spatial.unflatten(0, (batch_size, num_frames))

        temporal = self.layer_norm2(hidden_states).transpose(1, 2).flatten(0, 1)  # (batch * positions, frames, hidden)
        temporal, _ = self.temporal_attn(temporal, **kwargs)
        hidden_states = hidden_states + temporal.unflatten(0, (batch_size, num_positions)).transpose(1, 2)

        return hidden_states + self.mlp(self.layer_norm3(hidden_states))


class VideoLaVITMotionDownsample(nn.Module):
    def __init__(self, config: VideoLaVITMotionTokenizerConfig, stride: tuple[int, int, int]):
        super().__init__()
        self.conv = nn.Conv3d(config.hidden_size, config.hidden_size, kernel_size=3, stride=tuple(stride))
        # Along a strided axis one zero behind, none in front, as in the reference: the grid halves exactly.
        # `pad` takes the axes from the last to the first.
        self.padding = [size for step in reversed(stride) for size in ((1, 1) if step == 1 else (0, 1))]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.pad(hidden_states, self.padding))


class VideoLaVITMotionUpsample(nn.Module):
    def __init__(self, config: VideoLaVITMotionTokenizerConfig, stride: tuple[int, int, int]):
        super().__init__()
        self.scale_factor = tuple(float(step) for step in stride)
        self.conv = nn.Conv3d(config.hidden_size, config.hidden_size, kernel_size=3, padding=1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.interpolate(hidden_states, scale_factor=self.scale_factor, mode="nearest"))


class VideoLaVITMotionEncoder(nn.Module):
    def __init__(self, config: VideoLaVITMotionTokenizerConfig):
        super().__init__()
        self.grid_size = (config.motion_height, config.motion_width)
        self.num_layers_per_stage = config.num_layers_per_stage
        num_layers = config.num_layers_per_stage * len(config.downsampling_strides)
        self.proj_in = nn.Linear(config.num_channels, config.hidden_size)
        self.spatial_position_embedding = nn.Parameter(
            torch.empty(1, config.motion_height * config.motion_width, config.hidden_size)
        )
        self.temporal_position_embedding = nn.Parameter(torch.empty(1, config.num_frames, config.hidden_size))
        self.layers = nn.ModuleList([VideoLaVITMotionLayer(config) for _ in range(num_layers)])
        self.downsamplers = nn.ModuleList(
            [VideoLaVITMotionDownsample(config, stride) for stride in config.downsampling_strides]
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, motion_vectors: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        motion_vectors = motion_vectors.to(self.spatial_position_embedding.dtype)
        hidden_states = self.proj_in(
            motion_vectors.flatten(3).permute(0, 2, 3, 1)
        )  # (batch, frames, positions, hidden)
        hidden_states = hidden_states + self.spatial_position_embedding[:, None]
        hidden_states = hidden_states + self.temporal_position_embedding[:, :, None]
        grid_size = self.grid_size
        for stage, downsampler in enumerate(self.downsamplers):
            first = stage * self.num_layers_per_stage
            for layer in self.layers[first : first + self.num_layers_per_stage]:
                hidden_states = layer(hidden_states, **kwargs)
            grid = hidden_states.permute(0, 3, 1, 2).unflatten(3, grid_size)  # (batch, hidden, time, height, width)
            grid = downsampler(grid)
            grid_size = grid.shape[-2:]
            hidden_states = grid.flatten(3).permute(0, 2, 3, 1)
        return self.layernorm(hidden_states).flatten(1, 2)


class VideoLaVITMotionDecoder(nn.Module):
    def __init__(self, config: VideoLaVITMotionTokenizerConfig):
        super().__init__()
        self.latent_shape = config.latent_shape
        self.num_layers_per_stage = config.num_layers_per_stage
        num_layers = config.num_layers_per_stage * len(config.downsampling_strides)
        self.proj_in = nn.Linear(config.codebook_dim, config.hidden_size)
        self.upsamplers = nn.ModuleList(
            [VideoLaVITMotionUpsample(config, stride) for stride in reversed(config.downsampling_strides)]
        )
        self.layers = nn.ModuleList([VideoLaVITMotionLayer(config) for _ in range(num_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, quantized: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        hidden_states = self.proj_in(quantized)
        grid = hidden_states.unflatten(1, self.latent_shape).permute(
            0, 4, 1, 2, 3
        )  # (batch, hidden, time, height, width)
        for stage, upsampler in enumerate(self.upsamplers):
            grid = upsampler(grid)
            hidden_states = grid.flatten(3).permute(0, 2, 3, 1)  # (batch, time, positions, hidden)
            first = stage * self.num_layers_per_stage
            for layer in self.layers[first : first + self.num_layers_per_stage]:
                hidden_states = layer(hidden_states, **kwargs)
            grid = hidden_states.permute(0, 3, 1, 2).unflatten(3, grid.shape[-2:])
        return self.layernorm(grid.permute(0, 2, 3, 4, 1))


@auto_docstring(
    custom_intro="""
    The motion tokenizer: turns the motion vectors of a clip into discrete motion tokens and back.
    """
)
class VideoLaVITMotionTokenizer(VideoLaVITPreTrainedModel):
    config: VideoLaVITMotionTokenizerConfig
    base_model_prefix = "motion_tokenizer"
    main_input_name = "motion_vectors"
    input_modalities = ("video",)
    _no_split_modules = ["VideoLaVITMotionLayer", "VideoLaVITMotionDownsample", "VideoLaVITMotionUpsample"]
    _can_record_outputs = {
        "hidden_states": OutputRecorder(VideoLaVITMotionLayer),
        "attentions": OutputRecorder(VideoLaVITAttention, index=1),
    }

    def __init__(self, config: VideoLaVITMotionTokenizerConfig):
        super().__init__(config)
        self.encoder = VideoLaVITMotionEncoder(config)
        self.encoder_projection = VideoLaVITTanhProjection(config.hidden_size, config.codebook_dim)
        self.quantizer = VectorQuantizer(config)
        self.decoder = VideoLaVITMotionDecoder(config)
        self.decoder_projection = VideoLaVITTanhProjection(config.hidden_size, config.num_channels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, VideoLaVITMotionEncoder):
            init.normal_(module.spatial_position_embedding, std=self.config.initializer_range)
            init.normal_(module.temporal_position_embedding, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.proj_in

    def set_input_embeddings(self, value: nn.Module):
        self.encoder.proj_in = value

    @torch.no_grad()
    def encode(self, motion_vectors: torch.FloatTensor) -> torch.LongTensor:
        """
        Tokenizes motion.

        Args:
            motion_vectors (`torch.FloatTensor` of shape `(num_clips, num_channels, num_frames, motion_height, motion_width)`):
                Motion vectors in tenths of their standard deviation, as the video processor returns them.

        Returns:
            `torch.LongTensor` of shape `(num_clips, num_motion_tokens)`: Motion codes, 0 … `codebook_size` - 1, in the
            order time, height, width.

        Raises:
            ValueError: If `motion_vectors` has another shape.

        Example:

        ```python
        >>> import torch
        >>> from transformers_videolavit import VideoLaVITMotionTokenizer, VideoLaVITMotionTokenizerConfig

        >>> config = VideoLaVITMotionTokenizerConfig(hidden_size=16, intermediate_size=32, num_attention_heads=2)
        >>> tokenizer = VideoLaVITMotionTokenizer(config).eval()
        >>> codes = tokenizer.encode(torch.zeros(1, 2, 24, 20, 36))
        >>> codes.shape
        torch.Size([1, 135])
        >>> tokenizer.decode(codes).shape
        torch.Size([1, 2, 24, 20, 36])
        ```"""
        self._check_motion_vectors(motion_vectors)
        _, codes, _ = self.quantizer(self.encoder_projection(self.encoder(motion_vectors)))
        return codes

    def decode(
        self, codes: torch.LongTensor, height: int | None = None, width: int | None = None
    ) -> torch.FloatTensor:
        """
        Decodes motion tokens.

        Args:
            codes (`torch.LongTensor` of shape `(num_clips, num_motion_tokens)`):
                Motion codes, 0 … `codebook_size` - 1.
            height (`int`, *optional*):
                Height to resize the motion to, bicubic. Goes with `width`.
            width (`int`, *optional*):
                Width to resize the motion to.

        Returns:
            `torch.FloatTensor` of shape `(num_clips, num_channels, num_frames, height, width)`: Motion vectors. At the
            tokenizer's own size, which is the default, in tenths of their standard deviation, like the input of
            `encode`; at a requested size in standard deviations, as the video detokenizer's motion encoder and U-Net
            take them, but not its pipeline, whose `motion_vectors` are in tenths.

        Raises:
            ValueError: If `codes` has another shape or type or a code out of range, or only one of `height` and `width`
                is given, or one is not positive.
        """
        num_tokens = self.config.num_motion_tokens
        if codes.ndim != 2 or codes.shape[1] != num_tokens or codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(
                f"`codes` must be integers of shape (clips, {num_tokens}), not {codes.dtype} of {tuple(codes.shape)}."
            )
        if codes.numel() > 0 and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook_size:
            raise ValueError(
                f"`codes` must be between 0 and {self.config.codebook_size - 1}, but they are between "
                f"{int(codes.min())} and {int(codes.max())}."
            )
        if (height is None) != (width is None) or (height is not None and min(height, width) < 1):
            raise ValueError(f"Pass `height` and `width`, both positive, or neither: got {height} and {width}.")
        quantized, _, _ = self.quantizer(indices=codes.long())
        motion_vectors = self._decode(quantized)
        if height is None:
            return motion_vectors
        frames = motion_vectors.transpose(1, 2).flatten(0, 1)  # (clips * frames, channels, height, width)
        frames = nn.functional.interpolate(frames.float(), size=(height, width), mode="bicubic", align_corners=False)
        frames = frames / self.config.motion_scale_factor
        return frames.to(motion_vectors.dtype).unflatten(0, (-1, self.config.num_frames)).transpose(1, 2)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring(
        custom_intro="""
        Encodes, quantizes and decodes motion. In training mode the codebook learns from the batch, and the loss trains
        everything else: mean squared error of the motion plus commitment loss.
        """
    )
    def forward(
        self, motion_vectors: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | VideoLaVITMotionTokenizerOutput:
        r"""
        motion_vectors (`torch.FloatTensor` of shape `(num_clips, num_channels, num_frames, motion_height, motion_width)`):
            Motion vectors in tenths of their standard deviation, as the video processor returns them.
        """
        self._check_motion_vectors(motion_vectors)
        features = self.encoder_projection(self.encoder(motion_vectors, **kwargs))
        quantized, codes, commitment_loss = self.quantizer(features, update_codebook=self.training)
        reconstruction = self._decode(quantized, **kwargs)
        reconstruction_loss = nn.functional.mse_loss(
            reconstruction.float(), motion_vectors.to(reconstruction.device, torch.float32)
        )
        perplexity, codebook_usage = self.quantizer.code_usage(codes)
        return VideoLaVITMotionTokenizerOutput(
            loss=reconstruction_loss + self.config.commitment_loss_weight * commitment_loss,
            reconstruction=reconstruction,
            codes=codes,
            reconstruction_loss=reconstruction_loss.detach(),
            commitment_loss=commitment_loss.detach(),
            perplexity=perplexity,
            codebook_usage=codebook_usage,
        )

    def _decode(self, quantized: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        hidden_states = self.decoder_projection(self.decoder(quantized, **kwargs))
        return hidden_states.permute(0, 4, 1, 2, 3)

    def _check_motion_vectors(self, motion_vectors: torch.Tensor):
        config = self.config
        shape = (config.num_channels, config.num_frames, config.motion_height, config.motion_width)
        if motion_vectors.ndim != 5 or tuple(motion_vectors.shape[1:]) != shape:
            raise ValueError(
                f"`motion_vectors` must have the shape (clips, {', '.join(map(str, shape))}), not "
                f"{tuple(motion_vectors.shape)}."
            )


__all__ = ["VideoLaVITMotionTokenizer", "VideoLaVITMotionTokenizerOutput"]
