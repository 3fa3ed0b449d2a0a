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
"""Processor class for Video-LaVIT."""

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import ImageInput, is_valid_image, make_flat_list_of_images
from transformers.processing_utils import MultiModalData, ProcessingKwargs, ProcessorMixin, Unpack
from transformers.tokenization_utils_base import TextInput
from transformers.utils import auto_docstring
from transformers.video_utils import VideoInput

from .configuration_videolavit import MOTION_CODE_TOKEN
from .video_processing_videolavit import VideoLaVITVideoProcessorKwargs


GENERATION_MODES = ("text", "image", "video")
# Marks of a visual in a sequence of ids that was not tokenized by the processor.
IMAGE_MARK = -200
VIDEO_MARK = -201

# Vicuna v1, as Video-LaVIT was instruction-tuned. A turn of the assistant ends with a literal backslash and n.
CHAT_TEMPLATE = r"""{%- macro visuals(content) -%}
    {%- if content is not string -%}
        {%- for block in content -%}
            {%- if block['type'] == 'image' -%}{{ '<image>\n' }}
            {%- elif block['type'] == 'video' -%}{{ '<video>\n' }}
            {%- elif block['type'] != 'text' -%}{{ raise_exception('Unknown content type: ' ~ block['type']) }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- macro text(content) -%}
    {%- if content is string -%}{{ content }}
    {%- else -%}
        {%- for block in content if block['type'] == 'text' -%}{{ block['text'] }}{%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set system = text(messages[0]['content']) -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set system = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions." -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- if system -%}{{ system + ' ' }}{%- endif -%}
{%- for message in turns -%}
    {%- if message['role'] == 'user' -%}
        {{ 'USER: ' + visuals(message['content']) + text(message['content']) + ' ' }}
    {%- elif message['role'] == 'assistant' -%}
        {{ 'ASSISTANT:' }}
        {%- generation -%}
        {{ ' ' + visuals(message['content']) + text(message['content']) + ' \\n </s>' }}
        {%- endgeneration -%}
    {%- else -%}
        {{ raise_exception('The roles are user and assistant, after one optional system message, not ' ~ message['role']) }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"""


class VideoLaVITProcessorKwargs(ProcessingKwargs, total=False):
    """
    generation_mode (`str`, *optional*, defaults to `"text"`):
        What the model is going to generate: `"text"`, `"image"` or `"video"`. The prompt of an image or a video is
        tokenized without `<s>` and padded on the left.
    """

    videos_kwargs: VideoLaVITVideoProcessorKwargs

    generation_mode: str


@auto_docstring
class VideoLaVITProcessor(ProcessorMixin):
    valid_processor_kwargs = VideoLaVITProcessorKwargs

    text_kwargs = {"padding": True}
    generation_mode = "text"

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        video_processor=None,
        chat_template: str | dict[str, str] | None = None,
        num_image_tokens: int = 256,
        num_motion_tokens: int = 135,
    ):
        r"""
        chat_template (`str` or `dict[str, str]`, *optional*):
            A Jinja template, or several by name. By default Vicuna v1's: `USER: ... ASSISTANT: ...` after a system
            sentence, which a system message replaces; the images and videos of a turn come before its text.
        num_image_tokens (`int`, *optional*, defaults to 256):
            Placeholders of one image or keyframe; `num_image_tokens` of the model's configuration.
        num_motion_tokens (`int`, *optional*, defaults to 135):
            Placeholders of the motion of one clip; `num_motion_tokens` of the motion tokenizer's configuration.
        """
        self.num_image_tokens = num_image_tokens
        self.num_motion_tokens = num_motion_tokens
        super().__init__(
            image_processor,
            tokenizer,
            video_processor,
            chat_template=chat_template if chat_template is not None else CHAT_TEMPLATE,
        )
        self.image_token = tokenizer.image_token
        self.video_token = tokenizer.video_token
        self.image_token_id = tokenizer.image_token_id
        self.video_token_id = tokenizer.video_token_id

    @auto_docstring
    def __call__(
        self,
        images: ImageInput | None = None,
        text: TextInput | list[TextInput] | None = None,
        videos: VideoInput | None = None,
        **kwargs: Unpack[VideoLaVITProcessorKwargs],
    ) -> BatchFeature:
        r"""
        Returns:
            [`BatchFeature`]: with the following fields:

            - **input_ids**, **attention_mask** -- of shape `(batch_size, sequence_length)`. Each `<image>` mark in
              `text` becomes `[IMG] <image>×num_image_tokens [/IMG]`, each `<video>` mark becomes, for every clip,
              `[IMG] <video>×num_image_tokens [/IMG] [MOV] <video>×num_motion_tokens [/MOV]`. Returned with `text`.
            - **pixel_values** -- of shape `(num_images, 3, height, width)`. Returned with `images`.
            - **pixel_values_videos** -- keyframes of the clips of all videos, of shape
              `(num_clips, 3, height, width)`. Returned with `videos`.
            - **motion_vectors** -- of shape `(num_clips, 2, num_frames, motion_height, motion_width)`, in tenths of
              their standard deviation. Returned with `videos`.
            - **num_clips** -- clips of each video, of shape `(num_videos,)`. Returned with `videos`.

        Raises:
            `ValueError`: if the number of `<image>` or `<video>` marks in `text` is not that of the images or videos,
                or if `generation_mode` is unknown.
        """
        generation_mode = kwargs.get("generation_mode", self.generation_mode)
        if generation_mode not in GENERATION_MODES:
            raise ValueError(
                f"`generation_mode` must be one of {', '.join(GENERATION_MODES)}, but it is {generation_mode!r}."
            )
        if generation_mode != "text":
            prompt_kwargs = {"add_special_tokens": False, "padding_side": "left"}
            prompt_kwargs = {key: value for key, value in prompt_kwargs.items() if key not in kwargs}
            kwargs["text_kwargs"] = {**prompt_kwargs, **kwargs.get("text_kwargs", {})}
        elif kwargs.get("sanitize_control_tokens") and "add_special_tokens" not in kwargs:
            # The tokenizer adds no `<s>` to sanitized text: there it has to be written.
            samples = [text] if isinstance(text, str) else text
            text = [self.tokenizer.bos_token + sample for sample in samples]
            kwargs["add_special_tokens"] = False
        return super().__call__(images=images, text=text, videos=videos, **kwargs)

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        images, text, videos, audio = super().prepare_inputs_layout(
            images=images, text=text, videos=videos, audio=audio, **kwargs
        )
        # A batch may come as one list of visuals per sample, all of them empty.
        images = (make_flat_list_of_images(images) or None) if images is not None else None
        videos = (_flatten_videos(videos) or None) if videos is not None else None
        return images, text, videos, audio

    def validate_inputs(self, images=None, text=None, videos=None, audio=None, **kwargs):
        if audio is not None:
            raise ValueError(f"{self.__class__.__name__} takes no `audio`.")
        if images is None and text is None and videos is None:
            raise ValueError(f"{self.__class__.__name__} needs at least one of `images`, `text` and `videos`.")
        if text is None:
            return
        if not all(isinstance(sample, str) for sample in text):
            raise ValueError("`text` must be a string or a list of strings.")
        for name, mark, visuals in (("images", self.image_token, images), ("videos", self.video_token, videos)):
            num_marks = sum(sample.count(mark) for sample in text)
            num_visuals = len(visuals) if visuals is not None else 0
            if num_marks != num_visuals:
                raise ValueError(
                    f"`text` has {num_marks} {mark} marks, but `{name}` has {num_visuals} {name}: each mark is the "
                    "place of one."
                )

    def _process_videos(self, videos: list, **kwargs) -> tuple[BatchFeature, list[str]]:
        # One list per sample is the layout in which a list of paths is the frames of one video.
        video_inputs = self.video_processor([[video] for video in videos], **kwargs)
        replacements = [self.replace_video_token(video_inputs, video_idx=index) for index in range(len(videos))]
        return video_inputs, replacements

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        """The text that takes the place of one `<image>` mark."""
        tokenizer = self.tokenizer
        return tokenizer.image_start_token + self.image_token * self.num_image_tokens + tokenizer.image_end_token

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs) -> str:
        """The text that takes the place of one `<video>` mark."""
        tokenizer = self.tokenizer
        clip = tokenizer.image_start_token + self.video_token * self.num_image_tokens + tokenizer.image_end_token
        clip += tokenizer.motion_start_token + self.video_token * self.num_motion_tokens + tokenizer.motion_end_token
        return clip * int(video_inputs["num_clips"][video_idx])

    def expand_placeholders(
        self,
        ids: list[int] | np.ndarray | torch.LongTensor,
        num_clips: int | list[int] | np.ndarray | torch.LongTensor | None = None,
    ) -> BatchFeature:
        """
        Turns one sequence of ids, in which -200 marks an image and -201 a video, into inputs of the model.

        Args:
            ids (`list[int]`, `np.ndarray` or `torch.LongTensor` of shape `(length,)` or `(1, length)`):
                Token ids and marks.
            num_clips (`int`, `list[int]`, `np.ndarray` or `torch.LongTensor` of shape `(num_videos,)`, *optional*):
                Clips of each video, in the order of the marks; one number for all videos if it is an `int`.

        Returns:
            [`BatchFeature`]: `input_ids` and `attention_mask`, of shape `(1, expanded_length)`.

        Raises:
            `ValueError`: if `ids` is not one sequence of ids and marks, or `num_clips` does not give a positive number
                for each video.

        Example:

        ```python
        >>> from transformers import AutoProcessor

        >>> processor = AutoProcessor.from_pretrained("video-lavit-sft")  # doctest: +SKIP
        >>> inputs = processor.expand_placeholders([1, 3148, -201, 29871, 13], num_clips=2)  # doctest: +SKIP
        >>> inputs["input_ids"].shape  # doctest: +SKIP
        torch.Size([1, 794])
        ```"""
        ids = torch.as_tensor(ids)
        if ids.ndim == 2 and ids.shape[0] == 1:
            ids = ids[0]
        if ids.ndim != 1 or ids.is_floating_point():
            raise ValueError(
                f"`ids` must be one sequence of integers, but it is {ids.dtype} of shape {tuple(ids.shape)}."
            )
        is_mark = (ids == IMAGE_MARK) | (ids == VIDEO_MARK)
        is_unknown = ~is_mark & ((ids < 0) | (ids >= len(self.tokenizer)))
        if is_unknown.any():
            raise ValueError(
                f"`ids` holds {ids[is_unknown][0]}, which is neither a token of the vocabulary (0 to "
                f"{len(self.tokenizer) - 1}) nor a mark ({IMAGE_MARK} for an image, {VIDEO_MARK} for a video)."
            )

        num_videos = int((ids == VIDEO_MARK).sum())
        num_clips = torch.as_tensor([] if num_clips is None else num_clips).tolist()
        num_clips = [num_clips] * num_videos if isinstance(num_clips, int) else num_clips
        if len(num_clips) != num_videos:
            raise ValueError(
                f"`ids` has {num_videos} video marks ({VIDEO_MARK}), but `num_clips` counts the clips of "
                f"{len(num_clips)} videos."
            )
        if any(count < 1 for count in num_clips):
            raise ValueError(f"`num_clips` must be positive, but it is {num_clips}.")

        image_block = self._placeholder_ids(self.replace_image_token({}, image_idx=0))
        video_blocks = [
            self._placeholder_ids(self.replace_video_token({"num_clips": num_clips}, video_idx=index))
            for index in range(num_videos)
        ]
        expanded, video_blocks = [], iter(video_blocks)
        for token_id in ids.tolist():
            if token_id == IMAGE_MARK:
                expanded.extend(image_block)
            elif token_id == VIDEO_MARK:
                expanded.extend(next(video_blocks))
            else:
                expanded.append(token_id)
        input_ids = torch.tensor([expanded], dtype=torch.long, device=ids.device)
        return BatchFeature({"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)})

    def _placeholder_ids(self, block: str) -> list[int]:
        return self.tokenizer(block, add_special_tokens=False)["input_ids"]

    def _get_num_multimodal_tokens(self, image_sizes=None, video_sizes=None, **kwargs) -> MultiModalData:
        """
        Number of placeholders of images and videos of the given sizes.

        Args:
            image_sizes (`list[list[int]]`, *optional*):
                `(height, width)` of each image.
            video_sizes (`list[list[int]]`, *optional*):
                `(num_frames, height, width)` of each video; frames at the rate of the motion codec, without scene cuts.
        """
        vision_data = {}
        if image_sizes is not None:
            vision_data["num_image_tokens"] = [self.num_image_tokens] * len(image_sizes)
            vision_data["num_image_patches"] = [1] * len(image_sizes)
        if video_sizes is not None:
            videos_kwargs = self._merge_kwargs(**kwargs)["videos_kwargs"]
            num_clip_tokens = self.num_image_tokens + self.num_motion_tokens
            vision_data["num_video_tokens"] = [
                self.video_processor.get_num_of_clips(num_frames, videos_kwargs) * num_clip_tokens
                for num_frames, _, _ in video_sizes
            ]
        return MultiModalData(**vision_data)

    def post_process_image_text_to_text(
        self, generated_outputs, skip_special_tokens: bool = True, **kwargs
    ) -> list[str] | str:
        """
        Decodes answers, without the backslash and the n that end a turn of the assistant, and without spaces around them.

        Args:
            generated_outputs (`torch.LongTensor` of shape `(batch_size, sequence_length)` or `(sequence_length,)`):
                What `generate` returned after the prompts.
            skip_special_tokens (`bool`, *optional*, defaults to `True`): Whether to leave `<s>` and `</s>` out.
            **kwargs: Passed to the tokenizer's `decode`.

        Returns:
            `list[str]`: The answers; a `str` of one sequence.
        """
        texts = super().post_process_image_text_to_text(generated_outputs, skip_special_tokens, **kwargs)
        if isinstance(texts, str):
            return _strip_turn(texts)
        return [_strip_turn(text) for text in texts]

    def post_process_multimodal_output(
        self, generated_outputs, skip_special_tokens: bool = True, generation_mode: str | None = None, **kwargs
    ) -> list[list[tuple[str, str | torch.LongTensor]]] | list[str]:
        """
        Splits generated sequences into their texts, images and motions.

        A run of visual codes is an image, a run of motion codes is the motion of a clip, a run of other tokens, also of
        those added to the vocabulary, is a text. `[IMG]`, `[/IMG]`, `[MOV]`, `[/MOV]` and the placeholders of a prompt's
        visuals separate the runs and belong to none; padding is dropped. So an incomplete or empty block gives the codes
        that it has, or nothing; codes outside of a block are kept; motion is returned whatever its length.

        Args:
            generated_outputs (`torch.LongTensor`, `np.ndarray` or `list` of shape `(batch_size, sequence_length)` or `(sequence_length,)`):
                What `generate` returned. Rows of a list may differ in length.
            skip_special_tokens (`bool`, *optional*, defaults to `True`):
                Whether to leave `<s>` and `</s>` out of the texts.
            generation_mode (`str`, *optional*):
                `"text"` returns each whole sequence as one text, without visual and motion tokens. Otherwise (`None`,
                `"image"` or `"video"`) sequences are split.
            **kwargs:
                Passed to the tokenizer's `decode`.

        Returns:
            `list[list[tuple[str, str | torch.LongTensor]]]`: for each sequence its segments in order: `("text", str)`,
            `("image", codes)` with visual codes of shape `(num_codes,)`, 0 to 16383, or `("motion", codes)` with motion
            codes of shape `(num_codes,)`, 0 to 1023. With `generation_mode="text"` a `list[str]`.

        Raises:
            `ValueError`: if `generation_mode` is unknown.
        """
        if generation_mode not in (None, *GENERATION_MODES):
            raise ValueError(
                f"`generation_mode` must be None or one of {', '.join(GENERATION_MODES)}, but it is {generation_mode!r}."
            )
        if generation_mode == "text":
            return self.tokenizer.decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)
        if len(generated_outputs) == 0:
            return []
        is_batch = np.ndim(generated_outputs[0]) == 1
        return [
            self._split_segments(torch.as_tensor(row), skip_special_tokens, **kwargs)
            for row in (generated_outputs if is_batch else [generated_outputs])
        ]

    def _split_segments(
        self, ids: torch.LongTensor, skip_special_tokens: bool, **kwargs
    ) -> list[tuple[str, str | torch.LongTensor]]:
        tokenizer = self.tokenizer
        visual_code_offset = tokenizer.image_end_token_id + 1
        motion_code_offset = tokenizer.motion_end_token_id + 1
        end_of_codes = motion_code_offset + self._count_motion_codes()
        ids = ids[ids != tokenizer.pad_token_id].long()
        is_placeholder = (ids == self.image_token_id) | (ids == self.video_token_id)
        is_text = ((ids < tokenizer.image_start_token_id) | (ids >= end_of_codes)) & ~is_placeholder
        is_visual_code = (ids >= visual_code_offset) & (ids < tokenizer.motion_start_token_id)
        is_motion_code = (ids >= motion_code_offset) & (ids < end_of_codes)
        kinds, lengths = torch.unique_consecutive(
            is_text + 2 * is_visual_code + 3 * is_motion_code, return_counts=True
        )
        segments = []
        for kind, run in zip(kinds.tolist(), ids.split(lengths.tolist())):
            if kind == 1:
                text = tokenizer.decode(run, skip_special_tokens=skip_special_tokens, **kwargs)
                if text:
                    segments.append(("text", text))
            elif kind == 2:
                segments.append(("image", run - visual_code_offset))
            elif kind == 3:
                segments.append(("motion", run - motion_code_offset))
        return segments

    def _count_motion_codes(self) -> int:
        # A user's tokens follow them.
        offset, count = self.tokenizer.motion_end_token_id + 1, 0
        while self.tokenizer.convert_tokens_to_ids(MOTION_CODE_TOKEN.format(count)) == offset + count:
            count += 1
        return count


def _flatten_videos(videos: VideoInput, depth: int = 0) -> list:
    """One entry per video, from one video, a list of videos, or one list of videos per sample."""
    if isinstance(videos, (list, tuple)):
        first = videos[0] if len(videos) > 0 else None
        # Frames of one video: images, or within a list per sample also paths of images.
        is_video = (is_valid_image(first) and np.ndim(first) < 4) or (isinstance(first, str) and depth == 2)
    else:
        # Of arrays, one with a fifth dimension is a batch.
        is_video = not is_valid_image(videos) or np.ndim(videos) < 5
    return [videos] if is_video else [video for item in videos for video in _flatten_videos(item, depth + 1)]


def _strip_turn(text: str) -> str:
    return text.strip().removesuffix(r"\n").rstrip()


__all__ = ["VideoLaVITProcessor", "VideoLaVITProcessorKwargs"]
