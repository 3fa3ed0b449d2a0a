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
"""The U-Net of Video-LaVIT's video detokenizer (https://arxiv.org/abs/2402.03161, Section 3.2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.transformers.transformer_temporal import (
    TransformerSpatioTemporalModel,
    TransformerTemporalModelOutput,
)
from diffusers.models.unets.unet_3d_blocks import CrossAttnDownBlockSpatioTemporal, CrossAttnUpBlockSpatioTemporal
from diffusers.models.unets.unet_spatio_temporal_condition import (
    UNetSpatioTemporalConditionModel,
    UNetSpatioTemporalConditionOutput,
)
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from .single_file import SingleFileMixin


@dataclass
class MotionKeyValue:
    """
    Keys and values of one motion cross-attention.

    Args:
        key (`torch.Tensor`):
            Spatial: `(batch_size * num_frames, num_tokens, heads, head_dim)`. Temporal:
            `(batch_size, num_cells, num_frames, heads, head_dim)`, one row a cell of the motion map.
        value (`torch.Tensor`): As `key`.
        unconditional_output (`torch.Tensor` of shape `(channels,)`):
            What the attention gives, for any query, when the motion features are zero.
        positions (`torch.LongTensor` of shape `(height * width,)`, *optional*):
            Temporal only: the cell of each position of the U-Net level.
    """

    key: torch.Tensor
    value: torch.Tensor
    unconditional_output: torch.Tensor
    positions: torch.Tensor | None = None


@dataclass
class MotionContexts:
    """
    What [`UNetSpatioTemporalMotionConditionModel.precompute_motion_contexts`] returns.

    Args:
        layers (`dict[str, list[tuple[MotionKeyValue, MotionKeyValue]]]`):
            For every transformer of the U-Net, by its name, the spatial and the temporal keys and values of its blocks.
        num_unconditional (`int`): Number of leading samples of the batch whose motion features are zero.
        batch_size (`int`): Number of samples, the unconditional ones included.
        num_frames (`int`): Number of frames.
        height (`int`): Height of the latents.
        width (`int`): Width of the latents.
    """

    layers: dict[str, list[tuple[MotionKeyValue, MotionKeyValue]]]
    num_unconditional: int
    batch_size: int
    num_frames: int
    height: int
    width: int


class MotionAttnProcessor:
    """
    Attention through diffusers' attention backends, whose keys and values may have been computed before.

    In a cross-attention, `encoder_hidden_states` is a tensor or a [`MotionKeyValue`].
    """

    _attention_backend = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | MotionKeyValue | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if isinstance(encoder_hidden_states, MotionKeyValue):
            return self.attend_to_motion(attn, hidden_states, encoder_hidden_states)
        if encoder_hidden_states is None:
            encoder_hidden_states = hidden_states
        key = attn.to_k(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        return self.attend(attn, hidden_states, key, value, attention_mask)

    def attend(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of `hidden_states` to keys and values of shape `(rows, num_tokens, heads, head_dim)`."""
        query = attn.to_q(hidden_states).unflatten(2, (attn.heads, -1))
        hidden_states = dispatch_attention_fn(
            query, key, value, attn_mask=attention_mask, backend=self._attention_backend
        )
        hidden_states = hidden_states.flatten(2, 3).to(query.dtype)
        hidden_states = attn.to_out[0](hidden_states)
        return attn.to_out[1](hidden_states)

    def attend_to_motion(self, attn: Attention, hidden_states: torch.Tensor, motion: MotionKeyValue) -> torch.Tensor:
        """Attention to precomputed keys and values; the leading rows that have none are the unconditional ones."""
        key, value = motion.key, motion.value
        if motion.positions is not None:
            key = key.index_select(1, motion.positions).flatten(0, 1)  # (batch * height * width, frames, heads, ...)
            value = value.index_select(1, motion.positions).flatten(0, 1)
        num_rows, num_queries = hidden_states.shape[:2]
        num_unconditional = num_rows - key.shape[0]
        if num_unconditional == 0:
            return self.attend(attn, hidden_states, key, value)
        unconditional = motion.unconditional_output.expand(num_unconditional, num_queries, -1)
        conditional = self.attend(attn, hidden_states[num_unconditional:], key, value)
        return torch.cat([unconditional, conditional])


def _nearest_positions(source_size: tuple[int, int], size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Index into a map of `source_size`, in raster order, of each position of the map resized to `size`."""
    # Resizing the indices themselves rounds as resizing the features would, at every size.
    indices = torch.arange(source_size[0] * source_size[1], device=device).float().reshape(1, 1, *source_size)
    return F.interpolate(indices, size=size, mode="nearest").flatten().long()


class TransformerSpatioTemporalMotionModel(nn.Module):
    """
    The layers of a [`TransformerSpatioTemporalModel`], with a motion context for every frame and every position.

    Spatial cross-attention of a frame attends to all motion tokens of that frame; temporal cross-attention at a
    position attends to that position's motion tokens of all frames.

    Args:
        transformer (`TransformerSpatioTemporalModel`): The transformer whose layers are taken over.
        name (`str`): The name of this module in its U-Net, under which [`MotionContexts`] hold its keys and values.
        motion_size (`int`): Height and width of the map of motion tokens.
    """

    def __init__(self, transformer: TransformerSpatioTemporalModel, name: str, motion_size: int):
        super().__init__()
        self.name = name
        self.motion_size = motion_size
        self.norm = transformer.norm
        self.proj_in = transformer.proj_in
        self.transformer_blocks = transformer.transformer_blocks
        self.temporal_transformer_blocks = transformer.temporal_transformer_blocks
        self.time_pos_embed = transformer.time_pos_embed
        self.time_proj = transformer.time_proj
        self.time_mixer = transformer.time_mixer
        self.proj_out = transformer.proj_out

        self.gradient_checkpointing = False

    def precompute_motion_contexts(
        self, encoder_hidden_states: torch.Tensor, height: int, width: int
    ) -> list[tuple[MotionKeyValue, MotionKeyValue]]:
        """
        Computes the keys and values of both motion cross-attentions of every block.

        Args:
            encoder_hidden_states (`torch.Tensor` of shape `(batch_size, num_frames, motion_size ** 2, channels)`):
                The motion features.
            height (`int`): Height of the hidden states.
            width (`int`): Width of the hidden states.
        """
        device = encoder_hidden_states.device
        # Nearest resizing only repeats cells or leaves some out: project each cell that is used once, not each position.
        cells = (min(height, self.motion_size), min(width, self.motion_size))
        used = _nearest_positions((self.motion_size, self.motion_size), cells, device)
        positions = _nearest_positions(cells, (height, width), device)
        spatial_context = encoder_hidden_states.flatten(0, 1)  # (batch * frames, tokens, channels)
        temporal_context = encoder_hidden_states[:, :, used].transpose(1, 2)  # (batch, cells, frames, channels)
        return [
            (
                self._project(block.attn2, spatial_context),
                self._project(temporal_block.attn2, temporal_context, positions),
            )
            for block, temporal_block in zip(self.transformer_blocks, self.temporal_transformer_blocks)
        ]

    def _project(
        self, attn: Attention, context: torch.Tensor, positions: torch.Tensor | None = None
    ) -> MotionKeyValue:
        # Zero features give every token the same value, which is then the attention's result, whatever the scores.
        no_motion = context.new_zeros(context.shape[-1])
        return MotionKeyValue(
            key=attn.to_k(context).unflatten(-1, (attn.heads, -1)),
            value=attn.to_v(context).unflatten(-1, (attn.heads, -1)),
            unconditional_output=attn.to_out[0](attn.to_v(no_motion)),
            positions=positions,
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | MotionContexts,
        image_only_indicator: torch.Tensor,
        return_dict: bool = True,
    ) -> TransformerTemporalModelOutput | tuple[torch.Tensor]:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size * num_frames, channels, height, width)`):
                Input hidden states.
            encoder_hidden_states (`torch.Tensor` or [`MotionContexts`]):
                The motion features, of shape `(batch_size, num_frames, motion_size ** 2, channels)`, or what was
                computed from them.
            image_only_indicator (`torch.Tensor` of shape `(batch_size, num_frames)`):
                Not zero for inputs that are single images.
            return_dict (`bool`, *optional*, defaults to `True`):
                Whether to return a [`TransformerTemporalModelOutput`] instead of a plain tuple.
        """
        # 1. Input
        batch_size, num_frames = image_only_indicator.shape
        height, width = hidden_states.shape[-2:]

        if isinstance(encoder_hidden_states, MotionContexts):
            contexts = encoder_hidden_states.layers[self.name]
        else:
            map_size = (self.motion_size, self.motion_size)
            positions = _nearest_positions(map_size, (height, width), hidden_states.device)
            spatial_context = encoder_hidden_states.flatten(0, 1)  # (batch * frames, tokens, channels)
            temporal_context = encoder_hidden_states[:, :, positions].transpose(1, 2)
            temporal_context = temporal_context.flatten(0, 1)  # (batch * height * width, frames, channels)
            contexts = [(spatial_context, temporal_context)] * len(self.transformer_blocks)

        residual = hidden_states

        hidden_states = self.norm(hidden_states)
        hidden_states = hidden_states.flatten(2).transpose(1, 2)  # (batch * frames, height * width, channels)
        hidden_states = self.proj_in(hidden_states)

        frame_indices = torch.arange(num_frames, device=hidden_states.device).repeat(batch_size)
        frame_embeds = self.time_proj(frame_indices).to(hidden_states.dtype)  # sinusoids are computed in float32
        frame_embeds = self.time_pos_embed(frame_embeds)[:, None]

        # 2. Blocks
        for block, temporal_block, (spatial_context, temporal_context) in zip(
            self.transformer_blocks, self.temporal_transformer_blocks, contexts
        ):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, hidden_states, None, spatial_context)
                temporal_hidden_states = self._gradient_checkpointing_func(
                    temporal_block, hidden_states + frame_embeds, num_frames, temporal_context
                )
            else:
                hidden_states = block(hidden_states, encoder_hidden_states=spatial_context)
                temporal_hidden_states = temporal_block(
                    hidden_states + frame_embeds, num_frames=num_frames, encoder_hidden_states=temporal_context
                )
            hidden_states = self.time_mixer(
                x_spatial=hidden_states,
                x_temporal=temporal_hidden_states,
                image_only_indicator=image_only_indicator,
            )

        # 3. Output
        hidden_states = self.proj_out(hidden_states)
        hidden_states = hidden_states.transpose(1, 2).unflatten(2, (height, width)).contiguous()

        output = hidden_states + residual

        if not return_dict:
            return (output,)
        return TransformerTemporalModelOutput(sample=output)


class UNetSpatioTemporalMotionConditionModel(
    UNetSpatioTemporalConditionModel, PeftAdapterMixin, CacheMixin, SingleFileMixin
):
    """
    The spatio-temporal U-Net of Stable Video Diffusion, conditioned on a keyframe and on the motion of a clip.

    It differs from [`UNetSpatioTemporalConditionModel`] in its input, to which the motion field is concatenated, and in
    its cross-attentions: a frame attends to its own motion tokens, a position to its own motion tokens of all frames.
    The parameters have the same names.

    Args:
        motion_size (`int`, *optional*, defaults to 16):
            Height and width of the map of motion tokens: [`MotionConditionEncoder`]'s `sample_size`.

    All other arguments are those of [`UNetSpatioTemporalConditionModel`]; `in_channels` is 10 by default: the noisy
    latent (4), the keyframe's latent (4, the same for all frames) and the motion at the latent's resolution (2).

    Example:

    ```python
    >>> import torch
    >>> from diffusers_videolavit import UNetSpatioTemporalMotionConditionModel

    >>> unet = UNetSpatioTemporalMotionConditionModel(
    ...     down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    ...     up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    ...     block_out_channels=(32, 64),
    ...     num_attention_heads=(2, 4),
    ...     layers_per_block=1,
    ...     cross_attention_dim=16,
    ... ).eval()
    >>> sample = torch.randn(2, 24, 10, 8, 16)
    >>> motion_features = torch.cat([torch.zeros(1, 24, 256, 16), torch.randn(1, 24, 256, 16)])
    >>> added_time_ids = torch.tensor([[6.0, 127.0, 0.02]] * 2)
    >>> with torch.no_grad():
    ...     output = unet(sample, 1.5, motion_features, added_time_ids).sample
    ...     # In a denoising loop: what depends on the motion alone is computed once.
    ...     contexts = unet.precompute_motion_contexts(motion_features[1:], height=8, width=16, num_unconditional=1)
    ...     same_output = unet(sample, 1.5, None, added_time_ids, motion_contexts=contexts).sample
    >>> torch.allclose(output, same_output, atol=1e-4)
    True

    ```
    """

    _no_split_modules = [
        "TransformerSpatioTemporalMotionModel",
        "SpatioTemporalResBlock",
        "CrossAttnUpBlockSpatioTemporal",
        "UpBlockSpatioTemporal",
    ]
    _repeated_blocks = ["BasicTransformerBlock", "TemporalBasicTransformerBlock"]
    _skip_layerwise_casting_patterns = ["norm"]
    _single_file_prefix = "unet."

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 10,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlockSpatioTemporal",
            "CrossAttnDownBlockSpatioTemporal",
            "CrossAttnDownBlockSpatioTemporal",
            "DownBlockSpatioTemporal",
        ),
        up_block_types: tuple[str, ...] = (
            "UpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        num_frames: int = 24,
        motion_size: int = 16,
    ):
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            addition_time_embed_dim=addition_time_embed_dim,
            projection_class_embeddings_input_dim=projection_class_embeddings_input_dim,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            transformer_layers_per_block=transformer_layers_per_block,
            num_attention_heads=num_attention_heads,
            num_frames=num_frames,
        )
        for name, module in list(self.named_modules()):
            if isinstance(module, TransformerSpatioTemporalModel):
                attentions, index = name.rsplit(".", 1)
                transformer = TransformerSpatioTemporalMotionModel(module, name, motion_size)
                self.get_submodule(attentions)[int(index)] = transformer
        self.set_default_attn_processor()

    def set_default_attn_processor(self):
        """Sets the default attention processor, which takes precomputed keys and values, for all attentions."""
        self.set_attn_processor(MotionAttnProcessor())

    @apply_forward_hook
    def precompute_motion_contexts(
        self, encoder_hidden_states: torch.Tensor, height: int, width: int, num_unconditional: int = 0
    ) -> MotionContexts:
        """
        Computes once per generation what the cross-attentions need of the motion: keys, values and where they apply.

        Nothing is computed for unconditional samples: where the motion features are zero, a cross-attention gives the
        same vector for every query. Block-level group offloading brings the weights to the accelerator for `forward`
        only; with it, pass `encoder_hidden_states` there, or choose leaf-level offloading.

        Args:
            encoder_hidden_states (`torch.Tensor` of shape `(batch_size, num_frames, motion_size ** 2, channels)`):
                The motion features of the conditional samples.
            height (`int`): Height of the latents.
            width (`int`): Width of the latents.
            num_unconditional (`int`, *optional*, defaults to 0):
                Number of samples with motion features of zero that come before the conditional ones in the batch.

        Returns:
            [`MotionContexts`] for samples of shape
            `(num_unconditional + batch_size, num_frames, in_channels, height, width)`. They hold until the weights
            change, an adapter is set included.

        Raises:
            ValueError: If a shape or number is not as described, or an attention processor was set that does not take
                precomputed keys and values.
        """
        self._check_motion_features(encoder_hidden_states)
        if height < 1 or width < 1 or num_unconditional < 0:
            raise ValueError(
                f"`height` and `width` have to be positive and `num_unconditional` not negative, but they are {height}, "
                f"{width} and {num_unconditional}."
            )
        for name, processor in self.attn_processors.items():
            if name.endswith(".attn2.processor") and not isinstance(processor, MotionAttnProcessor):
                raise ValueError(
                    f"Precomputed contexts need the attention processor `MotionAttnProcessor`, but `{name}` is a "
                    f"`{type(processor).__name__}`; `set_default_attn_processor()` sets the former."
                )
        sizes = [(height, width)]
        for _ in self.down_blocks[1:]:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))  # as the strided convolutions round

        levels = [(block, size) for block, size in zip(self.down_blocks, sizes)]
        levels += [(self.mid_block, sizes[-1])]
        levels += [(block, size) for block, size in zip(self.up_blocks, reversed(sizes))]
        layers = {}
        for block, size in levels:
            for module in block.modules():
                if isinstance(module, TransformerSpatioTemporalMotionModel):
                    layers[module.name] = module.precompute_motion_contexts(encoder_hidden_states, *size)

        batch_size, num_frames = encoder_hidden_states.shape[:2]
        return MotionContexts(
            layers=layers,
            num_unconditional=num_unconditional,
            batch_size=num_unconditional + batch_size,
            num_frames=num_frames,
            height=height,
            width=width,
        )

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor | None,
        added_time_ids: torch.Tensor,
        return_dict: bool = True,
        motion_contexts: MotionContexts | None = None,
    ) -> UNetSpatioTemporalConditionOutput | tuple[torch.Tensor]:
        """
        Args:
            sample (`torch.Tensor` of shape `(batch_size, num_frames, in_channels, height, width)`):
                The noisy latents, the keyframe's latents and the motion, concatenated in this order.
            timestep (`torch.Tensor` or `float` or `int`):
                The timestep, one for all or one a sample. With the EDM preconditioning of the released weights it is
                `log(sigma) / 4`.
            encoder_hidden_states (`torch.Tensor` of shape `(batch_size, num_frames, motion_size ** 2, channels)`):
                The motion features; `None` when `motion_contexts` is given.
            added_time_ids (`torch.Tensor` of shape `(batch_size, num_ids)`):
                Frames per second, motion bucket and strength of the keyframe's noise.
            return_dict (`bool`, *optional*, defaults to `True`):
                Whether to return a [`UNetSpatioTemporalConditionOutput`] instead of a plain tuple.
            motion_contexts ([`MotionContexts`], *optional*):
                What [`~UNetSpatioTemporalMotionConditionModel.precompute_motion_contexts`] returned, used instead of
                `encoder_hidden_states`.

        Returns:
            [`UNetSpatioTemporalConditionOutput`] or `tuple` whose first element is the sample, of shape
            `(batch_size, num_frames, out_channels, height, width)`.

        Raises:
            ValueError: If the shapes do not fit together, or both or none of `encoder_hidden_states` and
                `motion_contexts` are given.
        """
        self._check_inputs(sample, encoder_hidden_states, added_time_ids, motion_contexts)
        batch_size, num_frames = sample.shape[:2]

        # 1. Time
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(batch_size)
        t_emb = self.time_proj(timesteps).to(sample.dtype)  # sinusoids are computed in float32
        time_embeds = self.add_time_proj(added_time_ids.flatten()).reshape(batch_size, -1).to(sample.dtype)
        emb = self.time_embedding(t_emb) + self.add_embedding(time_embeds)

        # 2. Flatten the batch and the frames
        sample = sample.flatten(0, 1)  # (batch * frames, channels, height, width)
        emb = emb.repeat_interleave(num_frames, dim=0, output_size=batch_size * num_frames)
        image_only_indicator = sample.new_zeros(batch_size, num_frames)
        if motion_contexts is not None:
            encoder_hidden_states = motion_contexts

        # 3. Down
        sample = self.conv_in(sample)
        down_block_res_samples = (sample,)
        for downsample_block in self.down_blocks:
            if isinstance(downsample_block, CrossAttnDownBlockSpatioTemporal):
                sample, res_samples = downsample_block(
                    hidden_states=sample,
                    temb=emb,
                    encoder_hidden_states=encoder_hidden_states,
                    image_only_indicator=image_only_indicator,
                )
            else:
                sample, res_samples = downsample_block(
                    hidden_states=sample, temb=emb, image_only_indicator=image_only_indicator
                )
            down_block_res_samples += res_samples

        # 4. Mid
        sample = self.mid_block(
            hidden_states=sample,
            temb=emb,
            encoder_hidden_states=encoder_hidden_states,
            image_only_indicator=image_only_indicator,
        )

        # 5. Up
        for upsample_block in self.up_blocks:
            res_samples = down_block_res_samples[-len(upsample_block.resnets) :]
            down_block_res_samples = down_block_res_samples[: -len(upsample_block.resnets)]
            # The size of the next level, which is not twice this one where a size was odd on the way down.
            upsample_size = down_block_res_samples[-1].shape[2:] if down_block_res_samples else None

            if isinstance(upsample_block, CrossAttnUpBlockSpatioTemporal):
                sample = upsample_block(
                    hidden_states=sample,
                    res_hidden_states_tuple=res_samples,
                    temb=emb,
                    encoder_hidden_states=encoder_hidden_states,
                    image_only_indicator=image_only_indicator,
                    upsample_size=upsample_size,
                )
            else:
                sample = upsample_block(
                    hidden_states=sample,
                    res_hidden_states_tuple=res_samples,
                    temb=emb,
                    image_only_indicator=image_only_indicator,
                    upsample_size=upsample_size,
                )

        # 6. Output
        sample = self.conv_out(self.conv_act(self.conv_norm_out(sample)))
        sample = sample.unflatten(0, (batch_size, num_frames))

        if not return_dict:
            return (sample,)
        return UNetSpatioTemporalConditionOutput(sample=sample)

    def _check_motion_features(self, encoder_hidden_states: torch.Tensor) -> None:
        num_tokens = self.config.motion_size**2
        if encoder_hidden_states.ndim != 4 or encoder_hidden_states.shape[2] != num_tokens:
            raise ValueError(
                f"`encoder_hidden_states` has to be of shape (batch_size, num_frames, {num_tokens}, channels), but is of "
                f"shape {tuple(encoder_hidden_states.shape)}."
            )

    def _check_inputs(
        self,
        sample: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None,
        added_time_ids: torch.Tensor,
        motion_contexts: MotionContexts | None,
    ) -> None:
        if sample.ndim != 5 or sample.shape[2] != self.config.in_channels:
            raise ValueError(
                f"`sample` has to be of shape (batch_size, num_frames, {self.config.in_channels}, height, width), but is "
                f"of shape {tuple(sample.shape)}."
            )
        if added_time_ids.shape[0] != sample.shape[0]:
            raise ValueError(
                f"`added_time_ids` has {added_time_ids.shape[0]} rows, but `sample` a batch size of {sample.shape[0]}."
            )
        if (encoder_hidden_states is None) == (motion_contexts is None):
            raise ValueError("Pass either `encoder_hidden_states` or `motion_contexts`.")
        if motion_contexts is None:
            self._check_motion_features(encoder_hidden_states)
            if encoder_hidden_states.shape[:2] != sample.shape[:2]:
                raise ValueError(
                    f"`encoder_hidden_states` is for (batch_size, num_frames) {tuple(encoder_hidden_states.shape[:2])}, "
                    f"but `sample` has {tuple(sample.shape[:2])}."
                )
            return
        expected = (
            motion_contexts.batch_size,
            motion_contexts.num_frames,
            motion_contexts.height,
            motion_contexts.width,
        )
        actual = (*sample.shape[:2], *sample.shape[-2:])
        if actual != expected:
            raise ValueError(
                f"`motion_contexts` are for (batch_size, num_frames, height, width) {expected}, but `sample` has {actual}."
            )
