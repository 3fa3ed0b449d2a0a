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
"""The stages of the video detokenizer pipeline: checks, tokens, motion, keyframes, denoising and frames."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from diffusers.hooks.group_offloading import _is_group_offload_enabled
from diffusers.utils.accelerate_utils import apply_forward_hook
from diffusers.utils.torch_utils import randn_tensor
from transformers import PreTrainedModel

from .pipeline_utils import (
    StepCallback,
    check_callback_tensors,
    check_sampling_inputs,
    check_size,
    step_arguments,
    upcast_vae,
)
from .temporal_vae_tiling import decode_tiled
from .video_inputs import VideoInputs


# The motion tokenizer and the video processor work in tenths of a standard deviation, the video detokenizer in whole ones.
MOTION_SCALE_FACTOR = 10.0


@apply_forward_hook
def _generate_ids(language_model: PreTrainedModel, **kwargs) -> torch.LongTensor:
    """`generate` of a model that may be offloaded to the CPU."""
    return language_model.generate(**kwargs)


@apply_forward_hook
def _encode_keyframes(language_model: PreTrainedModel, pixel_values: torch.Tensor) -> list[torch.LongTensor]:
    """The visual codes of images, by the tokenizer of a model that may be offloaded to the CPU."""
    keyframe_tokenizer = language_model.model.keyframe_tokenizer
    return keyframe_tokenizer.encode(pixel_values.to(keyframe_tokenizer.dtype))


@apply_forward_hook
def _decode_motion(owner: PreTrainedModel, motion_tokenizer: PreTrainedModel, codes, height, width) -> torch.Tensor:
    """Motion at a size, by a tokenizer that may be offloaded to the CPU with the model that owns it."""
    return motion_tokenizer.decode(codes, height=height, width=width)


def _to_bytes(images: list[torch.Tensor] | torch.Tensor) -> list[torch.Tensor]:
    """Images of values from 0 to 1 as a processor takes them."""
    return [image.mul(255).round().to(device="cpu", dtype=torch.uint8) for image in images]


class DetokenizerStagesMixin(DiffusionPipeline):
    """The steps that [`VideoLaVITDetokenizerPipeline`] takes for each clip, each of which can be called on its own."""

    def check_inputs(
        self,
        inputs: VideoInputs,
        height: int,
        width: int,
        keyframe_height: int | None,
        keyframe_width: int | None,
        num_inference_steps: int,
        keyframe_num_inference_steps: int,
        fps: int,
        noise_aug_strength: float,
        decode_chunk_size: int,
        noise_constraint: str | None,
        inversion_strength: float,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: torch.Tensor | None,
        keyframe_noise: torch.Tensor | None,
        output_type: str,
        callback_on_step_end_tensor_inputs: list[str],
    ) -> None:
        """
        Checks the arguments of `__call__`, before anything is computed.

        Raises:
            ValueError: With the name of the argument and the reason.
        """
        # 1. Sizes and numbers
        check_size(height, width, self.size_multiple)
        if not fps > 0 or not noise_aug_strength >= 0:
            raise ValueError(
                f"`fps` has to be positive and `noise_aug_strength` not negative, but they are {fps} and "
                f"{noise_aug_strength}."
            )
        if not isinstance(decode_chunk_size, int) or decode_chunk_size < 1:
            raise ValueError(f"`decode_chunk_size` has to be a positive integer, but is {decode_chunk_size}.")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"`output_type` has to be `pil`, `np`, `pt` or `latent`, but is {output_type!r}.")
        num_frames = self.unet.config.num_frames
        check_sampling_inputs(
            inputs.num_videos,
            num_inference_steps,
            generator,
            latents,
            (
                inputs.num_videos,
                inputs.num_clips * num_frames,
                self.vae.config.latent_channels,
                height // self.vae_scale_factor,
                width // self.vae_scale_factor,
            ),
        )
        noise_shape = (inputs.num_videos, inputs.num_clips, 3, height, width)
        if keyframe_noise is not None and tuple(keyframe_noise.shape) != noise_shape:
            raise ValueError(
                f"`keyframe_noise` has to be of shape {noise_shape}, but is of shape {tuple(keyframe_noise.shape)}."
            )
        check_callback_tensors(self, callback_on_step_end_tensor_inputs)

        # 2. Keyframes
        needs_language_model = not inputs.has_motion
        has_all_images = inputs.images is not None and len(inputs.images[0]) == inputs.num_clips
        if inputs.visual_codes is not None or (needs_language_model and not has_all_images):
            keyframe_pipeline = self.keyframe_pipeline
            if inputs.visual_codes is not None:
                keyframe_pipeline.check_codes([codes for video in inputs.visual_codes for codes in video])
            keyframe_pipeline.check_constraint(noise_constraint, inversion_strength)
            if not isinstance(keyframe_num_inference_steps, int) or keyframe_num_inference_steps < 1:
                raise ValueError(
                    f"`keyframe_num_inference_steps` has to be a positive integer, but is {keyframe_num_inference_steps}."
                )
            keyframe_size = self.get_keyframe_size(height, width)
            check_size(
                keyframe_size[0] if keyframe_height is None else keyframe_height,
                keyframe_size[1] if keyframe_width is None else keyframe_width,
                keyframe_pipeline.size_multiple,
                ("keyframe_height", "keyframe_width"),
            )

        # 3. Motion
        if needs_language_model:
            if self.language_model is None or self.processor is None:
                raise ValueError(
                    "Motion is generated from a prompt or a keyframe by `language_model` and `processor`, which this "
                    "pipeline was loaded without: pass `motion_codes` or `motion_vectors`, with a keyframe."
                )
            if inputs.visual_codes is not None and inputs.images is not None:
                raise ValueError("Pass either `image` or `visual_codes` as the keyframe whose motion is generated.")
            for name, keyframes in (("image", inputs.images), ("visual_codes", inputs.visual_codes)):
                if keyframes is not None and len(keyframes[0]) > 1:
                    raise ValueError(
                        f"`{name}` holds {len(keyframes[0])} keyframes a video, but where the language model generates "
                        "the motion, it makes the keyframes of later clips too: pass only the first one, or the motion "
                        "of all clips."
                    )
        if inputs.motion_vectors is not None:
            for motion in (motion for video in inputs.motion_vectors for motion in video):
                if motion.shape[:2] != (2, num_frames) or 0 in motion.shape:
                    raise ValueError(
                        f"`motion_vectors` of a clip have to be of shape (2, {num_frames}, height, width), but are of "
                        f"shape {tuple(motion.shape)}."
                    )
            return
        motion_tokenizer, _ = self._get_motion_tokenizer()
        if inputs.motion_codes is not None:
            config = motion_tokenizer.config
            for codes in (codes for video in inputs.motion_codes for codes in video):
                if codes.shape[0] != config.num_motion_tokens:
                    raise ValueError(
                        f"The motion of a clip has {config.num_motion_tokens} codes, but `motion_codes` hold one of "
                        f"{codes.shape[0]}."
                    )
                lowest, highest = codes.min().item(), codes.max().item()
                if lowest < 0 or highest >= config.codebook_size:
                    raise ValueError(
                        f"Motion codes are from 0 to {config.codebook_size - 1}, but `motion_codes` hold {lowest} to "
                        f"{highest}."
                    )

    def _get_motion_tokenizer(self) -> tuple[PreTrainedModel, PreTrainedModel]:
        """The motion tokenizer and the component to which it belongs."""
        if self.motion_tokenizer is not None:
            return self.motion_tokenizer, self.motion_tokenizer
        if self.language_model is not None:
            return self.language_model.model.motion_tokenizer, self.language_model
        raise ValueError(
            "Motion is decoded from its codes by `motion_tokenizer`, which this pipeline was loaded without: pass "
            "`motion_vectors`."
        )

    def generate_tokens(
        self,
        prompts: list[str] | None = None,
        visual_codes: list[torch.LongTensor] | None = None,
        generation_mode: str = "video",
        generator: torch.Generator | list[torch.Generator] | None = None,
        images: list[torch.Tensor] | torch.Tensor | None = None,
        **generate_kwargs: Any,
    ) -> tuple[list[list[torch.LongTensor]], list[list[torch.LongTensor]]]:
        """
        Generates tokens with the language model.

        Args:
            prompts (`list[str]`, *optional*): One prompt a sample.
            visual_codes (`list[torch.LongTensor]`, *optional*):
                The codes of each sample's first keyframe, for which only the motion is then generated.
            generation_mode (`str`, *optional*, defaults to `"video"`): `"video"` or `"image"`.
            generator (`torch.Generator` or `list[torch.Generator]`, *optional*):
                One, or one a sample. One number is drawn from each, to seed the generator of the tokens: so what is drawn
                after does not depend on the number of tokens.
            images (`list[torch.Tensor]`, *optional*):
                As `visual_codes`, but each keyframe is an image of shape `(3, height, width)`, values from 0 to 1, of which
                the language model reads the continuous features.
            generate_kwargs: Passed to the language model's `generate`: `num_clips`, `guidance_scale`, `top_k` and so on.

        Returns:
            `tuple` of two lists of one list a sample: visual codes and motion codes of its clips, without codes of `images`.
        """
        device = self._execution_device
        if prompts is None:
            prompts = [""] * len(visual_codes if images is None else images)
        # An empty prompt is a sequence that only begins.
        prompts = [prompt or self.processor.tokenizer.bos_token for prompt in prompts]
        image_inputs = {}
        if images is not None:
            prompts = [prompt + self.processor.image_token for prompt in prompts]
            image_inputs = {"images": _to_bytes(images)}
        inputs = self.processor(
            text=prompts, **image_inputs, generation_mode=generation_mode, padding=True, return_tensors="pt"
        )

        def derive(source: torch.Generator) -> torch.Generator:
            seed = torch.randint(2**62, (1,), generator=source, device=source.device).item()
            return torch.Generator(device).manual_seed(seed)

        if generator is not None:
            generator = [derive(g) for g in generator] if isinstance(generator, list) else derive(generator)
        # What can be decoded, where the decoders know less than the language model's vocabulary has.
        limits = {}
        config = self.language_model.config
        if self.keyframe_token_decoder is not None:
            decoder_config = self.keyframe_token_decoder.config
            limits["max_new_tokens"] = min(decoder_config.num_positions, config.max_visual_tokens)
            limits["num_visual_codes"] = min(decoder_config.codebook_size, config.num_visual_codes)
        if generation_mode == "video":
            motion_tokenizer, _ = self._get_motion_tokenizer()
            limits["num_motion_codes"] = min(motion_tokenizer.config.codebook_size, config.num_motion_codes)
        ids = _generate_ids(
            self.language_model,
            **inputs.to(device),
            generation_mode=generation_mode,
            visual_codes=visual_codes,
            generator=generator,
            **{**limits, **generate_kwargs},
        )
        samples = self.processor.post_process_multimodal_output(ids.cpu())
        visual_codes = [[codes for kind, codes in sample if kind == "image"] for sample in samples]
        motion_codes = [[codes for kind, codes in sample if kind == "motion"] for sample in samples]
        return visual_codes, motion_codes

    def _generate_motion(
        self,
        inputs: VideoInputs,
        generator: torch.Generator | list[torch.Generator] | None,
        generate_kwargs: dict[str, Any],
        decode_first_keyframes: Callable[[VideoInputs], torch.Tensor] | None,
    ) -> VideoInputs:
        """
        Tokens that were not given. With `decode_first_keyframes`, which decodes the codes of the first clips to images, the
        language model reads the first keyframes as continuous features.
        """
        first_codes, images = None, None
        if inputs.images is not None:
            first_codes = self.encode_images([video[0] for video in inputs.images])
        elif inputs.visual_codes is not None:
            first_codes = [video[0] for video in inputs.visual_codes]
        if decode_first_keyframes is not None:
            if first_codes is None:
                clips, _ = self.generate_tokens(
                    inputs.prompts, generation_mode="image", generator=generator, **generate_kwargs
                )
                first_codes = [codes for (codes,) in clips]
            if inputs.images is None:
                inputs = dataclasses.replace(inputs, visual_codes=[[codes] for codes in first_codes])
                inputs = dataclasses.replace(inputs, images=[[image] for image in decode_first_keyframes(inputs)])
            images = [video[0] for video in inputs.images]
        visual_codes, motion_codes = self.generate_tokens(
            inputs.prompts,
            first_codes if images is None else None,
            images=images,
            generator=generator,
            num_clips=inputs.num_clips,
            **generate_kwargs,
        )
        if images is not None:
            visual_codes = [[codes, *clips] for codes, clips in zip(first_codes, visual_codes)]
        if any(len(clips) != inputs.num_clips for clips in (*visual_codes, *motion_codes)):
            raise ValueError(
                f"The language model generated {[len(clips) for clips in visual_codes]} keyframes and "
                f"{[len(clips) for clips in motion_codes]} motions for videos of {inputs.num_clips} clips."
            )
        return dataclasses.replace(inputs, visual_codes=visual_codes, motion_codes=motion_codes)

    def encode_images(self, images: list[torch.Tensor]) -> list[torch.LongTensor]:
        """The visual codes of images of shape `(3, height, width)`, values from 0 to 1, by the language model's tokenizer."""
        pixel_values = self.processor.image_processor(_to_bytes(images), return_tensors="pt")["pixel_values"]
        return [
            codes.cpu() for codes in _encode_keyframes(self.language_model, pixel_values.to(self._execution_device))
        ]

    def get_motion(self, inputs: VideoInputs, clip: int, height: int, width: int) -> torch.Tensor:
        """
        The motion of one clip of each video, in units of its standard deviations.

        Args:
            inputs ([`VideoInputs`]): Holds motion codes or motion vectors.
            clip (`int`): Index of the clip.
            height (`int`): Height of the latents.
            width (`int`): Width of the latents.

        Returns:
            `torch.Tensor` of shape `(num_videos, 2, num_frames, height, width)`.
        """
        device = self._execution_device
        if inputs.motion_vectors is not None:
            motions = [video[clip].to(device).transpose(0, 1) for video in inputs.motion_vectors]
            motions = [F.interpolate(motion, size=(height, width), mode="bicubic") for motion in motions]
            return torch.stack(motions).transpose(1, 2) / MOTION_SCALE_FACTOR
        motion_tokenizer, owner = self._get_motion_tokenizer()
        codes = torch.stack([video[clip] for video in inputs.motion_codes]).to(device)
        return _decode_motion(owner, motion_tokenizer, codes, height, width).float()

    def encode_keyframes(
        self,
        images: torch.Tensor,
        noise_aug_strength: float = 0.02,
        generator: torch.Generator | list[torch.Generator] | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Encodes keyframes, with a little noise, to latents that are not multiplied by the VAE's scale.

        Args:
            images (`torch.Tensor` of shape `(num_videos, 3, height, width)`): Keyframes, values from 0 to 1.
            noise_aug_strength (`float`, *optional*, defaults to 0.02): Standard deviation of the noise, of values from -1 to 1.
            generator (`torch.Generator` or `list[torch.Generator]`, *optional*): One, or one a video.
            noise (`torch.Tensor` of the shape of `images`, *optional*): Gaussian noise, drawn when it is not given.

        Returns:
            `torch.Tensor` of shape `(num_videos, 4, latent_height, latent_width)`.
        """
        device = self._execution_device
        if noise is None:
            noise = randn_tensor(images.shape, generator=generator, device=device, dtype=torch.float32)
        images = 2 * images.to(device) - 1 + noise_aug_strength * noise.to(device)
        with upcast_vae(self.vae) as dtype:
            return self.vae.encode(images.to(dtype)).latent_dist.mode().float()

    def decode_latents(self, latents: torch.Tensor, decode_chunk_size: int = 8) -> torch.Tensor:
        """
        Decodes latents to frames, a video and `decode_chunk_size` of its frames at a time.

        Args:
            latents (`torch.Tensor` of shape `(num_videos, num_frames, 4, latent_height, latent_width)`): Denoised latents.
            decode_chunk_size (`int`, *optional*, defaults to 8): Number of frames that are decoded together.

        Returns:
            `torch.Tensor` of shape `(num_videos, 3, num_frames, height, width)`, float32, values from -1 to 1.
        """
        latents = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        videos = []
        for video in latents:
            chunks = []
            for chunk in video.split(decode_chunk_size):
                if self._use_vae_tiling:
                    frames = decode_tiled(self.vae, chunk, num_frames=len(chunk))
                else:
                    frames = self.vae.decode(chunk, num_frames=len(chunk)).sample
                chunks.append(frames.float())
            videos.append(torch.cat(chunks))
        return torch.stack(videos).transpose(1, 2)

    def denoise(
        self,
        latents: torch.Tensor,
        motion: torch.Tensor,
        keyframe_latents: torch.Tensor,
        num_inference_steps: int,
        added_time_ids: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
    ) -> torch.Tensor:
        """
        Denoises the latents of one clip of each video, with the guidance scales in `guidance_scale`.

        Args:
            latents (`torch.Tensor` of shape `(num_videos, num_frames, 4, latent_height, latent_width)`): Gaussian noise.
            motion (`torch.Tensor` of shape `(num_videos, 2, num_frames, latent_height, latent_width)`): The motion.
            keyframe_latents (`torch.Tensor` of shape `(num_videos, 4, latent_height, latent_width)`): The keyframes.
            num_inference_steps (`int`): Denoising steps.
            added_time_ids (`torch.Tensor` of shape `(num_videos, 3)`):
                Frames per second, motion bucket and strength of the keyframes' noise.
            generator, callback_on_step_end, callback_on_step_end_tensor_inputs: As in `__call__`.
        """
        device = self._execution_device
        num_videos, num_frames, _, height, width = latents.shape
        is_guided = self.do_classifier_free_guidance

        # 1. What does not change over the steps: the channels of the condition, keys and values of the motion
        condition = torch.cat(
            [keyframe_latents[:, None].expand(-1, num_frames, -1, -1, -1), motion.transpose(1, 2)], dim=2
        ).to(self.unet.dtype)
        if is_guided:
            condition = torch.cat([torch.zeros_like(condition), condition])
            added_time_ids = torch.cat([added_time_ids] * 2)
        motion_features = self.motion_encoder(motion).to(self.unet.dtype)
        if _is_group_offload_enabled(self.unet):
            # The layers that would compute the contexts are on the accelerator while their block runs only.
            motion_contexts = None
            if is_guided:
                motion_features = torch.cat([torch.zeros_like(motion_features), motion_features])
        else:
            num_unconditional = num_videos if is_guided else 0
            motion_contexts = self.unet.precompute_motion_contexts(
                motion_features, height=height, width=width, num_unconditional=num_unconditional
            )
            motion_features = None

        # 2. Timesteps
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        timesteps = self.scheduler.timesteps
        self._num_timesteps = len(timesteps)
        latents = latents.to(device=device, dtype=torch.float32) * self.scheduler.init_noise_sigma

        # 3. Denoise; latents stay in float32, since their scale spans five orders of magnitude
        extra_step_kwargs = step_arguments(self.scheduler, generator=generator)
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                self._current_timestep = t
                latent_model_input = self.scheduler.scale_model_input(torch.cat([latents] * (1 + is_guided)), t)
                latent_model_input = torch.cat([latent_model_input.to(self.unet.dtype), condition], dim=2)
                noise_pred = self.unet(
                    latent_model_input,
                    t,
                    encoder_hidden_states=motion_features,
                    added_time_ids=added_time_ids,
                    motion_contexts=motion_contexts,
                    return_dict=False,
                )[0].float()
                if is_guided:
                    noise_pred_uncond, noise_pred_cond = noise_pred.chunk(2)
                    noise_pred = noise_pred_uncond + self.guidance_scale * (noise_pred_cond - noise_pred_uncond)
                latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]

                if callback_on_step_end is not None:
                    callback_kwargs = {}
                    for name in callback_on_step_end_tensor_inputs:
                        callback_kwargs[name] = locals()[name]
                    callback_outputs = callback_on_step_end(self, i, t, callback_kwargs)
                    latents = callback_outputs.pop("latents", latents)
                    if is_guided and not self.do_classifier_free_guidance:
                        is_guided = False
                        condition, added_time_ids = condition[-num_videos:], added_time_ids[-num_videos:]
                        if motion_contexts is None:
                            motion_features = motion_features[-num_videos:]
                        else:
                            motion_contexts = dataclasses.replace(
                                motion_contexts, num_unconditional=0, batch_size=num_videos
                            )
                progress_bar.update()
        self._current_timestep = None
        return latents
