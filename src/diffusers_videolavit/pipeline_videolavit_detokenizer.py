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
"""The pipeline from prompts, images, tokens or motion vectors to videos (https://arxiv.org/abs/2402.03161, Section 3.2)."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DiffusionPipeline,
    SchedulerMixin,
    UNet2DConditionModel,
)
from diffusers.utils import replace_example_docstring
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from transformers import PreTrainedModel, ProcessorMixin

from .detokenizer_stages import DetokenizerStagesMixin
from .keyframe_token_decoder import KeyframeTokenDecoder
from .motion_condition_encoder import MotionConditionEncoder
from .pipeline_output import VideoLaVITDetokenizerPipelineOutput, VideoLaVITKeyframePipelineOutput
from .pipeline_utils import (
    StepCallback,
    UNetLoraLoaderMixin,
    VideoLaVITPipelineMixin,
    num_pixels_a_latent,
    resize_images,
)
from .pipeline_videolavit_keyframe import VideoLaVITKeyframePipeline
from .unet_spatio_temporal_motion_condition import UNetSpatioTemporalMotionConditionModel
from .video_inputs import VideoInputs, join_clips, prepare_video_inputs


EXAMPLE_DOC_STRING = """
    Example:

    ```python
    >>> import torch
    >>> from diffusers.utils import export_to_gif, load_image
    >>> from diffusers_videolavit import VideoLaVITDetokenizerPipeline

    >>> device = "cuda" if torch.cuda.is_available() else "cpu"
    >>> pipe = VideoLaVITDetokenizerPipeline.from_pretrained(repo, torch_dtype=torch.bfloat16).to(device)
    >>> generator = torch.Generator(device).manual_seed(0)

    >>> # A prompt becomes a video of two clips, 47 frames.
    >>> frames = pipe("Sailboat on a mountain lake", num_clips=2, generator=generator).frames[0]
    >>> path = export_to_gif(frames, "sailboat.gif", fps=6)

    >>> # An image begins to move.
    >>> keyframe = load_image("keyframe.png")
    >>> frames = pipe("Sailboat on a mountain lake", image=keyframe, generator=generator).frames[0]

    >>> # A long video, clip by clip.
    >>> for frames in pipe.generate_clips("Sailboat on a mountain lake", num_clips=3, generator=generator):
    ...     print(len(frames[0]))
    24
    23
    23

    ```
"""


# The signature of `callback_on_clip_end`: pipeline, index of the clip and its frames; returns the frames to keep.
ClipCallback = Callable[[DiffusionPipeline, int, Any], Any]


class VideoLaVITDetokenizerPipeline(VideoLaVITPipelineMixin, DetokenizerStagesMixin, UNetLoraLoaderMixin):
    """
    Turns prompts, images, visual and motion tokens, or a codec's motion vectors into videos.

    A video is made of clips, a clip of a keyframe and the motion of its frames. From pixels and motion vectors only
    `vae`, `unet`, `motion_encoder` and `scheduler` are needed; from tokens also the keyframe components and
    `motion_tokenizer`; from prompts also `language_model` and `processor`.

    Args:
        vae ([`AutoencoderKLTemporalDecoder`]): Encodes keyframes to latents and decodes latents to frames.
        unet ([`UNetSpatioTemporalMotionConditionModel`]): Denoises the latents of a clip.
        scheduler ([`EulerDiscreteScheduler`]): Used with `unet`.
        motion_encoder ([`MotionConditionEncoder`]): Encodes a motion field for the cross-attentions of `unet`.
        keyframe_token_decoder ([`KeyframeTokenDecoder`], *optional*): Decodes visual codes to prompt embeddings.
        keyframe_unet ([`UNet2DConditionModel`], *optional*): Denoises the latents of a keyframe.
        keyframe_vae ([`AutoencoderKL`], *optional*): Used with `keyframe_unet`.
        keyframe_scheduler ([`SchedulerMixin`], *optional*): Used with `keyframe_unet`.
        motion_tokenizer (`VideoLaVITMotionTokenizer`, *optional*):
            Decodes motion codes; that of `language_model` when it is not given.
        language_model (`VideoLaVITForCausalLM`, *optional*): Generates tokens.
        processor (`VideoLaVITProcessor`, *optional*): Prepares what `language_model` reads and sorts what it writes.
        max_guidance_scale (`float`, *optional*, defaults to 3.0): What `__call__` takes where it is not given.
        keyframe_guidance_scale (`float`, *optional*, defaults to 7.0): As `max_guidance_scale`.
        continuous_keyframe (`bool`, *optional*, defaults to `False`): As `max_guidance_scale`.
    """

    model_cpu_offload_seq = "language_model->motion_tokenizer->keyframe_token_decoder->keyframe_unet->keyframe_vae->motion_encoder->unet->vae"
    _optional_components = [
        "keyframe_token_decoder",
        "keyframe_unet",
        "keyframe_vae",
        "keyframe_scheduler",
        "motion_tokenizer",
        "language_model",
        "processor",
    ]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        vae: AutoencoderKLTemporalDecoder,
        unet: UNetSpatioTemporalMotionConditionModel,
        scheduler: SchedulerMixin,
        motion_encoder: MotionConditionEncoder,
        keyframe_token_decoder: KeyframeTokenDecoder | None = None,
        keyframe_unet: UNet2DConditionModel | None = None,
        keyframe_vae: AutoencoderKL | None = None,
        keyframe_scheduler: SchedulerMixin | None = None,
        motion_tokenizer: PreTrainedModel | None = None,
        language_model: PreTrainedModel | None = None,
        processor: ProcessorMixin | None = None,
        max_guidance_scale: float = 3.0,
        keyframe_guidance_scale: float = 7.0,
        continuous_keyframe: bool = False,
    ):
        super().__init__()
        self.register_modules(
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            motion_encoder=motion_encoder,
            keyframe_token_decoder=keyframe_token_decoder,
            keyframe_unet=keyframe_unet,
            keyframe_vae=keyframe_vae,
            keyframe_scheduler=keyframe_scheduler,
            motion_tokenizer=motion_tokenizer,
            language_model=language_model,
            processor=processor,
        )
        self.register_to_config(
            max_guidance_scale=max_guidance_scale,
            keyframe_guidance_scale=keyframe_guidance_scale,
            continuous_keyframe=continuous_keyframe,
        )
        self.vae_scale_factor = num_pixels_a_latent(vae) if vae is not None else 8
        # Each level of the U-Net but the last halves the latent.
        num_levels = len(unet.config.block_out_channels) if unet is not None else 4
        self.size_multiple = self.vae_scale_factor * 2 ** (num_levels - 1)
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_scale_factor)
        self.set_progress_bar_config()
        self._use_vae_tiling = False

    @property
    def keyframe_pipeline(self) -> VideoLaVITKeyframePipeline:
        """
        The pipeline from visual codes to images, on the components of this one.

        Raises:
            ValueError: If one of its components is missing.
        """
        components = {
            "token_decoder": self.keyframe_token_decoder,
            "unet": self.keyframe_unet,
            "vae": self.keyframe_vae,
            "scheduler": self.keyframe_scheduler,
        }
        missing = [f"keyframe_{name}" for name, component in components.items() if component is None]
        if missing:
            raise ValueError(
                f"Images are decoded from visual codes by {missing}, which this pipeline was loaded without."
            )
        pipeline = VideoLaVITKeyframePipeline(**components)
        pipeline.set_progress_bar_config(**self._progress_bar_config)
        return pipeline

    @property
    def guidance_scale(self) -> torch.Tensor:
        """The weight of classifier-free guidance of each frame, of shape `(1, num_frames, 1, 1, 1)`."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        # A callback may have replaced the weight of each frame by one number.
        return bool(torch.as_tensor(self._guidance_scale).max() > 1)

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def current_timestep(self) -> torch.Tensor | None:
        """The timestep that is being denoised, which caching hooks ask for; `None` outside the loop."""
        return self._current_timestep

    def enable_vae_tiling(self) -> None:
        """Decodes frames, and decodes and encodes keyframes, tile by tile."""
        self._use_vae_tiling = True
        if self.keyframe_vae is not None:
            self.keyframe_vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Decodes frames and keyframes at once."""
        self._use_vae_tiling = False
        if self.keyframe_vae is not None:
            self.keyframe_vae.disable_tiling()

    def enable_vae_slicing(self) -> None:
        """Decodes the keyframes of a batch one at a time; videos always are."""
        if self.keyframe_vae is not None:
            self.keyframe_vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decodes the keyframes of a batch at once."""
        if self.keyframe_vae is not None:
            self.keyframe_vae.disable_slicing()

    @property
    def default_size(self) -> int:
        """Height and width of videos where they are not given, in pixels: what the U-Net was trained on."""
        return (self.unet.config.sample_size or 96) * self.vae_scale_factor

    def get_keyframe_size(self, height: int, width: int) -> tuple[int, int]:
        """
        The size at which keyframes of a video are generated: its aspect ratio at the area that the keyframe U-Net was
        trained on, below which its images fall apart.
        """
        multiple = math.lcm(self.size_multiple, self.keyframe_pipeline.size_multiple)
        scale = 1.0
        if self.keyframe_unet.config.sample_size is not None:
            native_side = self.keyframe_unet.config.sample_size * num_pixels_a_latent(self.keyframe_vae)
            scale = max(native_side / math.sqrt(height * width), 1.0)
        return tuple(max(round(side * scale / multiple), 1) * multiple for side in (height, width))

    def _decode_keyframes(
        self,
        inputs: VideoInputs,
        clip: int,
        height: int,
        width: int,
        last_frames: torch.Tensor | None,
        keyframe_size: tuple[int | None, int | None],
        **kwargs: Any,
    ) -> torch.Tensor:
        """Keyframes of a clip, of values from 0 to 1: given, decoded from their codes, or the last frames before it."""
        if inputs.images is not None and clip < len(inputs.images[0]):
            return torch.cat([resize_images(video[clip][None], height, width) for video in inputs.images])
        if inputs.visual_codes is None or clip >= len(inputs.visual_codes[0]):
            return last_frames
        num_constrained_steps = int(kwargs["inversion_strength"] * kwargs["num_inference_steps"])
        if last_frames is not None and kwargs["noise_constraint"] is not None and num_constrained_steps == 0:
            return last_frames
        default_size = self.get_keyframe_size(height, width)
        keyframes = self.keyframe_pipeline(
            height=keyframe_size[0] or default_size[0],
            width=keyframe_size[1] or default_size[1],
            visual_codes=[video[clip] for video in inputs.visual_codes],
            image=last_frames,
            image_visual_codes=[video[clip - 1] for video in inputs.visual_codes] if clip > 0 else None,
            output_type="pt",
            **kwargs,
        ).images
        return resize_images(keyframes, height, width)

    @torch.no_grad()
    def _generate_clips(
        self,
        inputs: VideoInputs,
        height: int,
        width: int,
        num_inference_steps: int,
        guidance_scales: tuple[float, float],
        time_ids: tuple[float, float, float],
        decode_chunk_size: int,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: torch.Tensor | None,
        keyframe_noise: torch.Tensor | None,
        output_type: str,
        keyframe_kwargs: dict[str, Any],
        continuous_keyframe: bool,
        generate_kwargs: dict[str, Any],
        step_kwargs: dict[str, Any],
    ) -> Iterator[list | np.ndarray | torch.Tensor]:
        device = self._execution_device
        num_frames = self.unet.config.num_frames
        latent_size = (height // self.vae_scale_factor, width // self.vae_scale_factor)
        added_time_ids = torch.tensor([time_ids], device=device).repeat(inputs.num_videos, 1)
        last_frames = None
        try:
            # 1. Generate the tokens that were not given
            if not inputs.has_motion:

                def decode_first_keyframes(inputs: VideoInputs) -> torch.Tensor:
                    keyframes = self._decode_keyframes(inputs, 0, height, width, last_frames=None, **keyframe_kwargs)
                    # The language model is needed again.
                    self.maybe_free_model_hooks()
                    return keyframes

                inputs = self._generate_motion(
                    inputs, generator, generate_kwargs, decode_first_keyframes if continuous_keyframe else None
                )

            for clip in range(inputs.num_clips):
                # 2. Keyframe
                keyframes = self._decode_keyframes(inputs, clip, height, width, last_frames, **keyframe_kwargs)
                keyframe_latents = self.encode_keyframes(
                    keyframes, time_ids[2], generator, keyframe_noise[:, clip] if keyframe_noise is not None else None
                )

                # 3. Motion
                motion = self.get_motion(inputs, clip, *latent_size)

                # 4. Guidance, which rises over the frames, and noise to start from
                guidance_scale = torch.linspace(*guidance_scales, num_frames, device=device)
                self._guidance_scale = guidance_scale[None, :, None, None, None]
                if latents is not None:
                    clip_latents = latents[:, clip * num_frames : (clip + 1) * num_frames]
                else:
                    shape = (inputs.num_videos, num_frames, self.vae.config.latent_channels, *latent_size)
                    clip_latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)

                # 5. Denoise
                clip_latents = self.denoise(
                    clip_latents,
                    motion,
                    keyframe_latents,
                    num_inference_steps,
                    added_time_ids,
                    generator=generator,
                    **step_kwargs,
                )

                # 6. Decode; the first frame of a later clip repeats the last moment of the clip before
                first_frame = 0 if clip == 0 else 1
                if output_type == "latent":
                    frames = clip_latents[:, first_frame:]
                    if clip + 1 < inputs.num_clips:
                        last_chunk = clip_latents.split(decode_chunk_size, dim=1)[-1]
                        decoded = self.decode_latents(last_chunk, decode_chunk_size)
                else:
                    decoded = self.decode_latents(clip_latents, decode_chunk_size)
                    frames = self.video_processor.postprocess_video(decoded[:, :, first_frame:], output_type)
                if clip + 1 < inputs.num_clips:
                    last_frames = (decoded[:, :, -1] / 2 + 0.5).clamp(0, 1)
                # Whoever takes the frames may take long: nothing stays on the accelerator that is offloaded otherwise.
                self.maybe_free_model_hooks()
                yield frames
        finally:
            self.maybe_free_model_hooks()

    def generate_clips(
        self,
        prompt: str | list[str] | None = None,
        image: PIL.Image.Image | np.ndarray | torch.Tensor | list | None = None,
        visual_codes: torch.Tensor | list | None = None,
        motion_codes: torch.Tensor | list | None = None,
        motion_vectors: torch.Tensor | np.ndarray | list | None = None,
        height: int | None = None,
        width: int | None = None,
        num_clips: int | None = None,
        num_videos_per_prompt: int = 1,
        num_inference_steps: int = 25,
        min_guidance_scale: float = 1.0,
        max_guidance_scale: float | None = None,
        fps: int = 6,
        motion_bucket_id: int = 127,
        noise_aug_strength: float = 0.02,
        decode_chunk_size: int = 8,
        keyframe_height: int | None = None,
        keyframe_width: int | None = None,
        keyframe_num_inference_steps: int = 50,
        keyframe_guidance_scale: float | None = None,
        noise_constraint: str | None = "ddim_inversion",
        inversion_strength: float = 0.85,
        continuous_keyframe: bool | None = None,
        generate_kwargs: dict[str, Any] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        keyframe_noise: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
    ) -> Iterator[list[list[PIL.Image.Image]] | np.ndarray | torch.Tensor]:
        """
        Generates videos clip by clip, so that a long video need not be held in memory.

        The arguments are those of `__call__`, and are checked when this is called.

        Returns:
            An iterator over the frames of one clip after the other, in the form of the pipeline's output; joined, they are
            the video.

        Raises:
            ValueError: If an argument is not valid, before anything is computed.
        """
        height = self.default_size if height is None else height
        width = self.default_size if width is None else width
        if max_guidance_scale is None:
            max_guidance_scale = self.config.max_guidance_scale
        if keyframe_guidance_scale is None:
            keyframe_guidance_scale = self.config.keyframe_guidance_scale
        if continuous_keyframe is None:
            continuous_keyframe = self.config.continuous_keyframe
        if callback_on_step_end_tensor_inputs is None:
            callback_on_step_end_tensor_inputs = ["latents"]
        if not isinstance(num_videos_per_prompt, int) or num_videos_per_prompt < 1:
            raise ValueError(f"`num_videos_per_prompt` has to be a positive integer, but is {num_videos_per_prompt}.")
        inputs = prepare_video_inputs(
            prompt,
            num_clips,
            num_videos_per_prompt,
            image=image,
            visual_codes=visual_codes,
            motion_codes=motion_codes,
            motion_vectors=motion_vectors,
        )
        self.check_inputs(
            inputs,
            height,
            width,
            keyframe_height,
            keyframe_width,
            num_inference_steps,
            keyframe_num_inference_steps,
            fps,
            noise_aug_strength,
            decode_chunk_size,
            noise_constraint,
            inversion_strength,
            generator,
            latents,
            keyframe_noise,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        keyframe_kwargs = {
            "keyframe_size": (keyframe_height, keyframe_width),
            "num_inference_steps": keyframe_num_inference_steps,
            "guidance_scale": keyframe_guidance_scale,
            "noise_constraint": noise_constraint,
            "inversion_strength": inversion_strength,
            "generator": generator,
        }
        return self._generate_clips(
            inputs,
            height,
            width,
            num_inference_steps,
            guidance_scales=(min_guidance_scale, max_guidance_scale),
            time_ids=(float(fps), float(motion_bucket_id), float(noise_aug_strength)),
            decode_chunk_size=decode_chunk_size,
            generator=generator,
            latents=latents,
            keyframe_noise=keyframe_noise,
            output_type=output_type,
            keyframe_kwargs=keyframe_kwargs,
            continuous_keyframe=continuous_keyframe,
            generate_kwargs=generate_kwargs or {},
            step_kwargs={
                "callback_on_step_end": callback_on_step_end,
                "callback_on_step_end_tensor_inputs": callback_on_step_end_tensor_inputs,
            },
        )

    @torch.no_grad()
    @replace_example_docstring(EXAMPLE_DOC_STRING)
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PIL.Image.Image | np.ndarray | torch.Tensor | list | None = None,
        visual_codes: torch.Tensor | list | None = None,
        motion_codes: torch.Tensor | list | None = None,
        motion_vectors: torch.Tensor | np.ndarray | list | None = None,
        height: int | None = None,
        width: int | None = None,
        num_clips: int | None = None,
        num_videos_per_prompt: int = 1,
        num_inference_steps: int = 25,
        min_guidance_scale: float = 1.0,
        max_guidance_scale: float | None = None,
        fps: int = 6,
        motion_bucket_id: int = 127,
        noise_aug_strength: float = 0.02,
        decode_chunk_size: int = 8,
        keyframe_height: int | None = None,
        keyframe_width: int | None = None,
        keyframe_num_inference_steps: int = 50,
        keyframe_guidance_scale: float | None = None,
        noise_constraint: str | None = "ddim_inversion",
        inversion_strength: float = 0.85,
        continuous_keyframe: bool | None = None,
        generate_kwargs: dict[str, Any] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        keyframe_noise: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        callback_on_clip_end: ClipCallback | None = None,
    ) -> VideoLaVITDetokenizerPipelineOutput | tuple:
        """
        Generates videos from prompts, images, tokens or motion vectors.

        A video of several clips is passed as a list of lists: the keyframes or motions of the clips of each video. A flat
        list holds the clips of all videos, one video after another: `num_clips` a video, or, when that is not given, as
        many as the number of prompts, or else of keyframes, implies. With a given motion, keyframes are those of all clips
        or only of the first; a later clip without one begins with the last frame before it. Where the language model
        generates the motion, it makes the keyframes of later clips too, and only the first can be given.

        Args:
            prompt (`str` or `list[str]`, *optional*):
                What the language model generates tokens from: keyframes and motion, or, with an `image` or
                `visual_codes` for the first keyframe, its motion and the clips after it.
            image (`PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or `list`, *optional*):
                The keyframe, resized to `height` and `width`; values of arrays (height, width, 3) and tensors (3, height,
                width) are from 0 to 1. Goes before the keyframe in `visual_codes`.
            visual_codes (`torch.LongTensor` or `list`, *optional*): Keyframes of 1 to 256 codes from 0 to 16383.
            motion_codes (`torch.LongTensor` or `list`, *optional*): Motions of 135 codes from 0 to 1023.
            motion_vectors (`torch.Tensor`, `np.ndarray` or `list`, *optional*):
                Motions of shape `(2, num_frames, height, width)`, on any grid, in tenths of their standard deviation as
                `VideoLaVITVideoProcessor` gives them.
            height (`int`, *optional*): Height in pixels, a multiple of `size_multiple`; by default the U-Net's
                `sample_size` in pixels.
            width (`int`, *optional*): Width in pixels, as `height`.
            num_clips (`int`, *optional*): Clips of each video; by default 1, or what the other arguments imply.
            num_videos_per_prompt (`int`, *optional*, defaults to 1): Videos for each prompt, image or set of tokens.
            num_inference_steps (`int`, *optional*, defaults to 25): Denoising steps of a clip.
            min_guidance_scale (`float`, *optional*, defaults to 1.0): Weight of guidance at the first frame.
            max_guidance_scale (`float`, *optional*):
                Weight of guidance at the last frame, by default what the pipeline's configuration has, 3.0 as published. The weight changes linearly between; when neither is over 1, there
                is no guidance.
            fps (`int`, *optional*, defaults to 6): Frames per second, as a condition.
            motion_bucket_id (`int`, *optional*, defaults to 127): Stable Video Diffusion's amount of motion.
            noise_aug_strength (`float`, *optional*, defaults to 0.02): Strength of the noise on the keyframe.
            decode_chunk_size (`int`, *optional*, defaults to 8): Number of frames that are decoded together.
            keyframe_height (`int`, *optional*): Height at which keyframes are generated, before they are resized; by
                default the video's aspect ratio at the area of the keyframe U-Net's `sample_size`.
            keyframe_width (`int`, *optional*): Width at which keyframes are generated, as `keyframe_height`.
            keyframe_num_inference_steps (`int`, *optional*, defaults to 50): Denoising steps of a keyframe.
            keyframe_guidance_scale (`float`, *optional*):
                Weight of guidance of a keyframe, by default what the pipeline's configuration has, 7.0 as published.
            noise_constraint (`str`, *optional*, defaults to `"ddim_inversion"`):
                How the last frame of a clip is carried to the noise level at which denoising of the next keyframe starts:
                `"ddim_inversion"` or `"add_noise"`. `None` starts from noise.
            inversion_strength (`float`, *optional*, defaults to 0.85):
                The part of the denoising steps that the next keyframe takes from there: 0 repeats the last frame, 1 starts
                from noise.
            continuous_keyframe (`bool`, *optional*):
                Whether the language model, where it generates the motion, reads the first keyframe as continuous features
                of its image, given or decoded, in place of its codes, which hardly tell where things are. Ours: for a
                language model that was trained so. By default what the pipeline's configuration has, `False` as published.
            generate_kwargs (`dict`, *optional*):
                Passed to the language model's `generate`: `guidance_scale`, `motion_guidance_scale`, `top_k` and so on.
            generator (`torch.Generator` or `list[torch.Generator]`, *optional*): One, or one a video.
            latents (`torch.Tensor` of shape `(batch_size, num_clips * num_frames, 4, height, width)`, *optional*):
                Gaussian noise to start from, at the size of the latents.
            keyframe_noise (`torch.Tensor` of shape `(batch_size, num_clips, 3, height, width)`, *optional*):
                Gaussian noise for the keyframes, which is multiplied by `noise_aug_strength`.
            output_type (`str`, *optional*, defaults to `"pil"`): `"pil"`, `"np"`, `"pt"` or `"latent"`.
            return_dict (`bool`, *optional*, defaults to `True`):
                Whether to return a [`VideoLaVITDetokenizerPipelineOutput`] instead of a plain tuple.
            callback_on_step_end (`Callable`, *optional*):
                Called after every denoising step of a clip as `callback(pipe, step, timestep, callback_kwargs)`; returns
                the tensors to replace. Guidance that it turns off, by `pipe._guidance_scale = 0.0`, stays off until the
                clip ends.
            callback_on_step_end_tensor_inputs (`list[str]`, *optional*, defaults to `["latents"]`):
                The tensors in `callback_kwargs`, of `_callback_tensor_inputs`.
            callback_on_clip_end (`Callable`, *optional*):
                Called with the pipeline, the clip's index and its frames; returns the frames to keep for the output, or
                `None` to let them go.

        Examples:

        Returns:
            [`VideoLaVITDetokenizerPipelineOutput`] or `tuple` whose first element is the frames: 24 of the first clip and
            23 of each further one, whose first frame repeats the last moment of the clip before.

        Raises:
            ValueError: If an argument is not valid, before anything is computed.
        """
        clips = self.generate_clips(
            prompt=prompt,
            image=image,
            visual_codes=visual_codes,
            motion_codes=motion_codes,
            motion_vectors=motion_vectors,
            height=height,
            width=width,
            num_clips=num_clips,
            num_videos_per_prompt=num_videos_per_prompt,
            num_inference_steps=num_inference_steps,
            min_guidance_scale=min_guidance_scale,
            max_guidance_scale=max_guidance_scale,
            fps=fps,
            motion_bucket_id=motion_bucket_id,
            noise_aug_strength=noise_aug_strength,
            decode_chunk_size=decode_chunk_size,
            keyframe_height=keyframe_height,
            keyframe_width=keyframe_width,
            keyframe_num_inference_steps=keyframe_num_inference_steps,
            keyframe_guidance_scale=keyframe_guidance_scale,
            noise_constraint=noise_constraint,
            inversion_strength=inversion_strength,
            continuous_keyframe=continuous_keyframe,
            generate_kwargs=generate_kwargs,
            generator=generator,
            latents=latents,
            keyframe_noise=keyframe_noise,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
        )
        kept = []
        for index, frames in enumerate(clips):
            if callback_on_clip_end is not None:
                frames = callback_on_clip_end(self, index, frames)
            if frames is not None:
                kept.append(frames)
        frames = join_clips(kept)
        if not return_dict:
            return (frames,)
        return VideoLaVITDetokenizerPipelineOutput(frames=frames)

    @torch.no_grad()
    def keyframe(
        self,
        prompt: str | list[str] | None = None,
        visual_codes: torch.Tensor | list[torch.Tensor] | None = None,
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        generate_kwargs: dict[str, Any] | None = None,
        num_images_per_prompt: int = 1,
        **kwargs: Any,
    ) -> VideoLaVITKeyframePipelineOutput | tuple:
        """
        Generates images from prompts or visual codes: [`VideoLaVITKeyframePipeline`] on the components of this pipeline.

        Args:
            prompt (`str` or `list[str]`, *optional*): What the language model generates visual codes from.
            visual_codes (`torch.LongTensor` or `list[torch.LongTensor]`, *optional*): Codes instead of a prompt.
            height, width, num_inference_steps, guidance_scale, generator, latents, output_type, return_dict:
                See [`VideoLaVITKeyframePipeline`]; `guidance_scale` is by default what the pipeline's configuration has as
                `keyframe_guidance_scale`.
            generate_kwargs (`dict`, *optional*): Passed to the language model's `generate`.
            num_images_per_prompt (`int`, *optional*, defaults to 1): Images of the codes of each prompt, or of each of
                `visual_codes`. Of a list of generators, the first one of each prompt also seeds its codes.
            kwargs: The other arguments of [`VideoLaVITKeyframePipeline`].

        Returns:
            [`VideoLaVITKeyframePipelineOutput`] or `tuple` whose first element is the images.

        Raises:
            ValueError: If an argument is not valid, before anything is computed.
        """
        if (prompt is None) == (visual_codes is None):
            raise ValueError("Pass either a `prompt` or `visual_codes`.")
        keyframe_pipeline = self.keyframe_pipeline
        if guidance_scale is None:
            guidance_scale = self.config.keyframe_guidance_scale
        if prompt is not None:
            if self.language_model is None or self.processor is None:
                raise ValueError(
                    "Visual codes are generated from a `prompt` by `language_model` and `processor`, which this pipeline "
                    "was loaded without: pass `visual_codes`."
                )
            prompts = prepare_video_inputs(prompt, num_clips=None).prompts
            # What does not depend on the codes is checked before they are generated.
            keyframe_pipeline.check_inputs(
                visual_codes=[torch.zeros(1, dtype=torch.long)] * len(prompts),
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                generator=generator,
                latents=latents,
                output_type=output_type,
            )
            clips, _ = self.generate_tokens(
                prompts,
                generation_mode="image",
                generator=generator[::num_images_per_prompt] if isinstance(generator, list) else generator,
                **(generate_kwargs or {}),
            )
            visual_codes = [codes for (codes,) in clips]
        output = keyframe_pipeline(
            visual_codes=visual_codes,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_images_per_prompt=num_images_per_prompt,
            generator=generator,
            latents=latents,
            output_type=output_type,
            return_dict=return_dict,
            **kwargs,
        )
        self.maybe_free_model_hooks()
        return output
