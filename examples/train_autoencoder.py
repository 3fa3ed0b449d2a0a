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
Trains the autoencoder that a detokenizer works in, for those who start from nothing; the released model has Stable Diffusion XL's and
Stable Video Diffusion's.

    accelerate launch examples/train_autoencoder.py --config examples/configs/autoencoder_tiny.yaml --kind image \\
        --train_images data/images --train_videos data/train --output_dir outputs/keyframe_vae
    accelerate launch examples/train_autoencoder.py --config examples/configs/autoencoder_tiny.yaml --kind video \\
        --train_videos data/train --output_dir outputs/vae

With `--image_autoencoder outputs/keyframe_vae` the second one starts from the first, as Stable Video Diffusion's did from Stable
Diffusion's: their latents are the same, and only a decoder that looks at neighbouring frames, too, is trained.

Killed and started again with the same arguments, it goes on from its last checkpoint.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from torch import nn
from torch.nn import functional as F
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.clips import ImageDataset, JoinedSamples, VideoClipDataset, find_media
from training.diffusion import MovingAverageTrainer, TrainedParts
from training.pictures import PictureCallback, contact_sheet, to_picture
from training.trainer import prepare_run, train_and_save

from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITVideoProcessor


DESCRIPTION = (
    """An autoencoder of images or of the frames of videos, whose latents a detokenizer of Video-LaVIT works in."""
)
USAGE = """from diffusers import AutoModel

vae = AutoModel.from_pretrained("{model}")"""


@dataclass
class ModelArguments:
    kind: str = field(metadata={"help": "`image` (AutoencoderKL) or `video` (AutoencoderKLTemporalDecoder)."})
    model_name_or_path: str | None = field(default=None, metadata={"help": "An autoencoder to train further."})
    image_autoencoder: str | None = field(
        default=None, metadata={"help": "Autoencoder of images whose encoder one of videos takes and keeps."}
    )
    autoencoder_config: dict | str | None = field(default=None, metadata={"help": "Sizes of a new one, as JSON."})
    kl_weight: float = field(default=1e-6, metadata={"help": "Weight of the divergence from the normal distribution."})
    squared_error_weight: float = field(
        default=0.0,
        metadata={"help": "Weight of the squared error of the pixels, for which few pixels of rare colours count."},
    )
    gradient_weight: float = field(
        default=1.0,
        metadata={"help": "Weight of the error of the differences of neighbouring pixels, which keeps edges sharp."},
    )

    def __post_init__(self):
        if self.kind not in ("image", "video"):
            raise ValueError(f"`kind` must be image or video, not {self.kind!r}.")
        if self.image_autoencoder is not None and (self.kind != "video" or self.model_name_or_path is not None):
            raise ValueError("`image_autoencoder` is for a new autoencoder of `kind` video.")
        if isinstance(self.autoencoder_config, str):
            self.autoencoder_config = json.loads(self.autoencoder_config)


@dataclass
class DataArguments:
    train_images: list[str] | None = field(default=None, metadata={"help": "Folders, files or tables of images."})
    train_videos: list[str] | None = field(default=None, metadata={"help": "Folders, files or tables of videos."})
    eval_videos: list[str] | None = field(default=None, metadata={"help": "Videos to evaluate on."})
    height: int = field(default=64, metadata={"help": "Height of the images."})
    width: int = field(default=64, metadata={"help": "Width of the images."})
    crop_size: int | None = field(
        default=None,
        metadata={"help": "Side of the squares, each at another place, that are trained on; by default all."},
    )
    frames_of_clip: int = field(default=4, metadata={"help": "Frames of each clip that are trained on."})

    def __post_init__(self):
        if not self.train_images and not self.train_videos:
            raise ValueError("Give `train_images`, `train_videos` or both.")
        if self.crop_size is not None and self.crop_size > min(self.height, self.width):
            raise ValueError(f"`crop_size` {self.crop_size} is larger than the images, {self.height} x {self.width}.")


@dataclass
class ObjectiveArguments:
    ema_decay: float = field(default=0.995, metadata={"help": "Decay of the moving average of the weights; 0: none."})


ARGUMENTS = (ModelArguments, DataArguments, ObjectiveArguments, VideoLaVITTrainingArguments)


class AutoencoderForTraining(TrainedParts):
    """
    An autoencoder with the loss of its training.

    Args:
        vae (`AutoencoderKL` or `AutoencoderKLTemporalDecoder`): The autoencoder.
        args ([`ModelArguments`]): Weights of the loss.
    """

    def __init__(self, vae: nn.Module, args: ModelArguments):
        super().__init__({"vae": vae}, {})
        self.args = args

    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            frames (`torch.Tensor` of shape (batch_size, num_frames, 3, height, width)): Values from -1 to 1.

        Returns:
            `dict[str, torch.Tensor]`: The `loss` and the mean `absolute_error` of the pixels.
        """
        num_frames = frames.shape[1]
        images = frames.flatten(0, 1)
        distribution = self.vae.encode(images).latent_dist
        kwargs = {"num_frames": num_frames} if isinstance(self.vae, AutoencoderKLTemporalDecoder) else {}
        decoded = self.vae.decode(distribution.sample(), **kwargs).sample
        absolute_error = F.l1_loss(decoded, images)
        loss = absolute_error + self.args.kl_weight * distribution.kl().mean()
        loss = loss + self.args.squared_error_weight * F.mse_loss(decoded, images)
        for dimension in (-1, -2):
            loss = loss + self.args.gradient_weight * F.l1_loss(
                decoded.diff(dim=dimension), images.diff(dim=dimension)
            )
        return {"loss": loss, "absolute_error": absolute_error}


class _Frames(torch.utils.data.Dataset):
    """Frames of clips, or images as clips of one frame, or squares of them at places that are drawn anew in each epoch."""

    def __init__(self, dataset: ImageDataset | VideoClipDataset, num_frames: int, crop_size: int | None):
        self.dataset = dataset
        self.num_frames = num_frames
        self.crop_size = crop_size

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Has what is drawn at random drawn anew."""
        self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> torch.Tensor:
        item = self.dataset[index]
        # A still image is a clip in which nothing moves.
        frames = (
            item["frames"][: self.num_frames]
            if "frames" in item
            else item["image"].expand(self.num_frames, -1, -1, -1)
        )
        if self.crop_size is None:
            return frames
        generator = np.random.default_rng((self.dataset.seed, self.dataset.epoch, index))
        top, left = (int(generator.integers(size - self.crop_size + 1)) for size in frames.shape[-2:])
        return frames[..., top : top + self.crop_size, left : left + self.crop_size]


def build_model(args: ModelArguments) -> nn.Module:
    """Loads the autoencoder, or makes a new one."""
    model_class = AutoencoderKL if args.kind == "image" else AutoencoderKLTemporalDecoder
    if args.model_name_or_path is not None:
        return model_class.from_pretrained(args.model_name_or_path)
    if args.image_autoencoder is not None:
        return extend_to_videos(AutoencoderKL.from_pretrained(args.image_autoencoder))
    config = dict(args.autoencoder_config or {})
    if args.kind == "video":
        # Its decoder follows from the encoder's sizes.
        config.pop("up_block_types", None)
    return model_class(**config)


def extend_to_videos(image_vae: AutoencoderKL) -> AutoencoderKLTemporalDecoder:
    """
    An autoencoder of videos with the frozen encoder of one of images, whose decoder does to every frame what that of images does,
    at first: its temporal layers change nothing yet.

    Raises:
        ValueError: If the autoencoder of images has layers that one of videos has not.
    """
    names = ("in_channels", "out_channels", "down_block_types", "block_out_channels", "layers_per_block")
    names += ("latent_channels", "sample_size", "scaling_factor", "force_upcast")
    vae = AutoencoderKLTemporalDecoder(**{name: image_vae.config[name] for name in names})
    weights = {
        re.sub(r"^(decoder\..*resnets\.\d+)\.", r"\1.spatial_res_block.", name): tensor
        for name, tensor in image_vae.state_dict().items()
    }
    missing, unexpected = vae.load_state_dict(weights, strict=False)
    wrong = [name for name in missing if not re.search("temporal_res_block|time_mixer|time_conv_out", name)]
    if wrong or unexpected:
        raise ValueError(
            f"The decoder of the image autoencoder does not fit one of videos: {(wrong + unexpected)[:5]}. It must have two "
            "`layers_per_block`, attention and no `post_quant_conv`."
        )
    for name, module in vae.decoder.named_modules():
        if name.endswith("temporal_res_block.conv2"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.dirac_(vae.decoder.time_conv_out.weight)
    nn.init.zeros_(vae.decoder.time_conv_out.bias)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    return vae


def main(args: list[str] | None = None):
    model_args, data_args, objective_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    vae = build_model(model_args)
    size = (data_args.height, data_args.width)
    num_frames = data_args.frames_of_clip if model_args.kind == "video" else 1

    def build_dataset(
        images: list[str] | None, videos: list[str] | None, crop_size: int | None = None
    ) -> torch.utils.data.Dataset | None:
        parts = []
        if images:
            parts.append(
                ImageDataset(find_media(images, "image"), VideoLaVITImageProcessor(), size, training_args.seed)
            )
        if videos:
            parts.append(
                VideoClipDataset(find_media(videos, "video"), VideoLaVITVideoProcessor(), size, training_args.seed)
            )
        return JoinedSamples([_Frames(part, num_frames, crop_size) for part in parts]) if parts else None

    train_dataset = build_dataset(data_args.train_images, data_args.train_videos, data_args.crop_size)
    eval_dataset = build_dataset(None, data_args.eval_videos)
    trainer = MovingAverageTrainer(
        model=AutoencoderForTraining(vae, model_args),
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=collate,
        ema_decay=objective_args.ema_decay,
        metric_names=["absolute_error"],
        callbacks=[PictureCallback(lambda model: draw_reconstruction(vae, eval_dataset))],
    )

    def save(folder: Path) -> None:
        trainer.use_moving_average()
        # Scaled latents have about unit variance, as noise levels presume.
        if model_args.image_autoencoder is None:
            vae.register_to_config(scaling_factor=round(1 / measure_deviation(vae.to("cpu"), train_dataset), 5))
        vae.save_pretrained(folder)

    train_and_save(
        trainer,
        checkpoint,
        save,
        tags=["diffusers", "autoencoder"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


def collate(items: list[torch.Tensor]) -> dict:
    """A batch of frames."""
    return {"frames": torch.stack(items)}


@torch.no_grad()
def measure_deviation(vae: nn.Module, dataset: torch.utils.data.Dataset, num_samples: int = 64) -> float:
    """Standard deviation of the latents of samples from all over a set."""
    step = max(1, len(dataset) // num_samples)
    latents = [vae.encode(dataset[index]).latent_dist.mode() for index in range(0, len(dataset), step)]
    return float(torch.cat(latents).std())


def draw_reconstruction(vae: nn.Module, dataset: torch.utils.data.Dataset) -> dict:
    """The first frames of a set, above what is left of them."""
    frames = torch.stack([dataset[index][0] for index in range(min(8, len(dataset)))]).to(vae.device)
    kwargs = {"num_frames": 1} if isinstance(vae, AutoencoderKLTemporalDecoder) else {}
    decoded = vae.decode(vae.encode(frames).latent_dist.mode(), **kwargs).sample
    return {
        "autoencoder": contact_sheet([[to_picture(image / 2 + 0.5) for image in part] for part in (frames, decoded)])
    }


if __name__ == "__main__":
    main()
