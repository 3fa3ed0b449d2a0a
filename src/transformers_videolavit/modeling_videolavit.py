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

"""Video-LaVIT: a LLaMA over text, visual and motion tokens (https://arxiv.org/abs/2402.03161)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, ModelOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults

from .configuration_videolavit import VideoLaVITConfig
from .generation_videolavit import VideoLaVITGenerationMixin
from .modeling_videolavit_base import VideoLaVITPreTrainedModel
from .modeling_videolavit_keyframe_tokenizer import VideoLaVITKeyframeTokenizer
from .modeling_videolavit_motion_tokenizer import VideoLaVITMotionTokenizer


@auto_docstring(custom_intro="Features of images or videos, ready to stand in for their placeholders.")
@dataclass
class VideoLaVITFeaturesOutput(BaseModelOutputWithPooling):
    r"""
    pooler_output (`list[torch.Tensor]`):
        One tensor of shape `(num_kept_tokens, hidden_size)` for each image or video: the embeddings of its kept patches,
        and for each clip of a video also those of its motion tokens.
    keep_mask (`list[torch.Tensor]`):
        One boolean tensor of shape `(num_placeholders,)` for each image or video. `True` where the placeholder has a
        row in `pooler_output`, `False` for the patches that the selector drops.
    """

    pooler_output: list[torch.Tensor] | None = None
    keep_mask: list[torch.Tensor] | None = None


@auto_docstring(custom_intro="Inputs of the language model after the placeholders of dropped patches have left it.")
@dataclass
class VideoLaVITPackedInputs(ModelOutput):
    r"""
    inputs_embeds (`torch.FloatTensor` of shape `(batch_size, packed_length, hidden_size)`):
        Embeddings of the kept tokens of each sequence, left-padded.
    attention_mask (`torch.Tensor`, *optional*):
        Attention mask over the cached and the packed tokens. `None` where nothing is masked.
    position_ids (`torch.LongTensor` of shape `(batch_size, packed_length)`, *optional*):
        Positions of the packed tokens.
    packed_indices (`torch.LongTensor` of shape `(batch_size, packed_length)`, *optional*):
        Where each packed token stood in the sequence given. `None` where no token was dropped.
    source_indices (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
        For each token given, its place among the packed ones; for a dropped one, the place of the last kept token
        before it.
    keep_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*):
        `True` for the tokens that the language model reads.
    image_hidden_states (`torch.FloatTensor` of shape `(num_kept_tokens, hidden_size)`, *optional*):
        Features of all images.
    video_hidden_states (`torch.FloatTensor` of shape `(num_kept_tokens, hidden_size)`, *optional*):
        Features of all videos.
    """

    inputs_embeds: torch.FloatTensor | None = None
    attention_mask: torch.Tensor | None = None
    position_ids: torch.LongTensor | None = None
    packed_indices: torch.LongTensor | None = None
    source_indices: torch.LongTensor | None = None
    keep_mask: torch.BoolTensor | None = None
    image_hidden_states: torch.FloatTensor | None = None
    video_hidden_states: torch.FloatTensor | None = None


@auto_docstring(custom_intro="Base class for Video-LaVIT outputs, with hidden states and attentions.")
@dataclass
class VideoLaVITModelOutputWithPast(BaseModelOutputWithPast):
    r"""
    past_key_values (`Cache`, *optional*, returned when `use_cache=True` is passed or when `config.use_cache=True`):
        The key-value cache. It holds the kept tokens only, so it can be shorter than the input.
    attention_mask (`torch.Tensor`, *optional*):
        Attention mask over the entries of `past_key_values`, returned where dropped patches made it shorter than the
        one given. Extend this one, by hand or through `generate`, to continue from the cache.
    image_hidden_states (`torch.FloatTensor` of shape `(num_kept_tokens, hidden_size)`, *optional*):
        Features of all images of the batch.
    video_hidden_states (`torch.FloatTensor` of shape `(num_kept_tokens, hidden_size)`, *optional*):
        Features of all videos of the batch.
    """

    attention_mask: torch.Tensor | None = None
    image_hidden_states: torch.FloatTensor | None = None
    video_hidden_states: torch.FloatTensor | None = None


@auto_docstring(custom_intro="Base class for Video-LaVIT causal language model outputs.")
@dataclass
class VideoLaVITCausalLMOutputWithPast(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        Next-token prediction loss.
    logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
        Scores of each vocabulary token. The row of a dropped patch repeats that of the last kept token before it, which
        is what predicts the next kept token.
    past_key_values (`Cache`, *optional*, returned when `use_cache=True` is passed or when `config.use_cache=True`):
        The key-value cache. It holds the kept tokens only, so it can be shorter than the input.
    attention_mask (`torch.Tensor`, *optional*):
        Attention mask over the entries of `past_key_values`, returned where dropped patches made it shorter than the
        one given. Extend this one to continue from the cache by hand.
    image_hidden_states (`torch.FloatTensor` of shape `(num_kept_tokens, hidden_size)`, *optional*):
        Features of all images of the batch.
    video_hidden_states (`torch.FloatTensor` of shape `(num_kept_tokens, hidden_size)`, *optional*):
        Features of all videos of the batch.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor] | None = None
    attentions: tuple[torch.FloatTensor] | None = None
    attention_mask: torch.Tensor | None = None
    image_hidden_states: torch.FloatTensor | None = None
    video_hidden_states: torch.FloatTensor | None = None


def pack_left(keep_mask: torch.BoolTensor) -> tuple[torch.LongTensor, torch.BoolTensor]:
    """
    Packs the kept tokens of each sequence, in their order, to the right end of the shortest possible batch.

    Args:
        keep_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`): The tokens to keep.

    Returns:
        `tuple[torch.LongTensor, torch.BoolTensor]`: The indices of the tokens to gather and the mask that tells them
        from the padding on the left, both of shape `(batch_size, packed_length)`.
    """
    packed_length = int(keep_mask.sum(dim=1).max())
    # A stable sort by the flag moves the kept tokens to the right without changing their order.
    indices = keep_mask.to(torch.uint8).argsort(dim=1, stable=True)[:, keep_mask.shape[1] - packed_length :]
    return indices, keep_mask.gather(1, indices)


@auto_docstring(
    custom_intro="The Video-LaVIT model: keyframe tokenizer, motion tokenizer and a LLaMA, without the language head."
)
class VideoLaVITModel(VideoLaVITPreTrainedModel):
    config: VideoLaVITConfig
    base_model_prefix = "model"
    # Which code is the nearest is a matter of small differences: no quantization, and no half precision of few digits.
    _keep_in_fp32_modules = ["keyframe_tokenizer", "motion_tokenizer", "multi_modal_projector"]

    def __init__(self, config: VideoLaVITConfig):
        super().__init__(config)
        # Overrides such as `from_pretrained(..., vision_config={...})` replace the object at the top only.
        config.keyframe_tokenizer_config.vision_config = config.vision_config
        self.keyframe_tokenizer = VideoLaVITKeyframeTokenizer(config.keyframe_tokenizer_config)
        self.motion_tokenizer = VideoLaVITMotionTokenizer(config.motion_tokenizer_config)
        self.multi_modal_projector = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    @property
    def dtype(self) -> torch.dtype:
        """The language model's data type, whatever that of the tokenizers."""
        return self.language_model.dtype

    @property
    def vision_model(self) -> nn.Module:
        """The image encoder, a part of the keyframe tokenizer."""
        return self.keyframe_tokenizer.vision_model

    def _get_keyframe_embeddings(self, pixel_values: torch.Tensor, **kwargs):
        features = self.keyframe_tokenizer.select_and_merge(pixel_values, **kwargs)
        embeddings = self.multi_modal_projector(features.features)
        return features, torch.split(embeddings, features.num_kept.tolist())

    @can_return_tuple
    @auto_docstring(
        custom_intro="The continuous visual tokens of images (LaVIT, section 3.1): merged features of the kept patches, "
        "projected to the language model's width."
    )
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | VideoLaVITFeaturesOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`):
            Normalised images.
        """
        features, embeddings = self._get_keyframe_embeddings(pixel_values, **kwargs)
        return VideoLaVITFeaturesOutput(
            last_hidden_state=features.vision_last_hidden_state,
            pooler_output=list(embeddings),
            hidden_states=features.hidden_states,
            attentions=features.attentions,
            keep_mask=list(features.keep_mask),
        )

    @can_return_tuple
    @auto_docstring(
        custom_intro="The embeddings of videos: for each clip the continuous visual tokens of its keyframe and the "
        "embeddings of its discrete motion tokens."
    )
    def get_video_features(
        self,
        pixel_values_videos: torch.FloatTensor,
        motion_vectors: torch.FloatTensor | None = None,
        num_clips: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | VideoLaVITFeaturesOutput:
        r"""
        pixel_values_videos (`torch.FloatTensor` of shape `(total_clips, num_channels, image_size, image_size)`):
            Normalised keyframes of the clips of all videos.
        motion_vectors (`torch.FloatTensor` of shape `(total_clips, 2, num_frames, motion_height, motion_width)`):
            Motion of the clips, in tenths of its standard deviation.
        num_clips (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Clips of each video; by default all clips are one video's.
        """
        total_clips = pixel_values_videos.shape[0]
        if motion_vectors is None or motion_vectors.shape[0] != total_clips:
            given = "none" if motion_vectors is None else motion_vectors.shape[0]
            raise ValueError(
                f"Every clip has a keyframe and its motion: got {total_clips} keyframes in `pixel_values_videos` and "
                f"{given} clips in `motion_vectors`."
            )
        clips_per_video = [total_clips] if num_clips is None else torch.as_tensor(num_clips).reshape(-1).tolist()
        if sum(clips_per_video) != total_clips:
            raise ValueError(
                f"`num_clips` {clips_per_video} sums to {sum(clips_per_video)} clips, but `pixel_values_videos` has "
                f"{total_clips}."
            )
        features, keyframe_embeddings = self._get_keyframe_embeddings(pixel_values_videos, **kwargs)
        motion_ids = self.motion_tokenizer.encode(motion_vectors) + self.config.motion_code_offset
        motion_embeddings = self.get_input_embeddings()(motion_ids).to(features.features.device)
        clip_embeddings = [torch.cat(clip) for clip in zip(keyframe_embeddings, motion_embeddings)]
        keep_mask = nn.functional.pad(features.keep_mask, (0, motion_ids.shape[1]), value=True)
        first_clips = [sum(clips_per_video[:video]) for video in range(len(clips_per_video))]
        videos = [slice(first, first + clips) for first, clips in zip(first_clips, clips_per_video)]
        return VideoLaVITFeaturesOutput(
            last_hidden_state=features.vision_last_hidden_state,
            pooler_output=[torch.cat(clip_embeddings[video]) for video in videos],
            hidden_states=features.hidden_states,
            attentions=features.attentions,
            keep_mask=[keep_mask[video].flatten() for video in videos],
        )

    def get_placeholder_mask(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.FloatTensor,
        token_id: int,
        num_features: int | None = None,
        modality: str = "image",
    ) -> torch.BoolTensor:
        """
        Finds the placeholders of a modality, from `inputs_embeds` where `input_ids` is `None`.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): Token ids.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`): Embeddings.
            token_id (`int`): The placeholder's token id.
            num_features (`int`, *optional*): Placeholders that the features were computed for.
            modality (`str`, defaults to `"image"`): Name of the modality in the error message.

        Returns:
            `torch.BoolTensor` of shape `(batch_size, sequence_length)`.

        Raises:
            ValueError: If the number of placeholders is not `num_features`.
        """
        if input_ids is None:
            placeholder = torch.full((), token_id, dtype=torch.long, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(placeholder)).all(-1)
        else:
            mask = input_ids == token_id
        num_tokens = int(mask.sum())
        if num_features is not None and num_tokens != num_features:
            raise ValueError(
                f"{modality.capitalize()} features and {modality} tokens do not match: tokens: {num_tokens}, features: "
                f"{num_features}."
            )
        return mask

    def pack_inputs(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_length: int = 0,
        inputs_embeds: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_values_videos: torch.FloatTensor | None = None,
        motion_vectors: torch.FloatTensor | None = None,
        num_clips: torch.LongTensor | None = None,
        mm_encoder_outputs: dict[str, VideoLaVITFeaturesOutput] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> VideoLaVITPackedInputs:
        """
        Embeds a batch, puts the features of images and videos in the place of their placeholders and removes the
        placeholders of dropped patches, so that they cost the language model nothing.

        Takes the arguments of `forward`, with the length of the cache in `past_length`.

        Returns:
            [`VideoLaVITPackedInputs`]: The inputs unchanged where the batch has no image and no video.

        Raises:
            ValueError: If placeholders and features do not match, or the attention mask has another length than the
                sequence and its cache.
        """
        if pixel_values_videos is None and motion_vectors is not None:
            raise ValueError(
                "`motion_vectors` come without the keyframes of their clips: `pixel_values_videos` is None."
            )
        if (pixel_values is not None or pixel_values_videos is not None) and mm_encoder_outputs:
            raise ValueError("Pass either pixel values or `mm_encoder_outputs`, not both.")
        features = dict(mm_encoder_outputs) if mm_encoder_outputs is not None else {}
        if pixel_values is not None:
            features["image"] = self.get_image_features(pixel_values, return_dict=True)
        if pixel_values_videos is not None:
            features["video"] = self.get_video_features(
                pixel_values_videos, motion_vectors, num_clips, return_dict=True
            )
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        features = {modality: output for modality, output in features.items() if output is not None}
        if len(features) == 0:
            return VideoLaVITPackedInputs(
                inputs_embeds=inputs_embeds, attention_mask=attention_mask, position_ids=position_ids
            )

        batch_size, sequence_length = inputs_embeds.shape[:2]
        dropped = torch.zeros((batch_size, sequence_length), dtype=torch.bool, device=inputs_embeds.device)
        hidden_states = {}
        placeholder_ids = {"image": self.config.image_token_id, "video": self.config.video_token_id}
        for modality, output in features.items():
            kept = torch.cat(list(output.keep_mask)).to(inputs_embeds.device)
            mask = self.get_placeholder_mask(
                input_ids, inputs_embeds, placeholder_ids[modality], num_features=kept.shape[0], modality=modality
            )
            hidden_states[modality] = torch.cat(list(output.pooler_output)).to(inputs_embeds)
            dropped = dropped.masked_scatter(mask, ~kept)
            kept_mask = mask.masked_scatter(mask, kept)
            inputs_embeds = inputs_embeds.masked_scatter(kept_mask[..., None], hidden_states[modality])

        mask_length = None if attention_mask is None else attention_mask.shape[-1]
        if mask_length is not None and mask_length != past_length + sequence_length:
            raise ValueError(
                f"`attention_mask` covers {mask_length} tokens, but the sequence has {sequence_length} and the cache "
                f"{past_length}."
            )
        keep_mask = ~dropped
        if attention_mask is not None and attention_mask.ndim == 2:
            keep_mask = keep_mask & attention_mask[:, past_length:].bool()
        packed_indices, packed_mask = pack_left(keep_mask)
        source_indices = keep_mask.cumsum(1) - 1 + (packed_mask.shape[1] - keep_mask.sum(1, keepdim=True))

        return VideoLaVITPackedInputs(
            inputs_embeds=inputs_embeds.gather(1, packed_indices[..., None].expand(-1, -1, inputs_embeds.shape[-1])),
            attention_mask=self._pack_attention_mask(attention_mask, packed_indices, packed_mask, past_length),
            position_ids=self._pack_position_ids(attention_mask, position_ids, dropped, packed_indices, past_length),
            packed_indices=packed_indices,
            source_indices=source_indices.clamp(min=0),
            keep_mask=keep_mask,
            image_hidden_states=hidden_states.get("image"),
            video_hidden_states=hidden_states.get("video"),
        )

    def _pack_attention_mask(self, attention_mask, packed_indices, packed_mask, past_length):
        if attention_mask is None or attention_mask.ndim == 2:
            past_mask = packed_mask.new_ones((packed_mask.shape[0], past_length))
            if attention_mask is not None:
                past_mask = attention_mask[:, :past_length].bool()
            mask = torch.cat((past_mask, packed_mask), dim=1)
            return None if bool(mask.all()) else mask.long()
        # A 4-D mask, boolean or additive: take the rows and columns of the kept tokens, close those of the padding.
        batch_size, packed_length = packed_indices.shape
        mask = attention_mask.expand(batch_size, -1, -1, -1)
        rows = packed_indices[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[-1])
        mask = mask.gather(2, rows)
        past_columns = torch.arange(past_length, device=mask.device).expand(batch_size, -1)
        columns = torch.cat((past_columns, packed_indices + past_length), dim=1)
        mask = mask.gather(3, columns[:, None, None].expand(-1, mask.shape[1], packed_length, -1))
        closed = nn.functional.pad(~packed_mask, (past_length, 0))[:, None, None]
        return mask.masked_fill(closed, False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min)

    def _pack_position_ids(self, attention_mask, position_ids, dropped, packed_indices, past_length):
        sequence_length = dropped.shape[1]
        steps = torch.arange(sequence_length, device=dropped.device)
        if position_ids is not None:
            position_ids = position_ids.expand(dropped.shape[0], -1)
        elif attention_mask is not None and attention_mask.ndim == 2:
            position_ids = (attention_mask.long().cumsum(1) - 1)[:, past_length:].clamp(min=0)
        else:
            position_ids = (steps + past_length).expand(dropped.shape[0], -1)
        # The positions of a document close up over its dropped patches; it starts at the last position of 0.
        dropped_before = dropped.cumsum(1) - dropped.long()
        document_start = torch.where(position_ids == 0, steps, 0).cummax(1).values
        position_ids = position_ids - dropped_before + dropped_before.gather(1, document_start)
        return position_ids.gather(1, packed_indices)

    def _unpack_attentions(self, attention, packed, past_length):
        rows = packed.source_indices[:, None, :, None].expand(-1, attention.shape[1], -1, attention.shape[-1])
        attention = attention.gather(2, rows)
        past_columns = torch.arange(past_length, device=attention.device).expand(attention.shape[0], -1)
        columns = torch.cat((past_columns, packed.source_indices + past_length), dim=1)
        attention = attention.gather(3, columns[:, None, None].expand(-1, *attention.shape[1:3], -1))
        return attention * nn.functional.pad(packed.keep_mask, (past_length, 0), value=True)[:, None, None]

    @merge_with_config_defaults
    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_values_videos: torch.FloatTensor | None = None,
        motion_vectors: torch.FloatTensor | None = None,
        num_clips: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, VideoLaVITFeaturesOutput] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | VideoLaVITModelOutputWithPast:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`, *optional*):
            Normalised images of the whole batch, in the order of their placeholders.
        pixel_values_videos (`torch.FloatTensor` of shape `(total_clips, num_channels, image_size, image_size)`, *optional*):
            Normalised keyframes of the clips of all videos of the batch, in the order of their placeholders.
        motion_vectors (`torch.FloatTensor` of shape `(total_clips, 2, num_frames, motion_height, motion_width)`, *optional*):
            Motion of the clips, in tenths of its standard deviation.
        num_clips (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Clips of each video.
        mm_encoder_outputs (`dict[str, VideoLaVITFeaturesOutput]`, *optional*):
            Features computed before by `get_image_features` (key `"image"`) and `get_video_features` (key `"video"`),
            in place of the pixel values.
        """
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")

        has_features = pixel_values is not None or pixel_values_videos is not None or bool(mm_encoder_outputs)
        past_length = int(past_key_values.get_seq_length()) if has_features and past_key_values is not None else 0
        packed = self.pack_inputs(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_length=past_length,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            motion_vectors=motion_vectors,
            num_clips=num_clips,
            mm_encoder_outputs=mm_encoder_outputs,
        )
        outputs = self.language_model(
            attention_mask=packed.attention_mask,
            position_ids=packed.position_ids,
            past_key_values=past_key_values,
            inputs_embeds=packed.inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        if packed.source_indices is None:
            return VideoLaVITModelOutputWithPast(**outputs)

        hidden_states, attentions = outputs.hidden_states, outputs.attentions
        unpack = packed.source_indices[..., None].expand(-1, -1, outputs.last_hidden_state.shape[-1])
        if hidden_states is not None:
            hidden_states = tuple(layer.gather(1, unpack) for layer in hidden_states)
        if attentions is not None:
            attentions = tuple(self._unpack_attentions(layer, packed, past_length) for layer in attentions)
        return VideoLaVITModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state.gather(1, unpack),
            past_key_values=outputs.past_key_values,
            hidden_states=hidden_states,
            attentions=attentions,
            attention_mask=packed.attention_mask,
            image_hidden_states=packed.image_hidden_states,
            video_hidden_states=packed.video_hidden_states,
        )


@auto_docstring(
    custom_intro="Video-LaVIT with its language head: understands and generates text, images and videos as tokens."
)
class VideoLaVITForCausalLM(VideoLaVITPreTrainedModel, VideoLaVITGenerationMixin, GenerationMixin):
    config: VideoLaVITConfig
    base_model_prefix = "model"
    # The base model's, once more by their whole names: a quantizer compares from the start of a name.
    _keep_in_fp32_modules = [
        *VideoLaVITModel._keep_in_fp32_modules,
        *(f"model.{name}" for name in VideoLaVITModel._keep_in_fp32_modules),
    ]
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: VideoLaVITConfig):
        super().__init__(config)
        self.model = VideoLaVITModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @property
    def dtype(self) -> torch.dtype:
        """The language model's data type, whatever that of the tokenizers."""
        return self.model.dtype

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | VideoLaVITFeaturesOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`):
            Normalised images.
        """
        return self.model.get_image_features(pixel_values, **kwargs)

    @auto_docstring
    def get_video_features(
        self,
        pixel_values_videos: torch.FloatTensor,
        motion_vectors: torch.FloatTensor | None = None,
        num_clips: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | VideoLaVITFeaturesOutput:
        r"""
        pixel_values_videos (`torch.FloatTensor` of shape `(total_clips, num_channels, image_size, image_size)`):
            Normalised keyframes of the clips of all videos.
        motion_vectors (`torch.FloatTensor` of shape `(total_clips, 2, num_frames, motion_height, motion_width)`):
            Motion of the clips, in tenths of its standard deviation.
        num_clips (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Clips of each video; by default all clips are one video's.
        """
        return self.model.get_video_features(pixel_values_videos, motion_vectors, num_clips, **kwargs)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_values_videos: torch.FloatTensor | None = None,
        motion_vectors: torch.FloatTensor | None = None,
        num_clips: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        mm_encoder_outputs: dict[str, VideoLaVITFeaturesOutput] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | VideoLaVITCausalLMOutputWithPast:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_images, num_channels, image_size, image_size)`, *optional*):
            Normalised images of the whole batch, in the order of their placeholders.
        pixel_values_videos (`torch.FloatTensor` of shape `(total_clips, num_channels, image_size, image_size)`, *optional*):
            Normalised keyframes of the clips of all videos of the batch, in the order of their placeholders.
        motion_vectors (`torch.FloatTensor` of shape `(total_clips, 2, num_frames, motion_height, motion_width)`, *optional*):
            Motion of the clips, in tenths of its standard deviation.
        num_clips (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Clips of each video.
        labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
            Labels of next-token prediction, -100 where no loss is wanted, as over the placeholders of continuous
            visual tokens.
        mm_encoder_outputs (`dict[str, VideoLaVITFeaturesOutput]`, *optional*):
            Features computed before by `get_image_features` (key `"image"`) and `get_video_features` (key `"video"`),
            in place of the pixel values.

        Example:

        ```python
        >>> from transformers import AutoModelForCausalLM, AutoProcessor
        >>> import transformers_videolavit

        >>> processor = AutoProcessor.from_pretrained("video-lavit-sft")
        >>> model = AutoModelForCausalLM.from_pretrained("video-lavit-sft")
        >>> messages = [
        ...     {
        ...         "role": "user",
        ...         "content": [
        ...             {"type": "video", "path": "clip.mp4"},
        ...             {"type": "text", "text": "What is the man doing?"},
        ...         ],
        ...     }
        ... ]
        >>> inputs = processor.apply_chat_template(
        ...     messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ... )
        >>> output = model.generate(**inputs, max_new_tokens=128)
        >>> processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        ```"""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            motion_vectors=motion_vectors,
            num_clips=num_clips,
            use_cache=use_cache,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden_states)

        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )

        return VideoLaVITCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            attention_mask=outputs.attention_mask,
            image_hidden_states=outputs.image_hidden_states,
            video_hidden_states=outputs.video_hidden_states,
        )


__all__ = ["VideoLaVITForCausalLM", "VideoLaVITModel"]
