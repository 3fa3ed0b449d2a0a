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

"""Generation of text, images and videos as tokens (Video-LaVIT, section 3.2 and 3.3)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, StaticCache
from transformers.generation import LogitsProcessor, LogitsProcessorList
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.streamers import BaseStreamer


GENERATION_MODES = ("text", "image", "video")
# What the generation of images and videos reads of a generation config beside transformers' own parameters, as published.
PUBLISHED_GENERATION = {
    "visual_guidance_scale": 4.0,
    "motion_guidance_scale": 7.0,
    "visual_temperature": 1.0,
    "min_visual_tokens": 20,
}
_PACKED_ARGUMENTS = (
    "attention_mask",
    "position_ids",
    "inputs_embeds",
    "pixel_values",
    "pixel_values_videos",
    "motion_vectors",
    "mm_encoder_outputs",
)


class TextLogitsProcessor(LogitsProcessor):
    """
    Leaves text as the only choice: suppresses the visual and motion tokens, by one contiguous range, and the placeholders.
    Tokens that were added to the vocabulary behind them are text.

    Args:
        config ([`VideoLaVITConfig`]): Configuration with the token-id layout.
    """

    def __init__(self, config):
        self.suppressed = slice(config.image_start_token_id, config.motion_code_offset + config.num_motion_codes)
        self.placeholder_ids = [config.image_token_id, config.video_token_id]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        scores = scores.clone()
        scores[:, self.suppressed] = -float("inf")
        for token_id in self.placeholder_ids:
            scores[:, token_id : token_id + 1] = -float("inf")
        return scores


@dataclass
class SamplingArguments:
    """
    How tokens of one kind are chosen.

    Args:
        do_sample (`bool`): Whether to sample; greedy otherwise.
        guidance_scale (`float`): Weight of classifier-free guidance; 1 turns it off.
        temperature (`float`): Divides the guided log-probabilities.
        top_k (`int`): Tokens to sample from; 0 is all.
        top_p (`float`): Probability mass to sample from.
    """

    do_sample: bool
    guidance_scale: float
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def choose(
        self,
        scores: torch.FloatTensor,
        generator: torch.Generator | list[torch.Generator] | None,
        unfinished: torch.BoolTensor | None = None,
    ) -> torch.LongTensor:
        """
        Chooses one column of `scores`, of shape `(batch_size, num_choices)`, for each row.

        What is chosen for rows where `unfinished`, of shape `(batch_size,)`, is `False` means nothing, and a generator of
        their own stays as it is.
        """
        if not self.do_sample:
            return scores.argmax(dim=-1)
        top_k = min(self.top_k, scores.shape[-1]) if self.top_k > 0 else scores.shape[-1]
        largest, columns = (scores / self.temperature).topk(top_k, dim=-1)
        probabilities = largest.softmax(dim=-1)
        # Columns are sorted: a token stays while the mass before it is below `top_p`.
        mass_before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(mass_before >= self.top_p, 0.0)
        # Drawn in the order of the vocabulary: that of the scores changes with their rounding, as from batch to batch.
        probabilities = torch.zeros_like(scores).scatter(1, columns, probabilities)
        if isinstance(generator, list):
            choices = probabilities.argmax(dim=-1)
            rows = range(len(generator)) if unfinished is None else unfinished.nonzero()[:, 0].tolist()
            for row in rows:
                choices[row : row + 1] = torch.multinomial(probabilities[row], 1, generator=generator[row])
            return choices
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


class GuidedDecoder:
    """
    Decodes a batch under a grammar with classifier-free guidance: conditional and unconditional sequences are the two
    halves of one batch with one cache, and logits are computed for the allowed tokens only.

    The unconditional context is the start token of the image or motion alone (`[IMG]` or `[MOV]`), so at each start
    token the unconditional half begins anew: what it cached before is masked and its positions count from 0.

    Args:
        model ([`VideoLaVITForCausalLM`]): The model.
        prompt ([`VideoLaVITPackedInputs`]): The packed prompt.
        is_guided (`bool`): Whether there is an unconditional half.
        max_length (`int`): Most tokens that the cache has to hold.
        cache_implementation (`str`, *optional*): `"static"` for a preallocated cache, `None` or `"dynamic"` otherwise.
        streamer (`BaseStreamer`, *optional*): Receives every token.
    """

    def __init__(
        self,
        model,
        prompt,
        is_guided: bool,
        max_length: int,
        cache_implementation: str | None = None,
        streamer: BaseStreamer | None = None,
    ):
        self.model = model
        self.is_guided = is_guided
        self.cache_implementation = cache_implementation
        self.streamer = streamer
        self.prompt_embeds = prompt.inputs_embeds
        batch_size, prompt_length = self.prompt_embeds.shape[:2]
        self.prompt_mask = prompt.attention_mask
        if self.prompt_mask is None:
            self.prompt_mask = self.prompt_embeds.new_ones((batch_size, prompt_length), dtype=torch.long)
        self.batch_size = batch_size
        self.device = self.prompt_embeds.device
        num_rows = 2 * batch_size if is_guided else batch_size
        self.attention_mask = torch.zeros((num_rows, max_length), dtype=torch.long, device=self.device)
        self.ids: list[torch.LongTensor] = []
        self.masks: list[torch.LongTensor] = []
        self.unconditional_start = 0
        self.restart(0)

    def restart(self, first_column: int):
        """Starts a new context of the prompt and the generated tokens from `first_column` on."""
        text_config = self.model.config.text_config
        if self.cache_implementation == "static":
            self.cache = StaticCache(config=text_config, max_cache_len=self.attention_mask.shape[1])
        else:
            self.cache = DynamicCache(config=text_config)
        self.length = 0
        self.positions = torch.zeros(self.attention_mask.shape[0], dtype=torch.long, device=self.device)
        self.attention_mask.zero_()
        self.pending_embeds = self.prompt_embeds
        self.pending_mask = self.prompt_mask
        self.num_fed = first_column

    def push(self, ids: torch.LongTensor | int, mask: torch.BoolTensor | None = None):
        """Appends one token to each sequence, to be read at the next step; where `mask` is `False` it is padding."""
        if isinstance(ids, int):
            ids = torch.full((self.batch_size,), ids, dtype=torch.long, device=self.device)
        if mask is None:
            mask = torch.ones_like(ids, dtype=torch.bool)
        ids = ids.masked_fill(~mask, self.model.config.pad_token_id or 0)
        self.ids.append(ids)
        self.masks.append(mask.long())
        if self.streamer is not None:
            self.streamer.put(ids.cpu())

    def push_start(self, token_id: int):
        """Appends the start token of an image or of motion, where the unconditional sequences begin anew."""
        self.push(token_id)
        self.unconditional_start = len(self.ids) - 1

    def step(self) -> torch.FloatTensor:
        """Reads all tokens pushed and returns the last hidden states, of shape `(num_rows, hidden_size)`."""
        ids = torch.stack(self.ids[self.num_fed :], dim=1)
        mask = torch.stack(self.masks[self.num_fed :], dim=1)
        embeds = self.model.get_input_embeddings()(ids).to(self.device)
        if self.pending_embeds is not None:
            embeds = torch.cat((self.pending_embeds, embeds), dim=1)
            mask = torch.cat((self.pending_mask, mask), dim=1)
            self.pending_embeds = self.pending_mask = None
        num_new = mask.shape[1]
        if self.is_guided:
            embeds = torch.cat((embeds, embeds))
            unconditional_mask = mask.clone()
            unfed_before_start = num_new - (len(self.ids) - self.unconditional_start)
            if unfed_before_start >= 0:
                unconditional_mask[:, :unfed_before_start] = 0
                self.attention_mask[self.batch_size :] = 0
                self.positions[self.batch_size :] = 0
            mask = torch.cat((mask, unconditional_mask))
        self.attention_mask[:, self.length : self.length + num_new] = mask
        self.length += num_new
        position_ids = self.positions[:, None] + (mask.cumsum(dim=1) - 1).clamp(min=0)
        self.positions = self.positions + mask.sum(dim=1)
        outputs = self.model.model.language_model(
            inputs_embeds=embeds,
            attention_mask=self.attention_mask[:, : self.length],
            position_ids=position_ids,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.num_fed = len(self.ids)
        return outputs.last_hidden_state[:, -1]

    def get_generated(self) -> tuple[torch.LongTensor, torch.BoolTensor]:
        """The tokens pushed so far and the mask that tells them from padding, `(batch_size, num_tokens)` each."""
        return torch.stack(self.ids, dim=1), torch.stack(self.masks, dim=1).bool()


class AllowedTokens:
    """
    The tokens that the grammar allows in one place, with the rows of the language head that score them.

    Args:
        lm_head (`nn.Module`): The language head.
        first_code (`int`): Token id of code 0.
        num_codes (`int`): Number of codes.
        end_token_id (`int`, *optional*): A token that is allowed beside the codes; it becomes choice 0.
    """

    def __init__(self, lm_head: nn.Module, first_code: int, num_codes: int, end_token_id: int | None = None):
        self.lm_head = lm_head
        device = lm_head.weight.device
        self.token_ids = torch.arange(first_code, first_code + num_codes)
        if end_token_id is not None:
            self.token_ids = torch.cat((torch.tensor([end_token_id]), self.token_ids))
        # A head that is quantized, adapted or offloaded is called as it is; of a plain one only the rows are read.
        self.weight = None
        if type(lm_head) is nn.Linear and type(lm_head.weight) is nn.Parameter and device.type != "meta":
            if end_token_id is None or end_token_id == first_code - 1:
                first_row = int(self.token_ids[0])
                self.weight = lm_head.weight[first_row : first_row + len(self.token_ids)]
            else:
                self.weight = lm_head.weight[self.token_ids.to(device)]

    def get_scores(self, hidden_states: torch.FloatTensor, arguments: SamplingArguments, is_guided: bool):
        """
        Guided log-probabilities of the allowed tokens: `uncond + w · (cond − uncond)`.

        Args:
            hidden_states (`torch.FloatTensor` of shape `(num_rows, hidden_size)`): Last hidden states.
            arguments (`SamplingArguments`): Holds the guidance scale `w`.
            is_guided (`bool`): Whether the second half of the rows is unconditional.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_allowed)`, float32.
        """
        if self.weight is None:
            logits = self.lm_head(hidden_states)
            logits = logits[:, self.token_ids.to(logits.device)]
        else:
            logits = nn.functional.linear(hidden_states.to(self.weight.device), self.weight)
        scores = logits.float().log_softmax(dim=-1)
        if is_guided:
            conditional, unconditional = scores.chunk(2)
            scores = torch.lerp(unconditional, conditional, arguments.guidance_scale)
        return scores


def _get_own_parameters(config: GenerationConfig | dict) -> dict[str, float]:
    given = config if isinstance(config, dict) else config.to_dict()
    return {name: given[name] for name in PUBLISHED_GENERATION if given.get(name) is not None}


class VideoLaVITGenerationMixin:
    """
    `generate` for text, images and videos. Text runs through transformers' `GenerationMixin.generate`; images and videos
    are decoded under the grammar of the vocabulary.

    A checkpoint's `generation_config` may have `visual_guidance_scale`, `motion_guidance_scale`, `visual_temperature` and
    `min_visual_tokens`: they hold where `generate` is not told otherwise, and do not touch text.
    """

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.LongTensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        *,
        generation_mode: str = "text",
        num_clips: int | torch.LongTensor | None = None,
        num_generated_clips: int | None = None,
        guidance_scale: float | None = None,
        motion_guidance_scale: float | None = None,
        motion_do_sample: bool = False,
        visual_codes: list[torch.LongTensor] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        **kwargs,
    ):
        """
        Generates text, an image or a video from a prompt of text, images and videos.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): Prompt ids, also accepted
                as `input_ids`.
            generation_config (`GenerationConfig`, *optional*): Generation parameters. `kwargs` win over it.
            logits_processor (`LogitsProcessorList`, *optional*): Further logits processors, for text.
            generation_mode (`str`, defaults to `"text"`): `"text"`, `"image"` (`[IMG] v… [/IMG]`) or `"video"`
                (`[IMG] v… [/IMG] [MOV] m… [/MOV]` for each clip). A prompt that ends in a keyframe, discrete or
                continuous, is continued by its motion in `"video"` mode.
            num_clips (`int` or `torch.LongTensor`, *optional*): An `int` is the number of clips to generate, 1 by default.
                A tensor is the processor's output: the clips of each video in the prompt. For text an `int` is those of
                the prompt's one video.
            num_generated_clips (`int`, *optional*): The number of clips to generate where `num_clips` describes the prompt.
            guidance_scale (`float`, *optional*): Classifier-free guidance. For visual tokens the generation config's
                `visual_guidance_scale`, 4.0 without; off for text.
            motion_guidance_scale (`float`, *optional*): Classifier-free guidance of motion tokens; the generation config's
                `motion_guidance_scale`, 7.0 without.
            motion_do_sample (`bool`, defaults to `False`): Whether motion tokens are sampled.
            visual_codes (`list[torch.LongTensor]`, *optional*): For `"video"`, the visual codes of each sequence's first
                keyframe, of which only the motion is generated.
            generator (`torch.Generator` or `list[torch.Generator]`, *optional*): Makes sampling reproducible. A list has
                one generator for each returned sequence (images and videos only).
            kwargs: The processor's outputs and generation parameters. For images and videos: `do_sample` (`True` by
                default), `temperature` (the generation config's `visual_temperature`, 1.0 without), `top_k` (50) and
                `top_p` (1.0) for visual tokens, `min_new_tokens` (the generation config's `min_visual_tokens`, 20 without)
                and `max_new_tokens` (the grammar's 256) which bound the visual tokens of one image, `num_visual_codes` and
                `num_motion_codes` (the vocabulary's 16384 and 1024) for decoders with smaller codebooks,
                `num_return_sequences`, `cache_implementation` and `streamer`.

        Returns:
            `torch.LongTensor` of shape `(batch_size · num_return_sequences, total_length)`: The prompt as given, followed
            by the new ids, right-padded. For text also the outputs that `GenerationMixin.generate` returns on request.

        Raises:
            ValueError: If an argument is unknown to the mode, out of range, or does not match the prompt.
        """
        if generation_mode not in GENERATION_MODES:
            raise ValueError(
                f"Unknown `generation_mode` {generation_mode!r}: it is one of {', '.join(GENERATION_MODES)}."
            )
        # The placeholders' ids already tell the modalities apart.
        kwargs.pop("mm_token_type_ids", None)
        input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        is_clip_count = isinstance(num_clips, int)
        prompt_num_clips = None if is_clip_count else num_clips
        if generation_mode == "text":
            if is_clip_count and kwargs.get("pixel_values_videos") is None:
                raise ValueError('`num_clips` is for `generation_mode="video"`, but the mode is "text".')
            if visual_codes is not None or num_generated_clips is not None:
                raise ValueError('`visual_codes` and `num_generated_clips` are for `generation_mode="video"`.')
            return self._generate_text(
                input_ids,
                generation_config=generation_config,
                logits_processor=logits_processor,
                num_clips=num_clips,
                guidance_scale=guidance_scale,
                generator=generator,
                **kwargs,
            )
        if logits_processor is not None and len(logits_processor) > 0:
            raise ValueError(f"`logits_processor` is not supported with `generation_mode={generation_mode!r}`.")
        if num_generated_clips is None:
            num_generated_clips = num_clips if is_clip_count else 1
        return self._generate_clips(
            input_ids,
            generation_config=generation_config,
            with_motion=generation_mode == "video",
            num_generated_clips=num_generated_clips,
            num_clips=prompt_num_clips,
            guidance_scale=guidance_scale,
            motion_guidance_scale=motion_guidance_scale,
            motion_do_sample=motion_do_sample,
            visual_codes=visual_codes,
            generator=generator,
            **kwargs,
        )

    def prepare_inputs_for_generation(self, input_ids, inputs_embeds=None, is_first_iteration=False, **kwargs):
        # The candidates of assisted decoding stand behind the embedded prompt, which would hide them.
        if is_first_iteration and inputs_embeds is not None and input_ids.shape[1] > inputs_embeds.shape[1]:
            candidates = self.get_input_embeddings()(input_ids[:, inputs_embeds.shape[1] :])
            inputs_embeds = torch.cat((inputs_embeds, candidates.to(inputs_embeds)), dim=1)
        return super().prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, is_first_iteration=is_first_iteration, **kwargs
        )

    def _generate_text(
        self, input_ids, *, generation_config, logits_processor, num_clips, guidance_scale, generator, **kwargs
    ):
        processors = LogitsProcessorList(logits_processor if logits_processor is not None else [])
        processors.append(TextLogitsProcessor(self.config))
        kwargs = {"logits_processor": processors, "guidance_scale": guidance_scale, **kwargs}
        num_dropped, prompt_ids = 0, input_ids
        # `GenerationMixin` passes an empty `mm_encoder_outputs` on where there is no image and no video.
        if not kwargs.get("mm_encoder_outputs"):
            kwargs.pop("mm_encoder_outputs", None)
        if any(kwargs.get(name) is not None for name in ("pixel_values", "pixel_values_videos", "mm_encoder_outputs")):
            packed = self.model.pack_inputs(
                input_ids=input_ids,
                num_clips=num_clips,
                **{name: kwargs.pop(name, None) for name in _PACKED_ARGUMENTS},
            )
            num_dropped = packed.source_indices.shape[1] - packed.packed_indices.shape[1]
            kwargs["inputs_embeds"] = packed.inputs_embeds
            kwargs["position_ids"] = packed.position_ids
            kwargs["attention_mask"] = packed.attention_mask
            if packed.attention_mask is None:
                kwargs["attention_mask"] = torch.ones_like(packed.packed_indices)
            if input_ids is not None:
                input_ids = input_ids.gather(1, packed.packed_indices)
            generation_config = self._shorten_length_limits(generation_config, kwargs, num_dropped)

        if generator is not None:
            if isinstance(generator, list):
                raise ValueError("Text is sampled for the whole batch: pass one `generator`, not a list.")
            # transformers samples from the global generator: seed it from ours, and leave it as it was.
            seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                outputs = super().generate(inputs=input_ids, generation_config=generation_config, **kwargs)
        else:
            outputs = super().generate(inputs=input_ids, generation_config=generation_config, **kwargs)
        if num_dropped == 0 or input_ids is None:
            return outputs
        sequences = outputs if isinstance(outputs, torch.Tensor) else outputs.sequences
        prompt_ids = prompt_ids.repeat_interleave(sequences.shape[0] // prompt_ids.shape[0], dim=0)
        sequences = torch.cat((prompt_ids, sequences[:, input_ids.shape[1] :]), dim=1)
        if isinstance(outputs, torch.Tensor):
            return sequences
        outputs.sequences = sequences
        return outputs

    def _shorten_length_limits(self, generation_config, kwargs, num_dropped):
        if generation_config is not None:
            generation_config = GenerationConfig.from_dict(generation_config.to_dict())
            for name in ("max_length", "min_length"):
                limit = generation_config.to_dict().get(name)
                if limit is not None and kwargs.get(name) is None:
                    kwargs[name] = limit
        for name in ("max_length", "min_length"):
            if kwargs.get(name) is not None:
                kwargs[name] = max(kwargs[name] - num_dropped, 0)
        return generation_config

    def _generate_clips(
        self,
        input_ids,
        *,
        generation_config,
        with_motion,
        num_generated_clips,
        num_clips,
        guidance_scale,
        motion_guidance_scale,
        motion_do_sample,
        visual_codes,
        generator,
        num_return_sequences=None,
        min_new_tokens=None,
        max_new_tokens=None,
        do_sample=None,
        temperature=None,
        top_k=None,
        top_p=None,
        num_visual_codes=None,
        num_motion_codes=None,
        cache_implementation=None,
        use_cache=None,
        streamer: BaseStreamer | None = None,
        **kwargs,
    ):
        unknown = set(kwargs) - set(_PACKED_ARGUMENTS)
        if unknown:
            raise ValueError(
                f"Arguments not used in the generation of images and videos: {', '.join(sorted(unknown))}."
            )
        if input_ids is None:
            raise ValueError("The generation of images and videos needs a prompt: `input_ids` is None.")
        given = generation_config.to_dict() if generation_config is not None else {}

        def first_given(name, value, default):
            value = given.get(name) if value is None else value
            return default if value is None else value

        # Under names that generation of text does not read: a checkpoint has one generation config for both.
        own = {**PUBLISHED_GENERATION, **_get_own_parameters(self.generation_config), **_get_own_parameters(given)}
        limit = self.config.max_visual_tokens
        max_visual_tokens = min(first_given("max_new_tokens", max_new_tokens, limit), limit)
        min_visual_tokens = first_given(
            "min_new_tokens", min_new_tokens, min(own["min_visual_tokens"], max_visual_tokens)
        )
        min_visual_tokens = max(min_visual_tokens, 1)
        guidance_scale = own["visual_guidance_scale"] if guidance_scale is None else guidance_scale
        if motion_guidance_scale is None:
            motion_guidance_scale = own["motion_guidance_scale"]
        num_return_sequences = first_given("num_return_sequences", num_return_sequences, 1)
        if not min_visual_tokens <= max_visual_tokens:
            raise ValueError(
                f"An image has 1 to {limit} visual tokens: `min_new_tokens` {min_visual_tokens} is above "
                f"`max_new_tokens` {max_visual_tokens}."
            )
        if num_generated_clips < 1 or num_return_sequences < 1:
            raise ValueError(
                f"The number of clips ({num_generated_clips}) and `num_return_sequences` ({num_return_sequences}) are "
                "at least 1."
            )
        visual_arguments = SamplingArguments(
            do_sample=first_given("do_sample", do_sample, True),
            guidance_scale=guidance_scale,
            temperature=first_given("temperature", temperature, own["visual_temperature"]),
            top_k=first_given("top_k", top_k, 50),
            top_p=first_given("top_p", top_p, 1.0),
        )
        motion_arguments = SamplingArguments(motion_do_sample, motion_guidance_scale)
        for name, value in (("temperature", visual_arguments.temperature), ("top_p", visual_arguments.top_p)):
            if not value > 0:
                raise ValueError(f"`{name}` is positive, but it is {value}.")

        for name, count, limit in (
            ("num_visual_codes", num_visual_codes, self.config.num_visual_codes),
            ("num_motion_codes", num_motion_codes, self.config.num_motion_codes),
        ):
            if count is not None and not 1 <= count <= limit:
                raise ValueError(f"`{name}` is from 1 to the vocabulary's {limit}, but it is {count}.")

        prompt = self.model.pack_inputs(
            input_ids=input_ids, num_clips=num_clips, **{name: kwargs.get(name) for name in _PACKED_ARGUMENTS}
        )
        prompt_ids = input_ids
        if num_return_sequences > 1:
            prompt_ids = input_ids.repeat_interleave(num_return_sequences, dim=0)
            prompt.inputs_embeds = prompt.inputs_embeds.repeat_interleave(num_return_sequences, dim=0)
            if prompt.attention_mask is not None:
                prompt.attention_mask = prompt.attention_mask.repeat_interleave(num_return_sequences, dim=0)
        batch_size = prompt_ids.shape[0]
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"Got {len(generator)} generators for {batch_size} sequences.")

        config = self.config
        num_motion_tokens = config.motion_tokenizer_config.num_motion_tokens
        clip_length = 2 + max_visual_tokens + (2 + num_motion_tokens if with_motion else 0)
        prompt_length = prompt.inputs_embeds.shape[1]
        window = config.text_config.max_position_embeddings
        if prompt_length + clip_length > window:
            raise ValueError(
                f"A prompt of {prompt_length} tokens and a clip of up to {clip_length} do not fit the model's "
                f"{window} positions (`max_position_embeddings`)."
            )
        keyframe_codes = self._check_visual_codes(visual_codes, batch_size, num_return_sequences, with_motion)
        ends_in_keyframe = with_motion and visual_codes is None and self._ends_in_keyframe(input_ids)

        is_guided = guidance_scale != 1.0 or (with_motion and motion_guidance_scale != 1.0)
        max_length = min(prompt_length + num_generated_clips * clip_length, window)
        decoder = GuidedDecoder(self, prompt, is_guided, max_length, cache_implementation, streamer)
        visual_tokens = AllowedTokens(
            self.lm_head,
            config.visual_code_offset,
            config.num_visual_codes if num_visual_codes is None else num_visual_codes,
            end_token_id=config.image_end_token_id,
        )
        motion_tokens = AllowedTokens(
            self.lm_head,
            config.motion_code_offset,
            config.num_motion_codes if num_motion_codes is None else num_motion_codes,
        )
        if streamer is not None:
            streamer.put(prompt_ids.cpu())
        clip_starts = []
        for clip in range(num_generated_clips):
            clip_starts.append(len(decoder.ids))
            if decoder.length + len(decoder.ids) - decoder.num_fed + clip_length > max_length:
                decoder.restart(self._get_context_start(clip_starts, max_length - prompt_length - clip_length))
            if clip == 0 and keyframe_codes is not None:
                for column, mask in keyframe_codes:
                    decoder.push(column, mask)
            elif clip > 0 or not ends_in_keyframe:
                self._generate_keyframe(
                    decoder, visual_tokens, visual_arguments, min_visual_tokens, max_visual_tokens, generator
                )
            if with_motion:
                decoder.push_start(config.motion_start_token_id)
                for _ in range(num_motion_tokens):
                    scores = motion_tokens.get_scores(decoder.step(), motion_arguments, is_guided)
                    choice = motion_arguments.choose(scores, generator).to(decoder.device)
                    decoder.push(choice + config.motion_code_offset)
                decoder.push(config.motion_end_token_id)
        if streamer is not None:
            streamer.end()

        new_ids, mask = decoder.get_generated()
        # Sequences of different lengths are padded on the right.
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(mask.sum(dim=1).max())]
        return torch.cat((prompt_ids, new_ids.gather(1, order).to(prompt_ids.device)), dim=1)

    def _generate_keyframe(self, decoder, visual_tokens, arguments, min_visual_tokens, max_visual_tokens, generator):
        decoder.push_start(self.config.image_start_token_id)
        token_ids = visual_tokens.token_ids.to(decoder.device)
        unfinished = torch.ones(decoder.batch_size, dtype=torch.bool, device=decoder.device)
        for position in range(max_visual_tokens):
            scores = visual_tokens.get_scores(decoder.step(), arguments, decoder.is_guided)
            if position < min_visual_tokens:
                scores[:, 0] = -float("inf")
            ids = token_ids[arguments.choose(scores, generator, unfinished).to(decoder.device)]
            decoder.push(ids, unfinished)
            unfinished = unfinished & (ids != self.config.image_end_token_id)
            if not unfinished.any():
                return
        decoder.push(torch.full_like(ids, self.config.image_end_token_id), unfinished)

    def _get_context_start(self, clip_starts: list[int], max_context_length: int) -> int:
        """The first generated column of the context: that of the earliest clip from which on all clips fit."""
        end = clip_starts[-1]
        return next(start for start in clip_starts if end - start <= max_context_length)

    def _ends_in_keyframe(self, input_ids: torch.LongTensor) -> bool:
        if input_ids.shape[1] == 0:
            return False
        config = self.config
        last_ids = input_ids[:, -1]
        first_code = config.visual_code_offset
        is_code = (last_ids >= first_code) & (last_ids < first_code + config.num_visual_codes)
        is_keyframe = is_code | (last_ids == config.image_end_token_id)
        if bool(is_keyframe.all() != is_keyframe.any()):
            raise ValueError(
                "Either all prompts of a batch end in a keyframe, to be continued by its motion, or none does: got "
                f"{int(is_keyframe.sum())} of {len(is_keyframe)}."
            )
        return bool(is_keyframe.all())

    def _check_visual_codes(self, visual_codes, batch_size, num_return_sequences, with_motion):
        if visual_codes is None:
            return None
        if not with_motion:
            raise ValueError('`visual_codes` are for `generation_mode="video"`, but the mode is "image".')
        if len(visual_codes) * num_return_sequences != batch_size:
            raise ValueError(
                f"Got `visual_codes` of {len(visual_codes)} keyframes for {batch_size // num_return_sequences} prompts."
            )
        config = self.config
        rows = []
        for index, codes in enumerate(visual_codes):
            codes = torch.as_tensor(codes, dtype=torch.long)
            if codes.ndim != 1 or not 1 <= len(codes) <= config.max_visual_tokens:
                raise ValueError(
                    f"`visual_codes[{index}]` has shape {tuple(codes.shape)}: a keyframe has 1 to "
                    f"{config.max_visual_tokens} codes."
                )
            if int(codes.min()) < 0 or int(codes.max()) >= config.num_visual_codes:
                raise ValueError(
                    f"`visual_codes[{index}]` has codes from {int(codes.min())} to {int(codes.max())}, outside 0 to "
                    f"{config.num_visual_codes - 1}."
                )
            ids = [
                config.image_start_token_id,
                *(codes + config.visual_code_offset).tolist(),
                config.image_end_token_id,
            ]
            rows.extend([torch.tensor(ids)] * num_return_sequences)
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left", padding_value=-1)
        padded = padded.to(self.get_input_embeddings().weight.device)
        return [(column.clamp(min=0), column >= 0) for column in padded.unbind(dim=1)]
