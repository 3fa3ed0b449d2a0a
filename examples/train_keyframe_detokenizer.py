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
"""
Stage 1: trains the keyframe detokenizer, from visual tokens to an image (LaVIT, arXiv 2309.04669, Eq. 5).

    accelerate launch examples/train_keyframe_detokenizer.py --config examples/configs/keyframe_detokenizer_tiny.yaml \\
        --keyframe_tokenizer outputs/keyframe_tokenizer --vae outputs/keyframe_vae --train_images data/images \\
        --output_dir outputs/keyframe_detokenizer

    accelerate launch --config_file examples/accelerate_configs/ddp.yaml examples/train_keyframe_detokenizer.py \\
        --config examples/configs/keyframe_detokenizer_full.yaml --train_images laion-aesthetics \\
        --keyframe_tokenizer outputs/keyframe_tokenizer --stable_diffusion_xl stabilityai/stable-diffusion-xl-base-1.0

Images need no captions: the frozen tokenizer makes the condition. The output is a pipeline with the moving average of the weights. Killed
and started again with the same arguments, it goes on from its last checkpoint.
"""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch.nn import functional as F
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.cache import CachedSamples, fingerprint
from training.clips import ImageDataset, find_media
from training.diffusion import MovingAverageTrainer, TrainedParts, encode_images
from training.edm import expand_as
from training.pictures import PictureCallback, contact_sheet, to_picture
from training.trainer import prepare_run, train_and_save

from diffusers_videolavit import KeyframeTokenDecoder, VideoLaVITKeyframePipeline
from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITKeyframeTokenizer


DESCRIPTION = """Video-LaVIT's keyframe detokenizer (arXiv 2402.03161, section 3.2; LaVIT, arXiv 2309.04669): a U-Net that makes an image from its
visual tokens, which a decoder turns into what takes the place of SDXL's prompt embeddings."""
USAGE = """import torch
from diffusers_videolavit import VideoLaVITKeyframePipeline

pipe = VideoLaVITKeyframePipeline.from_pretrained("{model}")
visual_codes = torch.arange(20)  # of VideoLaVITKeyframeTokenizer.encode
image = pipe(visual_codes).images[0]"""
# The sampler of Stable Diffusion XL.
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@dataclass
class ModelArguments:
    keyframe_tokenizer: str = field(metadata={"help": "Folder or repository of the keyframe tokenizer."})
    pipeline_name_or_path: str | None = field(default=None, metadata={"help": "A keyframe pipeline to train further."})
    stable_diffusion_xl: str | None = field(
        default=None, metadata={"help": "Repository of Stable Diffusion XL to start from."}
    )
    vae: str | None = field(default=None, metadata={"help": "The autoencoder of a new model."})
    unet_config: dict | str | None = field(default=None, metadata={"help": "Sizes of a new U-Net, as JSON."})
    token_decoder_config: dict | str | None = field(
        default=None, metadata={"help": "Sizes of a new token decoder, as JSON."}
    )
    prediction_type: str = field(
        default="epsilon",
        metadata={
            "help": "What a new U-Net predicts: `epsilon`, the noise, as published, or `v_prediction`, the velocity."
        },
    )
    train_token_decoder: bool = field(
        default=True, metadata={"help": "Whether the token decoder is trained with the U-Net."}
    )

    def __post_init__(self):
        self.unet_config = json.loads(self.unet_config) if isinstance(self.unet_config, str) else self.unet_config
        if isinstance(self.token_decoder_config, str):
            self.token_decoder_config = json.loads(self.token_decoder_config)
        sources = (self.pipeline_name_or_path, self.stable_diffusion_xl, self.vae)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("Give one of `pipeline_name_or_path`, `stable_diffusion_xl` and `vae` to start from.")
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(f"`prediction_type` must be epsilon or v_prediction, not {self.prediction_type!r}.")


@dataclass
class DataArguments:
    train_images: list[str] = field(metadata={"help": "Folders, files or tables of images."})
    eval_images: list[str] | None = field(default=None, metadata={"help": "The same, to evaluate on."})
    height: int = field(default=1024, metadata={"help": "Height of the images."})
    width: int = field(default=1024, metadata={"help": "Width of the images."})
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder to keep latents and codes of the images in; by default they are made anew."},
    )


@dataclass
class ObjectiveArguments:
    condition_dropout: float = field(
        default=0.1, metadata={"help": "How often the tokens are left out, for guidance: zeros take their place."}
    )
    feature_loss_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of how far the token decoder is from the image encoder's features (LaVIT, Eq. 4), for a token "
            "decoder that starts from nothing; 0: not at all."
        },
    )
    timestep_bias_portion: float = field(
        default=0.0, metadata={"help": "Share of the timesteps, those with most noise, that is drawn more often."}
    )
    timestep_bias_multiplier: float = field(default=1.0, metadata={"help": "How much more often it is drawn."})
    ema_decay: float = field(default=0.9999, metadata={"help": "Decay of the moving average of the weights; 0: none."})
    sample_steps: int = field(default=10, metadata={"help": "Denoising steps of the pictures in evaluation."})

    def __post_init__(self):
        if not 0 <= self.timestep_bias_portion <= 1:
            raise ValueError(f"`timestep_bias_portion` is from 0 to 1, but it is {self.timestep_bias_portion}.")
        if not self.feature_loss_weight >= 0:
            raise ValueError(f"`feature_loss_weight` is not negative, but it is {self.feature_loss_weight}.")
        if not self.timestep_bias_multiplier > 0:
            raise ValueError(f"`timestep_bias_multiplier` is positive, but it is {self.timestep_bias_multiplier}.")


ARGUMENTS = (ModelArguments, DataArguments, ObjectiveArguments, VideoLaVITTrainingArguments)


class KeyframeDetokenizerForTraining(TrainedParts):
    """
    The keyframe U-Net and the token decoder, with the loss of their training.

    Args:
        pipe ([`VideoLaVITKeyframePipeline`]): Holds the models.
        keyframe_tokenizer ([`VideoLaVITKeyframeTokenizer`]): Makes the tokens.
        args ([`ObjectiveArguments`]): The objective's settings.
    """

    def __init__(
        self,
        pipe: VideoLaVITKeyframePipeline,
        keyframe_tokenizer: VideoLaVITKeyframeTokenizer,
        args: ObjectiveArguments,
    ):
        super().__init__(
            {"unet": pipe.unet, "token_decoder": pipe.token_decoder},
            {"vae": pipe.vae, "keyframe_tokenizer": keyframe_tokenizer},
        )
        self.scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
        self.vae_scale_factor = pipe.vae_scale_factor
        self.condition_dropout = args.condition_dropout
        self.feature_loss_weight = args.feature_loss_weight
        if self.feature_loss_weight:
            check_feature_sizes(pipe.token_decoder, keyframe_tokenizer)
        num_timesteps = self.scheduler.config.num_train_timesteps
        weights = torch.ones(num_timesteps)
        weights[num_timesteps - round(args.timestep_bias_portion * num_timesteps) :] *= args.timestep_bias_multiplier
        self.register_buffer("timestep_weights", weights, persistent=False)

    def forward(
        self,
        original_size: torch.Tensor,
        image: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        latent_mean: torch.Tensor | None = None,
        latent_std: torch.Tensor | None = None,
        codes: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            original_size (`torch.Tensor` of shape (batch_size, 2)): Height and width before it was resized.
            image (`torch.Tensor` of shape (batch_size, 3, height, width), *optional*): Values from -1 to 1, and
            pixel_values (`torch.Tensor` of shape (batch_size, 3, size, size), *optional*): the same as the tokenizer takes it. In
                their place, what [`encode_images_and_codes`] makes of them:
            latent_mean, latent_std (`torch.Tensor` of shape (batch_size, 4, height / 8, width / 8), *optional*):
                Distribution of the latents.
            codes (`torch.Tensor` of shape (batch_size, num_patches), *optional*): Visual codes, and -1 behind them.

        Returns:
            `dict[str, torch.Tensor]`: The `loss`, ‖ε − ε_θ(z_t, t, x̂)‖², or its form for a scheduler that predicts
            velocities.
        """
        vae = self.helper("vae")
        if image is not None:
            latents = encode_images(vae, image)
            codes, features = encode_pixels(self.helper("keyframe_tokenizer"), pixel_values)
        else:
            latents = latent_mean + latent_std * torch.randn_like(latent_mean)
        latents = latents * vae.config.scaling_factor
        size = tuple(side * self.vae_scale_factor for side in latents.shape[-2:])
        mask = codes >= 0
        longest = int(mask.sum(dim=1).amax())
        prompt_embeds, pooled_prompt_embeds, decoded = self.token_decoder(
            codes.clamp(min=0)[:, :longest], attention_mask=mask[:, :longest], return_dict=False
        )
        keep = (torch.rand(len(latents), device=latents.device) >= self.condition_dropout).to(prompt_embeds)

        # The same noise whatever the latents' layout in memory.
        noise = torch.randn_like(latents, memory_format=torch.contiguous_format)
        timesteps = torch.multinomial(self.timestep_weights, len(latents), replacement=True)
        prediction = self.unet(
            self.scheduler.add_noise(latents, noise, timesteps),
            timesteps,
            encoder_hidden_states=expand_as(keep, prompt_embeds) * prompt_embeds,
            added_cond_kwargs={
                "text_embeds": expand_as(keep, pooled_prompt_embeds) * pooled_prompt_embeds,
                "time_ids": self.time_ids(original_size, size),
            },
        ).sample
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        else:
            target = noise
        loss = F.mse_loss(prediction.float(), target)
        if self.feature_loss_weight:
            similarity = F.cosine_similarity(decoded.float(), features.float(), dim=-1)
            loss = loss + self.feature_loss_weight * (1 - similarity.mean())
        return {"loss": loss}

    def time_ids(self, original_size: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """SDXL's conditions: original size, crop from (0, 0), target size."""
        original_size = original_size.float()
        target_size = torch.tensor(size, dtype=torch.float32, device=original_size.device).expand_as(original_size)
        return torch.cat((original_size, torch.zeros_like(original_size), target_size), dim=1)


@torch.no_grad()
def encode_pixels(
    keyframe_tokenizer: VideoLaVITKeyframeTokenizer, pixel_values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Visual codes of images, of shape (batch_size, num_patches), with -1 behind them, and the image encoder's features that they
    are made from, of shape (batch_size, num_patches, hidden_size).
    """
    # Half precision would choose other codes.
    with torch.autocast(pixel_values.device.type, enabled=False):
        outputs = keyframe_tokenizer.select_and_merge(pixel_values, return_dict=True)
        _, codes, _ = keyframe_tokenizer.quantizer(keyframe_tokenizer.encoder_projection(outputs.features))
    padded = torch.nn.utils.rnn.pad_sequence(
        codes.split(outputs.num_kept.tolist()), batch_first=True, padding_value=-1
    )
    padded = F.pad(padded, (0, keyframe_tokenizer.config.vision_config.num_patches - padded.shape[1]), value=-1)
    return padded, outputs.vision_last_hidden_state[:, 1:]


def check_feature_sizes(token_decoder: KeyframeTokenDecoder, keyframe_tokenizer: VideoLaVITKeyframeTokenizer) -> None:
    """Raises a `ValueError` where the token decoder's features are not of the image encoder's size."""
    decoded = (token_decoder.config.num_positions, token_decoder.config.out_channels)
    vision_config = keyframe_tokenizer.config.vision_config
    encoded = (vision_config.num_patches, vision_config.hidden_size)
    if decoded != encoded:
        raise ValueError(
            f"`feature_loss_weight` wants a token decoder with the image encoder's features, {encoded[0]} of {encoded[1]} "
            f"channels, but its `num_positions` and `out_channels` are {decoded[0]} and {decoded[1]}."
        )


@torch.no_grad()
def encode_images_and_codes(
    vae: AutoencoderKL,
    keyframe_tokenizer: VideoLaVITKeyframeTokenizer,
    with_features: bool,
    batch: dict[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """
    What of images is kept in a cache.

    Args:
        vae (`AutoencoderKL`): The autoencoder.
        keyframe_tokenizer ([`VideoLaVITKeyframeTokenizer`]): Makes the codes.
        with_features (`bool`): Whether to keep the image encoder's features.
        batch (`dict[str, torch.Tensor]`): `image`, `pixel_values` and `original_size` of [`ImageDataset`], with a batch dimension.

    Returns:
        `dict[str, torch.Tensor]`: `latent_mean`, `latent_std`, `codes` and `original_size`, and `features` if wanted.
    """
    distribution = vae.encode(batch["image"].to(vae.device, vae.dtype)).latent_dist
    codes, features = encode_pixels(keyframe_tokenizer, batch["pixel_values"].to(keyframe_tokenizer.device))
    return {
        "latent_mean": distribution.mean.float().contiguous(),
        "latent_std": distribution.std.float().contiguous(),
        "codes": codes,
        "original_size": batch["original_size"],
        **({"features": features} if with_features else {}),
    }


def build_pipeline(
    args: ModelArguments, keyframe_tokenizer: VideoLaVITKeyframeTokenizer
) -> VideoLaVITKeyframePipeline:
    """Loads the pipeline to train, or makes a new one."""
    if args.pipeline_name_or_path is not None:
        return VideoLaVITKeyframePipeline.from_pretrained(args.pipeline_name_or_path)
    if args.stable_diffusion_xl is not None:
        unet = UNet2DConditionModel.from_pretrained(args.stable_diffusion_xl, subfolder="unet")
        vae = AutoencoderKL.from_pretrained(args.stable_diffusion_xl, subfolder="vae")
        scheduler = DDIMScheduler.from_pretrained(args.stable_diffusion_xl, subfolder="scheduler")
    else:
        unet = UNet2DConditionModel(**(args.unet_config or {}))
        vae = AutoencoderKL.from_pretrained(args.vae)
        scheduler = DDIMScheduler(**SCHEDULER, prediction_type=args.prediction_type)
    config = keyframe_tokenizer.config
    sizes = {
        "codebook_size": config.codebook_size,
        "codebook_dim": config.codebook_dim,
        "num_positions": config.vision_config.num_patches,
        **(args.token_decoder_config or {}),
    }
    token_decoder = KeyframeTokenDecoder(**sizes)
    # The codes mean what they mean in the tokenizer.
    token_decoder.codebook.data.copy_(keyframe_tokenizer.quantizer.codebook.data)
    return VideoLaVITKeyframePipeline(token_decoder, unet, vae, scheduler)


def main(args: list[str] | None = None):
    model_args, data_args, objective_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    if objective_args.feature_loss_weight and not model_args.train_token_decoder:
        raise ValueError("`feature_loss_weight` trains the token decoder, so that it wants `train_token_decoder`.")
    checkpoint = prepare_run(training_args)

    keyframe_tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained(model_args.keyframe_tokenizer)
    pipe = build_pipeline(model_args, keyframe_tokenizer)
    model = KeyframeDetokenizerForTraining(pipe, keyframe_tokenizer, objective_args)
    model.token_decoder.requires_grad_(model_args.train_token_decoder)
    image_size = keyframe_tokenizer.config.vision_config.image_size
    image_processor = VideoLaVITImageProcessor(size={"height": image_size, "width": image_size})

    def build_dataset(images: list[str]) -> ImageDataset:
        size = (data_args.height, data_args.width)
        return ImageDataset(find_media(images, "image"), image_processor, size, seed=training_args.seed)

    train_dataset = build_dataset(data_args.train_images)
    eval_dataset = build_dataset(data_args.eval_images) if data_args.eval_images else None
    if data_args.cache_dir is not None:
        settings = {
            "size": [data_args.height, data_args.width],
            "vae": fingerprint(pipe.vae),
            "keyframe_tokenizer": fingerprint(keyframe_tokenizer),
        }
        with_features = objective_args.feature_loss_weight > 0
        if with_features:
            settings["features"] = True
        helpers = (pipe.vae.to(training_args.device), keyframe_tokenizer.to(training_args.device))
        encode = partial(encode_images_and_codes, *helpers, with_features)
        train_dataset = CachedSamples(train_dataset, data_args.cache_dir, encode, settings, training_args)
    trainer = MovingAverageTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=collate,
        ema_decay=objective_args.ema_decay,
    )

    def draw(model: KeyframeDetokenizerForTraining) -> dict:
        with trainer.moving_average():
            return draw_samples(model, pipe, eval_dataset, objective_args.sample_steps)

    trainer.add_callback(PictureCallback(draw))

    def save(folder: Path) -> None:
        trainer.use_moving_average()
        pipe.to("cpu").save_pretrained(folder)

    train_and_save(
        trainer,
        checkpoint,
        save,
        tags=["diffusers", "text-to-image"],
        base_model=model_args.pipeline_name_or_path or model_args.stable_diffusion_xl,
        description=DESCRIPTION,
        usage=USAGE,
    )


def collate(items: list[dict]) -> dict:
    """A batch of images, as they are and as the tokenizer takes them, or of what a cache has of them."""
    names = {"image", "pixel_values", "original_size", "latent_mean", "latent_std", "codes", "features"} & items[
        0
    ].keys()
    return {name: torch.stack([item[name] for item in items]) for name in sorted(names)}


def draw_samples(
    model: KeyframeDetokenizerForTraining,
    pipe: VideoLaVITKeyframePipeline,
    dataset: ImageDataset,
    num_inference_steps: int,
) -> dict:
    """The first images of a set, above what the pipeline makes of their tokens."""
    pipe.to(pipe.unet.device)
    pipe.set_progress_bar_config(disable=True)
    items = [dataset[index] for index in range(min(4, len(dataset)))]
    tokenizer = model.helper("keyframe_tokenizer")
    pixel_values = torch.stack([item["pixel_values"] for item in items])
    images = pipe(
        tokenizer.encode(pixel_values.to(pipe.unet.device)),
        height=items[0]["image"].shape[-2],
        width=items[0]["image"].shape[-1],
        num_inference_steps=num_inference_steps,
        generator=[torch.Generator().manual_seed(index) for index in range(len(items))],
        output_type="pt",
    ).images
    originals = [to_picture(item["image"] / 2 + 0.5) for item in items]
    return {"keyframes": contact_sheet([originals, [to_picture(image) for image in images]])}


if __name__ == "__main__":
    main()
