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
Stage 1: trains the video detokenizer, from a keyframe and motion to frames (Video-LaVIT, section 3.2).

    accelerate launch examples/train_video_detokenizer.py --config examples/configs/video_detokenizer_tiny.yaml \\
        --vae outputs/vae --motion_tokenizer outputs/motion_tokenizer --keyframe_pipeline outputs/keyframe_detokenizer \\
        --train_videos data/train --eval_videos data/validation --output_dir outputs/detokenizer

    accelerate launch --config_file examples/accelerate_configs/ddp.yaml examples/train_video_detokenizer.py \\
        --config examples/configs/video_detokenizer_full.yaml --train_videos webvid.csv \\
        --stable_video_diffusion stabilityai/stable-video-diffusion-img2vid-xt

Videos need no captions. The output is a pipeline with the moving average of the weights. Killed and started again with the same
arguments, it goes on from its last checkpoint.
"""

import json
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from torch.nn import functional as F
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.cache import CachedSamples, fingerprint
from training.clips import VideoClipDataset, find_media
from training.diffusion import MovingAverageTrainer, TrainedParts, encode_images
from training.edm import edm_loss, expand_as, precondition, sample_sigmas
from training.pictures import PictureCallback, contact_sheet, to_picture
from training.trainer import prepare_run, train_and_save

from diffusers_videolavit import (
    MotionConditionEncoder,
    UNetSpatioTemporalMotionConditionModel,
    VideoLaVITDetokenizerPipeline,
    VideoLaVITKeyframePipeline,
)
from transformers_videolavit import VideoLaVITMotionTokenizer, VideoLaVITVideoProcessor


DESCRIPTION = """Video-LaVIT's video detokenizer (arXiv 2402.03161, section 3.2): a U-Net that makes the frames of a clip from its keyframe and its
motion, which it reads as channels and by cross-attention."""
USAGE = """from diffusers.utils import load_image
from diffusers_videolavit import VideoLaVITDetokenizerPipeline
from transformers_videolavit import VideoLaVITVideoProcessor

pipe = VideoLaVITDetokenizerPipeline.from_pretrained("{model}")
video = VideoLaVITVideoProcessor()("clip.mp4", return_tensors="pt")
frames = pipe(image=load_image("keyframe.png"), motion_vectors=video["motion_vectors"][:1]).frames[0]"""
MOTION_BUCKET = 127
# The sampler of Stable Video Diffusion, as the pipeline uses it.
SCHEDULER = {
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
# What a model that starts from Stable Video Diffusion has anew: the input, the cross-attentions and the motion encoder.
NEW_PARAMETERS = r"^unet\.conv_in\.|\.attn2\.|^motion_encoder\."
TRAINABLE = {"all": r"", "new": NEW_PARAMETERS, "temporal": rf"temporal|time_mix|{NEW_PARAMETERS}"}


@dataclass
class ModelArguments:
    pipeline_name_or_path: str | None = field(default=None, metadata={"help": "A pipeline to train further."})
    stable_video_diffusion: str | None = field(
        default=None, metadata={"help": "Repository of Stable Video Diffusion (image to video) to start from."}
    )
    vae: str | None = field(default=None, metadata={"help": "The autoencoder of a new model."})
    unet_config: dict | str | None = field(default=None, metadata={"help": "Sizes of a new U-Net, as JSON."})
    motion_encoder_config: dict | str | None = field(
        default=None, metadata={"help": "Sizes of a new motion encoder, as JSON."}
    )
    motion_tokenizer: str | None = field(
        default=None, metadata={"help": "Tokenizer through which a part of the motion goes, as in inference."}
    )
    keyframe_pipeline: str | None = field(
        default=None, metadata={"help": "Keyframe detokenizer that the saved pipeline shall have, too."}
    )
    motion_input_scale: float = field(
        default=1.0,
        metadata={
            "help": "Factor of the initial weights that take in the motion, those of a new U-Net's motion channels and of a new "
            "motion encoder: motion that is small in units of its standard deviation is else learned late, or from the channels alone."
        },
    )
    trainable: str = field(default="all", metadata={"help": "`all`, `temporal` or `new` layers."})

    def __post_init__(self):
        self.unet_config = json.loads(self.unet_config) if isinstance(self.unet_config, str) else self.unet_config
        if isinstance(self.motion_encoder_config, str):
            self.motion_encoder_config = json.loads(self.motion_encoder_config)
        if self.trainable not in TRAINABLE:
            raise ValueError(f"`trainable` must be one of {sorted(TRAINABLE)}, not {self.trainable!r}.")
        sources = (self.pipeline_name_or_path, self.stable_video_diffusion, self.vae)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("Give one of `pipeline_name_or_path`, `stable_video_diffusion` and `vae` to start from.")


@dataclass
class DataArguments:
    train_videos: list[str] = field(metadata={"help": "Folders, files or tables of videos."})
    eval_videos: list[str] | None = field(default=None, metadata={"help": "The same, to evaluate on."})
    height: int = field(default=320, metadata={"help": "Height of the frames."})
    width: int = field(default=576, metadata={"help": "Width of the frames."})
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on only so many of the videos, evenly spaced; by default on all."}
    )
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder to keep the latents of one clip of each video in; by default they are made anew."},
    )

    def __post_init__(self):
        if self.max_train_samples is not None and self.max_train_samples < 1:
            raise ValueError(f"`max_train_samples` is at least 1, but it is {self.max_train_samples}.")


@dataclass
class ObjectiveArguments:
    condition_dropout: float = field(
        default=0.1, metadata={"help": "How often motion and keyframe are left out, together, for guidance."}
    )
    quantized_motion_probability: float = field(
        default=0.5, metadata={"help": "How often the motion goes through the motion tokenizer."}
    )
    sigma_mean: float = field(default=1.0, metadata={"help": "Mean of the logarithm of the noise level. Published."})
    sigma_std: float = field(default=1.2, metadata={"help": "Its standard deviation. Published."})
    keyframe_noise_mean: float = field(default=-3.0, metadata={"help": "Mean of log noise on the keyframe."})
    keyframe_noise_std: float = field(default=0.5, metadata={"help": "Its standard deviation."})
    ema_decay: float = field(default=0.9999, metadata={"help": "Decay of the moving average of the weights; 0: none."})
    num_frames: int | None = field(
        default=None,
        metadata={
            "help": "Only so many frames of each clip, from its first on: copying and moving are learned at less cost, for "
            "training on whole clips to go on from."
        },
    )
    sample_steps: int = field(default=10, metadata={"help": "Denoising steps of the pictures in evaluation."})

    def __post_init__(self):
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"`num_frames` is at least 1, but it is {self.num_frames}.")


ARGUMENTS = (ModelArguments, DataArguments, ObjectiveArguments, VideoLaVITTrainingArguments)


class VideoDetokenizerForTraining(TrainedParts):
    """
    The video U-Net and its motion encoder, with the loss of their training.

    Args:
        pipe ([`VideoLaVITDetokenizerPipeline`]): Holds the models.
        args ([`ObjectiveArguments`]): The objective's settings.
        fps (`float`): Frames per second of the clips.
    """

    def __init__(self, pipe: VideoLaVITDetokenizerPipeline, args: ObjectiveArguments, fps: float):
        frozen = {"vae": pipe.vae}
        if pipe.motion_tokenizer is not None:
            frozen["motion_tokenizer"] = pipe.motion_tokenizer
        super().__init__({"unet": pipe.unet, "motion_encoder": pipe.motion_encoder}, frozen)
        self.args = args
        self.fps = fps

    def forward(
        self,
        motion_vectors: torch.Tensor,
        frames: torch.Tensor | None = None,
        keyframe: torch.Tensor | None = None,
        latent_mean: torch.Tensor | None = None,
        latent_std: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            motion_vectors (`torch.Tensor` of shape (batch_size, 2, num_frames, rows, columns)): In tenths of their standard
                deviation.
            frames (`torch.Tensor` of shape (batch_size, num_frames, 3, height, width), *optional*): Values from -1 to 1. In
                their place, what [`encode_clips`] makes of them:
            keyframe (`torch.Tensor` of shape (batch_size, 3, height, width), *optional*): The first frame, 0 ... 255.
            latent_mean, latent_std (`torch.Tensor` of shape (batch_size, num_frames, 4, height / 8, width / 8), *optional*):
                Distribution of the latents of all frames.

        Returns:
            `dict[str, torch.Tensor]`: The `loss`.
        """
        args, vae, device = self.args, self.helper("vae"), motion_vectors.device
        batch_size, num_frames = len(motion_vectors), args.num_frames
        if frames is not None:
            frames = frames[:, :num_frames]
            latents = encode_images(vae, frames.flatten(0, 1)).unflatten(0, (batch_size, -1))
            keyframe = frames[:, 0]
        else:
            latent_mean, latent_std = latent_mean[:, :num_frames], latent_std[:, :num_frames]
            latents = latent_mean + latent_std * torch.randn_like(latent_mean)
            keyframe = keyframe / 127.5 - 1
        latents = latents * vae.config.scaling_factor
        height, width = latents.shape[-2:]

        keyframe_noise = sample_sigmas(batch_size, args.keyframe_noise_mean, args.keyframe_noise_std, device)
        keyframe = keyframe + expand_as(keyframe_noise, keyframe) * torch.randn_like(keyframe)
        # Not multiplied by the scale, as in inference.
        keyframe_latents = encode_images(vae, keyframe, sample=False)
        # The tokenizer takes whole clips.
        motion = self.prepare_motion(motion_vectors, height, width)[:, :, :num_frames]
        keep = (torch.rand(batch_size, device=device) >= args.condition_dropout).float()

        sigmas = sample_sigmas(batch_size, args.sigma_mean, args.sigma_std, device)
        denoised = self.denoise(
            latents + expand_as(sigmas, latents) * torch.randn_like(latents),
            sigmas,
            keyframe_latents,
            motion,
            keep,
            self.time_ids(keyframe_noise),
        )
        return {"loss": edm_loss(denoised, latents, sigmas)}

    @torch.no_grad()
    def prepare_motion(self, motion_vectors: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Motion at the latents' size, in units of its standard deviation, a part of it by way of the motion's tokens."""
        fields = motion_vectors.transpose(1, 2)
        resized = F.interpolate(fields.flatten(0, 1), size=(height, width), mode="bicubic") / 10
        motion = resized.unflatten(0, fields.shape[:2]).transpose(1, 2)
        is_quantized = torch.rand(len(motion), device=motion.device) < self.args.quantized_motion_probability
        if "motion_tokenizer" in self._frozen and is_quantized.any():
            tokenizer = self.helper("motion_tokenizer")
            # Half precision would choose other codes.
            with torch.autocast(motion.device.type, enabled=False):
                decoded = tokenizer.decode(tokenizer.encode(motion_vectors), height=height, width=width).to(motion)
            motion = torch.where(expand_as(is_quantized, motion), decoded, motion)
        return motion

    def time_ids(self, keyframe_noise: torch.Tensor) -> torch.Tensor:
        """Frames per second, motion bucket and strength of the keyframe's noise, as the pipeline gives them."""
        fixed = torch.tensor([self.fps, MOTION_BUCKET], device=keyframe_noise.device).expand(len(keyframe_noise), -1)
        return torch.cat((fixed, keyframe_noise[:, None]), dim=1)

    def denoise(
        self,
        noisy_latents: torch.Tensor,
        sigmas: torch.Tensor,
        keyframe_latents: torch.Tensor,
        motion: torch.Tensor,
        keep: torch.Tensor,
        added_time_ids: torch.Tensor,
    ) -> torch.Tensor:
        """
        The network's estimate of the latents, D(x; σ) = c_skip x + c_out F(c_in x; c_noise).

        Args:
            noisy_latents (`torch.Tensor` of shape (batch_size, num_frames, 4, height, width)): Latents with noise.
            sigmas (`torch.Tensor` of shape (batch_size,)): The noise's level.
            keyframe_latents (`torch.Tensor` of shape (batch_size, 4, height, width)): The keyframe.
            motion (`torch.Tensor` of shape (batch_size, 2, num_frames, height, width)): The motion.
            keep (`torch.Tensor` of shape (batch_size,)): 0 where keyframe, motion channels and motion features are left out.
            added_time_ids (`torch.Tensor` of shape (batch_size, 3)): See [`time_ids`].
        """
        num_frames = noisy_latents.shape[1]
        c_skip, c_out, c_in, c_noise = (expand_as(values, noisy_latents) for values in precondition(sigmas))
        condition = torch.cat(
            (keyframe_latents[:, None].expand(-1, num_frames, -1, -1, -1), motion.transpose(1, 2)), dim=2
        )
        features = self.motion_encoder(motion)
        output = self.unet(
            torch.cat((c_in * noisy_latents, expand_as(keep, condition) * condition), dim=2),
            c_noise.flatten(),
            expand_as(keep, features) * features,
            added_time_ids,
        ).sample
        return c_skip * noisy_latents + c_out * output.float()


@torch.no_grad()
def encode_clips(vae: AutoencoderKLTemporalDecoder, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    What of clips is kept in a cache.

    Args:
        vae (`AutoencoderKLTemporalDecoder`): The autoencoder.
        batch (`dict[str, torch.Tensor]`): `frames` and `motion_vectors` of [`VideoClipDataset`], with a batch dimension.

    Returns:
        `dict[str, torch.Tensor]`: `motion_vectors`; `keyframe`, 0 ... 255; `latent_mean` and `latent_std`.
    """
    frames = batch["frames"]
    # Eight frames of each clip at a time.
    chunks = frames.flatten(0, 1).split(8 * len(frames))
    distributions = [vae.encode(chunk.to(vae.device, vae.dtype)).latent_dist for chunk in chunks]
    means = torch.cat([distribution.mean for distribution in distributions])
    deviations = torch.cat([distribution.std for distribution in distributions])
    return {
        "motion_vectors": batch["motion_vectors"],
        "keyframe": ((frames[:, 0] + 1) * 127.5).round().byte(),
        "latent_mean": means.float().unflatten(0, frames.shape[:2]),
        "latent_std": deviations.float().unflatten(0, frames.shape[:2]),
    }


def build_pipeline(args: ModelArguments) -> VideoLaVITDetokenizerPipeline:
    """Loads the pipeline to train, or makes a new one."""
    if args.pipeline_name_or_path is not None:
        pipe = VideoLaVITDetokenizerPipeline.from_pretrained(args.pipeline_name_or_path)
    else:
        scheduler = EulerDiscreteScheduler(**SCHEDULER)
        if args.stable_video_diffusion is not None:
            vae = AutoencoderKLTemporalDecoder.from_pretrained(args.stable_video_diffusion, subfolder="vae")
            unet = start_from_stable_video_diffusion(args.stable_video_diffusion)
        else:
            vae = AutoencoderKLTemporalDecoder.from_pretrained(args.vae)
            unet = UNetSpatioTemporalMotionConditionModel(**(args.unet_config or {}))
        encoder_config = {"cross_attention_dim": unet.config.cross_attention_dim, **(args.motion_encoder_config or {})}
        motion_encoder = MotionConditionEncoder(**encoder_config)
        with torch.no_grad():
            unet.conv_in.weight[:, -2:] *= args.motion_input_scale
            motion_encoder.proj_in.weight *= args.motion_input_scale
        pipe = VideoLaVITDetokenizerPipeline(vae, unet, scheduler, motion_encoder)
    if args.motion_tokenizer is not None:
        pipe.register_modules(
            motion_tokenizer=VideoLaVITMotionTokenizer.from_pretrained(args.motion_tokenizer, dtype=torch.float32)
        )
    if args.keyframe_pipeline is not None:
        keyframe = VideoLaVITKeyframePipeline.from_pretrained(args.keyframe_pipeline)
        pipe.register_modules(
            keyframe_token_decoder=keyframe.token_decoder,
            keyframe_unet=keyframe.unet,
            keyframe_vae=keyframe.vae,
            keyframe_scheduler=keyframe.scheduler,
        )
    return pipe


def start_from_stable_video_diffusion(repository: str) -> UNetSpatioTemporalMotionConditionModel:
    """A U-Net with Stable Video Diffusion's weights, but for the input and the cross-attentions, which begin anew."""
    source = UNetSpatioTemporalConditionModel.from_pretrained(repository, subfolder="unet")
    config = {name: value for name, value in source.config.items() if not name.startswith("_")}
    unet = UNetSpatioTemporalMotionConditionModel(**config | {"in_channels": 10, "num_frames": 24})
    weights = {
        name: tensor for name, tensor in source.state_dict().items() if not re.search(NEW_PARAMETERS, f"unet.{name}")
    }
    missing, unexpected = unet.load_state_dict(weights, strict=False)
    wrong = [name for name in missing if not re.search(NEW_PARAMETERS, f"unet.{name}")] + unexpected
    if wrong:
        raise ValueError(f"{repository!r} is not the U-Net of Stable Video Diffusion: {wrong[:5]} do not fit.")
    return unet


def main(args: list[str] | None = None):
    model_args, data_args, objective_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    pipe = build_pipeline(model_args)
    motion_size = {}
    if pipe.motion_tokenizer is not None:
        motion_config = pipe.motion_tokenizer.config
        motion_size = {"motion_height": motion_config.motion_height, "motion_width": motion_config.motion_width}
    video_processor = VideoLaVITVideoProcessor(num_frames=pipe.unet.config.num_frames, **motion_size)
    model = VideoDetokenizerForTraining(pipe, objective_args, video_processor.fps)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(bool(re.search(TRAINABLE[model_args.trainable], name)))

    def build_dataset(videos: list[str], max_samples: int | None = None) -> VideoClipDataset:
        size = (data_args.height, data_args.width)
        files = find_media(videos, "video")
        if max_samples is not None and max_samples < len(files):
            files = [files[number * len(files) // max_samples] for number in range(max_samples)]
        return VideoClipDataset(files, video_processor, size, seed=training_args.seed)

    train_dataset = build_dataset(data_args.train_videos, data_args.max_train_samples)
    eval_dataset = build_dataset(data_args.eval_videos) if data_args.eval_videos else None
    if data_args.cache_dir is not None:
        settings = {
            "size": [data_args.height, data_args.width],
            "seed": training_args.seed,
            "vae": fingerprint(pipe.vae),
            "motion_size": motion_size,
        }
        pipe.vae.to(training_args.device)
        encode = partial(encode_clips, pipe.vae)
        train_dataset = CachedSamples(train_dataset, data_args.cache_dir, encode, settings, training_args)
    trainer = MovingAverageTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=collate,
        ema_decay=objective_args.ema_decay,
    )

    def draw(model: VideoDetokenizerForTraining) -> dict:
        with trainer.moving_average():
            return draw_samples(pipe, eval_dataset, objective_args.sample_steps)

    trainer.add_callback(PictureCallback(draw))

    def save(folder: Path) -> None:
        trainer.use_moving_average()
        pipe.to("cpu").save_pretrained(folder)

    train_and_save(
        trainer,
        checkpoint,
        save,
        tags=["diffusers", "image-to-video"],
        base_model=model_args.pipeline_name_or_path or model_args.stable_video_diffusion,
        description=DESCRIPTION,
        usage=USAGE,
    )


def collate(items: list[dict]) -> dict:
    """A batch of motion, and of frames or what a cache has of them."""
    names = [name for name in items[0] if name != "pixel_values"]
    return {name: torch.stack([item[name] for item in items]) for name in names}


def draw_samples(pipe: VideoLaVITDetokenizerPipeline, dataset: VideoClipDataset, num_inference_steps: int) -> dict:
    """The first clips of a set, above what the pipeline makes of their keyframes and motion; every sixth frame."""
    pipe.to(pipe.unet.device)
    pipe.set_progress_bar_config(disable=True)
    rows = []
    for index in range(min(2, len(dataset))):
        item = dataset[index]
        frames = item["frames"] / 2 + 0.5
        generated = pipe(
            image=frames[0],
            motion_vectors=item["motion_vectors"][None],
            height=frames.shape[-2],
            width=frames.shape[-1],
            num_inference_steps=num_inference_steps,
            generator=torch.Generator().manual_seed(index),
            output_type="pt",
        ).frames[0]
        steps = np.linspace(0, len(frames) - 1, 5).astype(int)
        rows += [[to_picture(video[step]) for step in steps] for video in (frames, generated)]
    return {"video": contact_sheet(rows)}


if __name__ == "__main__":
    main()
