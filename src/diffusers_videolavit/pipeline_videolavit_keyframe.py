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
"""The pipeline from visual codes to images (https://arxiv.org/abs/2402.03161, Section 3.2)."""

import numpy as np
import PIL.Image
import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import replace_example_docstring
from diffusers.utils.torch_utils import randn_tensor

from .keyframe_token_decoder import KeyframeTokenDecoder
from .pipeline_output import VideoLaVITKeyframePipelineOutput
from .pipeline_utils import (
    StepCallback,
    UNetLoraLoaderMixin,
    VideoLaVITPipelineMixin,
    check_callback_tensors,
    check_sampling_inputs,
    check_size,
    image_to_tensor,
    num_pixels_a_latent,
    resize_images,
    step_arguments,
    upcast_vae,
)


NOISE_CONSTRAINTS = ("ddim_inversion", "add_noise")

EXAMPLE_DOC_STRING = """
    Example:

    ```python
    >>> import torch
    >>> from diffusers_videolavit import VideoLaVITDetokenizerPipeline

    >>> device = "cuda" if torch.cuda.is_available() else "cpu"
    >>> pipe = VideoLaVITDetokenizerPipeline.from_pretrained(repo, torch_dtype=torch.bfloat16).to(device)
    >>> keyframe_pipe = pipe.keyframe_pipeline
    >>> visual_codes = [torch.tensor([31, 7, 40]), torch.tensor([12, 5])]
    >>> images = keyframe_pipe(visual_codes, height=576, width=1024).images
    >>> len(images)
    2

    ```
"""


def to_code_list(visual_codes: torch.Tensor | np.ndarray | list, name: str = "visual_codes") -> list[torch.LongTensor]:
    """
    The codes of each keyframe, from the codes of one (one-dimensional) or of several (two-dimensional or a list).

    Raises:
        ValueError: If these are no codes.
    """
    is_list = isinstance(visual_codes, (list, tuple))
    if is_list and len(visual_codes) > 0 and all(isinstance(code, int) for code in visual_codes):
        visual_codes = torch.tensor(visual_codes, dtype=torch.long)
    if isinstance(visual_codes, (torch.Tensor, np.ndarray)):
        codes = torch.as_tensor(visual_codes)
        if codes.ndim not in (1, 2) or codes.is_floating_point():
            raise ValueError(
                f"`{name}` has to hold integers in one or two dimensions, but is {codes.dtype} of shape "
                f"{tuple(codes.shape)}."
            )
        return list(codes.long()) if codes.ndim == 2 else [codes.long()]
    if not is_list:
        raise ValueError(f"`{name}` has to be a tensor or a list of tensors, but is {type(visual_codes).__name__}.")
    return [codes for item in visual_codes for codes in to_code_list(item, name)]


class VideoLaVITKeyframePipeline(VideoLaVITPipelineMixin, UNetLoraLoaderMixin):
    """
    Decodes visual codes to images with SDXL's U-Net, whose prompt embeddings they take the place of.

    Args:
        token_decoder ([`KeyframeTokenDecoder`]): Decodes visual codes to prompt embeddings.
        unet ([`UNet2DConditionModel`]): Denoises the latents.
        vae ([`AutoencoderKL`]): Encodes images to latents and decodes latents to images.
        scheduler ([`SchedulerMixin`]): [`DDIMScheduler`] or [`EulerAncestralDiscreteScheduler`].
    """

    model_cpu_offload_seq = "token_decoder->unet->vae"
    _callback_tensor_inputs = ["latents", "prompt_embeds", "pooled_prompt_embeds"]

    def __init__(
        self,
        token_decoder: KeyframeTokenDecoder,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        scheduler: SchedulerMixin,
    ):
        super().__init__()
        self.register_modules(token_decoder=token_decoder, unet=unet, vae=vae, scheduler=scheduler)
        self.vae_scale_factor = num_pixels_a_latent(vae) if vae is not None else 8
        # Each level of the U-Net but the last halves the latent.
        num_levels = len(unet.config.block_out_channels) if unet is not None else 3
        self.size_multiple = self.vae_scale_factor * 2 ** (num_levels - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def current_timestep(self) -> torch.Tensor | None:
        """The timestep that is being denoised, which caching hooks ask for; `None` outside the loop."""
        return self._current_timestep

    def enable_vae_slicing(self) -> None:
        """Decodes the images of a batch one at a time."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decodes the images of a batch at once."""
        self.vae.disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Decodes and encodes large images tile by tile."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Decodes and encodes large images at once."""
        self.vae.disable_tiling()

    def check_codes(self, visual_codes: list[torch.LongTensor], name: str = "visual_codes") -> None:
        """
        Raises:
            ValueError: If a keyframe has no code, more codes than patches, or a code that is out of range.
        """
        config = self.token_decoder.config
        if len(visual_codes) == 0:
            raise ValueError(f"`{name}` is empty: it has to hold the codes of at least one keyframe.")
        for i, codes in enumerate(visual_codes):
            if not 1 <= codes.shape[0] <= config.num_positions:
                raise ValueError(
                    f"A keyframe has 1 to {config.num_positions} codes, but keyframe {i} of `{name}` has {codes.shape[0]}."
                )
            lowest, highest = codes.min().item(), codes.max().item()
            if lowest < 0 or highest >= config.codebook_size:
                raise ValueError(
                    f"Visual codes are from 0 to {config.codebook_size - 1}, but keyframe {i} of `{name}` holds {lowest} "
                    f"to {highest}."
                )

    def check_constraint(self, noise_constraint: str | None, inversion_strength: float) -> None:
        """
        Raises:
            ValueError: If the constraint is unknown or not supported by the scheduler, or the strength is out of range.
        """
        if noise_constraint is not None and noise_constraint not in NOISE_CONSTRAINTS:
            raise ValueError(
                f"`noise_constraint` has to be None or one of {', '.join(NOISE_CONSTRAINTS)}, but is {noise_constraint!r}."
            )
        if not 0 <= inversion_strength <= 1:
            raise ValueError(f"`inversion_strength` has to be from 0 to 1, but is {inversion_strength}.")
        prediction_type = self.scheduler.config.prediction_type
        if noise_constraint == "ddim_inversion" and prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(
                "DDIM inversion needs a scheduler of prediction type `epsilon` or `v_prediction`, but it is "
                f"`{prediction_type}`."
            )

    def check_inputs(
        self,
        visual_codes: list[torch.LongTensor],
        height: int,
        width: int,
        num_inference_steps: int,
        num_images_per_prompt: int = 1,
        num_images: int | None = None,
        image_visual_codes: list[torch.LongTensor] | None = None,
        noise_constraint: str | None = None,
        inversion_strength: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end_tensor_inputs: list[str] = ("latents",),
    ) -> None:
        """
        Checks the arguments of `__call__`, before anything is computed.

        Raises:
            ValueError: With the name of the argument and the reason.
        """
        check_size(height, width, self.size_multiple)
        self.check_codes(visual_codes)
        if not isinstance(num_images_per_prompt, int) or num_images_per_prompt < 1:
            raise ValueError(f"`num_images_per_prompt` has to be a positive integer, but is {num_images_per_prompt}.")
        if num_images is not None and num_images != len(visual_codes):
            raise ValueError(f"`image` holds {num_images} images for {len(visual_codes)} keyframes in `visual_codes`.")
        if image_visual_codes is not None:
            if num_images is None:
                raise ValueError("`image_visual_codes` are the codes of `image`, which is not given.")
            if len(image_visual_codes) != num_images:
                raise ValueError(
                    f"`image_visual_codes` holds the codes of {len(image_visual_codes)} images, but `image` {num_images}."
                )
            self.check_codes(image_visual_codes, "image_visual_codes")
        self.check_constraint(noise_constraint, inversion_strength)
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"`output_type` has to be `pil`, `np`, `pt` or `latent`, but is {output_type!r}.")
        batch_size = len(visual_codes) * num_images_per_prompt
        size = (height // self.vae_scale_factor, width // self.vae_scale_factor)
        check_sampling_inputs(
            batch_size, num_inference_steps, generator, latents, (batch_size, self.unet.config.in_channels, *size)
        )
        check_callback_tensors(self, callback_on_step_end_tensor_inputs)

    def encode_codes(
        self, visual_codes: list[torch.LongTensor], num_images_per_prompt: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Decodes visual codes to what takes the place of SDXL's prompt embeddings.

        Args:
            visual_codes (`list[torch.LongTensor]`): The codes of each keyframe.
            num_images_per_prompt (`int`, *optional*, defaults to 1): Number of times each result is repeated.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Prompt embeddings of shape `(batch_size, num_positions, channels)` and
            pooled ones of shape `(batch_size, channels)`, in the U-Net's data type.
        """
        codes = torch.nn.utils.rnn.pad_sequence([codes.cpu() for codes in visual_codes], batch_first=True)
        num_codes = torch.tensor([codes.shape[0] for codes in visual_codes])
        mask = torch.arange(codes.shape[1]) < num_codes[:, None]
        device = self._execution_device
        decoded = self.token_decoder(codes.to(device), attention_mask=mask.to(device))
        return tuple(
            embeds.to(dtype=self.unet.dtype).repeat_interleave(num_images_per_prompt, dim=0)
            for embeds in (decoded.prompt_embeds, decoded.pooled_prompt_embeds)
        )

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Encodes images of shape `(batch_size, 3, height, width)`, values from 0 to 1, to float32 latents."""
        with upcast_vae(self.vae) as dtype:
            images = (2 * images - 1).to(device=self._execution_device, dtype=dtype)
            latents = self.vae.encode(images).latent_dist.mode()
        return latents.float() * self.vae.config.scaling_factor

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Decodes latents to images of shape `(batch_size, 3, height, width)`, values from -1 to 1."""
        with upcast_vae(self.vae) as dtype:
            images = self.vae.decode((latents / self.vae.config.scaling_factor).to(dtype), return_dict=False)[0]
        return images.float()

    def get_timesteps(self, num_inference_steps: int, strength: float = 1.0) -> torch.Tensor:
        """The timesteps of the last `int(strength * num_inference_steps)` steps, in the order of denoising."""
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        num_skipped = num_inference_steps - int(strength * num_inference_steps)
        return self.scheduler.timesteps[num_skipped * self.scheduler.order :]

    def get_time_ids(self, height: int, width: int, batch_size: int) -> torch.Tensor:
        """SDXL's original size, crop and target size, for images that are not cropped."""
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        return time_ids.repeat(batch_size, 1).to(self._execution_device)

    def predict_noise(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        prompt_embeds: torch.Tensor,
        pooled_prompt_embeds: torch.Tensor,
        time_ids: torch.Tensor,
    ) -> torch.Tensor:
        """The U-Net's prediction in float32, in which the latents are kept whatever its data type."""
        return self.unet(
            latents.to(self.unet.dtype),
            timestep,
            encoder_hidden_states=prompt_embeds,
            added_cond_kwargs={"text_embeds": pooled_prompt_embeds, "time_ids": time_ids},
            return_dict=False,
        )[0].float()

    @torch.no_grad()
    def invert(
        self,
        image: PIL.Image.Image | np.ndarray | torch.Tensor | list,
        visual_codes: torch.Tensor | list | None = None,
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = 50,
        inversion_strength: float = 0.85,
    ) -> torch.Tensor:
        """
        Carries images to an intermediate noise level by DDIM inversion, which is deterministic (Eq. 4).

        Denoising from there with the same condition and without guidance returns the images; the error falls as the
        number of steps grows.

        Args:
            image (`PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or `list`): One image or a batch.
            visual_codes (`torch.LongTensor` or `list[torch.LongTensor]`, *optional*):
                The images' own codes, the condition; without them the U-Net's unconditional branch is used.
            height (`int`, *optional*, defaults to 1024): Height in pixels to which the images are resized.
            width (`int`, *optional*, defaults to 1024): Width in pixels.
            num_inference_steps (`int`, *optional*, defaults to 50): Steps from image to noise.
            inversion_strength (`float`, *optional*, defaults to 0.85): The part of the steps to take, from 0 to 1.

        Returns:
            `torch.Tensor` of shape `(batch_size, 4, latent_height, latent_width)`: Latents as the scheduler expects
            them at the first of the last `int(inversion_strength * num_inference_steps)` timesteps.

        Raises:
            ValueError: If sizes, codes or numbers are not valid.
        """
        check_size(height, width, self.size_multiple)
        self.check_constraint("ddim_inversion", inversion_strength)
        images = self._to_images(image)
        if visual_codes is not None:
            visual_codes = to_code_list(visual_codes)
            self.check_codes(visual_codes)
            if len(visual_codes) != len(images):
                raise ValueError(
                    f"`visual_codes` holds the codes of {len(visual_codes)} images, but `image` {len(images)}."
                )
        latents = self.encode_image(self._stack(images, height, width))
        timesteps = self.get_timesteps(num_inference_steps, inversion_strength)
        return self._invert_latents(latents, visual_codes, height, width, timesteps)

    def _invert_latents(
        self,
        latents: torch.Tensor,
        visual_codes: list[torch.LongTensor] | None,
        height: int,
        width: int,
        timesteps: torch.Tensor,
    ) -> torch.Tensor:
        if len(timesteps) == 0:
            return latents
        prompt_embeds, pooled_prompt_embeds = self.encode_codes(
            [torch.zeros(1, dtype=torch.long)] * len(latents) if visual_codes is None else visual_codes
        )
        if visual_codes is None:
            prompt_embeds, pooled_prompt_embeds = (
                torch.zeros_like(prompt_embeds),
                torch.zeros_like(pooled_prompt_embeds),
            )
        time_ids = self.get_time_ids(height, width, len(latents))
        alphas_cumprod = self.scheduler.alphas_cumprod.to(latents.device)
        # Where the scheduler's last step arrives on the way back.
        starts_clean = self.scheduler.config.get("set_alpha_to_one", True)
        alpha = torch.ones_like(alphas_cumprod[0]) if starts_clean else alphas_cumprod[0]
        timestep = torch.zeros_like(timesteps[0])
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for next_timestep in timesteps.flip(0):
                next_alpha = alphas_cumprod[next_timestep.long()]
                next_latents = latents
                # The formula takes the noise where the step begins; the way back predicts it where the step ends. Taking
                # it there in a second pass makes the round trip of second order.
                for level, level_alpha in ((timestep, alpha), (next_timestep, next_alpha)):
                    noise = self.predict_noise(next_latents, level, prompt_embeds, pooled_prompt_embeds, time_ids)
                    if self.scheduler.config.prediction_type == "v_prediction":
                        noise = level_alpha.sqrt() * noise + (1 - level_alpha).sqrt() * next_latents
                    original = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
                    next_latents = next_alpha.sqrt() * original + (1 - next_alpha).sqrt() * noise
                latents, alpha, timestep = next_latents, next_alpha, next_timestep
                progress_bar.update()
        # As the scheduler scales latents: with the noise added, or mixed in.
        return self.scheduler.add_noise(original, noise, timesteps[:1])

    def _to_images(self, image: PIL.Image.Image | np.ndarray | torch.Tensor | list) -> list[torch.Tensor]:
        is_batch = isinstance(image, (list, tuple)) or (not isinstance(image, PIL.Image.Image) and image.ndim == 4)
        if not is_batch:
            return [image_to_tensor(image)]
        return [converted for item in image for converted in self._to_images(item)]

    def _stack(self, images: list[torch.Tensor], height: int, width: int) -> torch.Tensor:
        return torch.cat([resize_images(image[None], height, width) for image in images]).to(self._execution_device)

    @torch.no_grad()
    @replace_example_docstring(EXAMPLE_DOC_STRING)
    def __call__(
        self,
        visual_codes: torch.Tensor | list[torch.Tensor],
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.0,
        num_images_per_prompt: int = 1,
        image: PIL.Image.Image | np.ndarray | torch.Tensor | list | None = None,
        image_visual_codes: torch.Tensor | list[torch.Tensor] | None = None,
        noise_constraint: str | None = "ddim_inversion",
        inversion_strength: float = 0.85,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
    ) -> VideoLaVITKeyframePipelineOutput | tuple:
        """
        Decodes visual codes to images.

        Args:
            visual_codes (`torch.LongTensor` or `list[torch.LongTensor]`):
                The codes of one image, of shape `(num_codes,)`, or one such tensor an image, of different lengths if
                need be: 1 to 256 codes from 0 to 16383.
            height (`int`, *optional*, defaults to 1024): Height in pixels, a multiple of `size_multiple`.
            width (`int`, *optional*, defaults to 1024): Width in pixels, a multiple of `size_multiple`.
            num_inference_steps (`int`, *optional*, defaults to 50): Denoising steps.
            guidance_scale (`float`, *optional*, defaults to 7.0):
                Weight of classifier-free guidance, whose unconditional branch has embeddings of zero; 1 turns it off.
            num_images_per_prompt (`int`, *optional*, defaults to 1): Images for each keyframe's codes.
            image (`PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or `list`, *optional*):
                Images from which denoising starts, one for each keyframe: in a long video, the last frame before it.
                Values of arrays and tensors are from 0 to 1.
            image_visual_codes (`torch.LongTensor` or `list[torch.LongTensor]`, *optional*):
                The codes of `image`, under which it is inverted; without them the unconditional branch is used.
            noise_constraint (`str`, *optional*, defaults to `"ddim_inversion"`):
                How `image` is carried to the noise level where denoising starts: `"ddim_inversion"` or `"add_noise"`.
                `None` starts from noise.
            inversion_strength (`float`, *optional*, defaults to 0.85):
                The part of the denoising steps that is taken from there: with 0 the result is `image`, with 1 denoising
                starts from noise.
            eta (`float`, *optional*, defaults to 0.0): The DDIM paper's η, for schedulers that know it.
            generator (`torch.Generator` or `list[torch.Generator]`, *optional*): One, or one for each image.
            latents (`torch.Tensor` of shape `(batch_size, 4, latent_height, latent_width)`, *optional*):
                Gaussian noise to start from; with `"add_noise"`, the noise that is added.
            output_type (`str`, *optional*, defaults to `"pil"`): `"pil"`, `"np"`, `"pt"` or `"latent"`.
            return_dict (`bool`, *optional*, defaults to `True`):
                Whether to return a [`VideoLaVITKeyframePipelineOutput`] instead of a plain tuple.
            callback_on_step_end (`Callable`, *optional*):
                Called after every denoising step as `callback(pipe, step, timestep, callback_kwargs)`; returns the
                tensors to replace. Guidance that it turns off, by `pipe._guidance_scale = 0.0`, stays off.
            callback_on_step_end_tensor_inputs (`list[str]`, *optional*, defaults to `["latents"]`):
                The tensors in `callback_kwargs`, of `_callback_tensor_inputs`.

        Examples:

        Returns:
            [`VideoLaVITKeyframePipelineOutput`] or `tuple` whose first element is the images.

        Raises:
            ValueError: If an argument is not valid, before anything is computed.
        """
        # 1. Check inputs
        visual_codes = to_code_list(visual_codes)
        if image_visual_codes is not None:
            image_visual_codes = to_code_list(image_visual_codes, "image_visual_codes")
        images = self._to_images(image) if image is not None else None
        if callback_on_step_end_tensor_inputs is None:
            callback_on_step_end_tensor_inputs = ["latents"]
        self.check_inputs(
            visual_codes,
            height,
            width,
            num_inference_steps,
            num_images_per_prompt,
            len(images) if images is not None else None,
            image_visual_codes,
            noise_constraint,
            inversion_strength,
            generator,
            latents,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        batch_size = len(visual_codes) * num_images_per_prompt
        device = self._execution_device
        self._guidance_scale = guidance_scale
        self._current_timestep = None
        is_guided = self.do_classifier_free_guidance

        # 2. Timesteps; fewer when denoising starts from an image
        is_constrained = images is not None and noise_constraint is not None and inversion_strength < 1
        timesteps = self.get_timesteps(num_inference_steps, inversion_strength if is_constrained else 1.0)
        self._num_timesteps = len(timesteps)

        # 3. Latents to start from
        noise = latents
        if noise is None and not (is_constrained and noise_constraint == "ddim_inversion"):
            shape = (batch_size, self.unet.config.in_channels)
            shape += (height // self.vae_scale_factor, width // self.vae_scale_factor)
            noise = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        if not is_constrained:
            latents = noise.to(device=device, dtype=torch.float32) * self.scheduler.init_noise_sigma
        else:
            stacked = self._stack(images, height, width)
            if len(timesteps) == 0 and output_type != "latent":
                images = self.image_processor.postprocess(
                    stacked.repeat_interleave(num_images_per_prompt, dim=0),
                    output_type=output_type,
                    do_denormalize=[False] * batch_size,
                )
                return VideoLaVITKeyframePipelineOutput(images=images) if return_dict else (images,)
            latents = self.encode_image(stacked)
            if noise_constraint == "ddim_inversion":
                latents = self._invert_latents(latents, image_visual_codes, height, width, timesteps)
            latents = latents.repeat_interleave(num_images_per_prompt, dim=0)
            if noise_constraint == "add_noise" and len(timesteps) > 0:
                noise = noise.to(device=device, dtype=torch.float32)
                latents = self.scheduler.add_noise(latents, noise, timesteps[:1])

        # 4. Conditions: the codes, and zeros for the unconditional branch
        prompt_embeds, pooled_prompt_embeds = self.encode_codes(visual_codes, num_images_per_prompt)
        time_ids = self.get_time_ids(height, width, batch_size)
        if is_guided:
            prompt_embeds = torch.cat([torch.zeros_like(prompt_embeds), prompt_embeds])
            pooled_prompt_embeds = torch.cat([torch.zeros_like(pooled_prompt_embeds), pooled_prompt_embeds])
            time_ids = torch.cat([time_ids] * 2)

        # 5. Denoise
        extra_step_kwargs = step_arguments(self.scheduler, generator=generator, eta=eta)
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                self._current_timestep = t
                latent_model_input = self.scheduler.scale_model_input(torch.cat([latents] * (1 + is_guided)), t)
                noise_pred = self.predict_noise(latent_model_input, t, prompt_embeds, pooled_prompt_embeds, time_ids)
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
                    prompt_embeds = callback_outputs.pop("prompt_embeds", prompt_embeds)
                    pooled_prompt_embeds = callback_outputs.pop("pooled_prompt_embeds", pooled_prompt_embeds)
                    if is_guided and not self.do_classifier_free_guidance:
                        is_guided = False
                        # The callback may have left out the unconditional embeddings itself.
                        prompt_embeds = prompt_embeds[-batch_size:]
                        pooled_prompt_embeds = pooled_prompt_embeds[-batch_size:]
                        time_ids = time_ids[-batch_size:]
                progress_bar.update()

        # 6. Decode
        self._current_timestep = None
        if output_type == "latent":
            images = latents
        else:
            images = self.image_processor.postprocess(self.decode_latents(latents), output_type=output_type)

        self.maybe_free_model_hooks()
        if not return_dict:
            return (images,)
        return VideoLaVITKeyframePipelineOutput(images=images)
