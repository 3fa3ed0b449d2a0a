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
Trains an image encoder for the small world, in the place of EVA-CLIP, which the released model starts from and which knows
far more than this needs.

    accelerate launch examples/train_small_world_encoder.py --train_data data/train --eval_data data/validation \\
        --config examples/configs/small_world/image_encoder.yaml --output_dir outputs/image_encoder

The folders are those of `small_world.py`. The encoder learns to tell from the features of every patch where the centre of the object that
is nearest is; and from every second patch, like the black and the white squares of a chessboard, the object's colour and size, the
background's colour and the patch's own pixels at a quarter of their resolution, from the others shape, texture and pattern. A visual token
holds no more than that: when every patch tells of everything, all tokens of an image say the same and leave the same out.

Each image is seen twice, in its own colours and in ones that are turned at random. Colours are told from the first, shapes from the
second, and the patches that tell of shapes are to look alike in both. Else the encoder learns which shape no colour has in training, and sees another
one where it has; and a codebook finds clusters of colour with shape, none of which is of such a pair. Killed and started again with the same
arguments, it goes on from its last checkpoint.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from small_world.dataset import read_options, read_sample
from small_world.patches import BACKGROUND_ATTRIBUTES, OBJECT_ATTRIBUTES, label_patches
from torch import nn
from torch.nn import functional as F
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.clips import ImageDataset, find_media
from training.diffusion import MovingAverageTrainer, TrainedParts
from training.trainer import prepare_run, train_and_save

from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITVisionConfig, VideoLaVITVisionModel


DESCRIPTION = """An image encoder for the small world of shapes, with the architecture of EVA-CLIP's ViT at a small size. It takes the place of
EVA-CLIP in a Video-LaVIT that is trained from nothing."""
USAGE = """from transformers_videolavit import VideoLaVITVisionModel

encoder = VideoLaVITVisionModel.from_pretrained("{model}")"""
ATTRIBUTES = BACKGROUND_ATTRIBUTES | OBJECT_ATTRIBUTES
# What patches tell of whose row and column add up to an even number; the others tell of the rest.
EVEN_ATTRIBUTES = ("colour", "size", "background_colour")
# What is told from images in their own colours alone, and what from images in turned colours alone.
COLOURS, SHAPES = ("colour", "background_colour"), ("shape",)
METRICS = (*(f"{attribute}_accuracy" for attribute in ATTRIBUTES), "offset_error", "pixel_loss")


@dataclass
class ModelArguments:
    vision_config: dict | str | None = field(default=None, metadata={"help": "Sizes of the encoder, as JSON."})
    cells_per_patch: int = field(default=4, metadata={"help": "Places in each direction whose colour is learned."})

    def __post_init__(self):
        if isinstance(self.vision_config, str):
            self.vision_config = json.loads(self.vision_config)


@dataclass
class DataArguments:
    train_data: str = field(metadata={"help": "Folder that `small_world.py` has written images to."})
    eval_data: str | None = field(default=None, metadata={"help": "The same, to evaluate on."})


@dataclass
class ObjectiveArguments:
    pixel_weight: float = field(default=1.0, metadata={"help": "Weight of the squared error of the pixels."})
    feature_noise: float = field(
        default=0.7,
        metadata={
            "help": "Noise on the features, in units of their deviation, from which attributes must be told all the same: what "
            "is hard to see would else take the room of what is easy, which a codebook then leaves out."
        },
    )
    offset_weight: float = field(default=0.5, metadata={"help": "Weight of the error of where an object is."})
    alike_weight: float = field(
        default=2.0,
        metadata={
            "help": "Weight of the squared difference between the features of an image and of the same in other colours, where they "
            "tell of shapes."
        },
    )
    ema_decay: float = field(default=0.995, metadata={"help": "Decay of the moving average of the weights; 0: none."})


ARGUMENTS = (ModelArguments, DataArguments, ObjectiveArguments, VideoLaVITTrainingArguments)


class LabelledImages(ImageDataset):
    """Images of the small world with what their patches show."""

    def __init__(self, folder: str, image_processor: VideoLaVITImageProcessor, num_patches: int, seed: int):
        super().__init__(find_media([str(Path(folder) / "images")], "image"), image_processor, seed=seed)
        self.options = read_options(folder)
        height, width = self.options.frame_size
        if height != width:
            raise ValueError(f"The images of {folder!r} must be square, not {height} x {width}.")
        self.num_patches = num_patches

    def read(self, file, generator):
        return super().read(file, generator) | label_patches(read_sample(file).scene, self.num_patches)


class ImageEncoderForTraining(TrainedParts):
    """
    The encoder with linear heads, and the loss of its training.

    Args:
        vision_model ([`VideoLaVITVisionModel`]): The encoder.
        cells_per_patch (`int`): Places of a patch, in each direction, whose colour is learned.
        args ([`ObjectiveArguments`]): Weights of the loss.
    """

    def __init__(self, vision_model: VideoLaVITVisionModel, cells_per_patch: int, args: ObjectiveArguments):
        config = vision_model.config
        sizes = {attribute: len(values) for attribute, values in ATTRIBUTES.items()}
        sizes |= {"offset": 2, "pixels": config.num_channels * cells_per_patch**2}
        heads = nn.ModuleDict({name: nn.Linear(config.hidden_size, size) for name, size in sizes.items()})
        super().__init__({"vision_model": vision_model, "heads": heads}, {})
        self.cells_per_patch = cells_per_patch
        self.args = args

    def forward(self, pixel_values: torch.Tensor, **labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            pixel_values (`torch.Tensor` of shape (batch_size, 3, height, width)): Normalised images.
            labels (`torch.Tensor`): Of [`label_patches`], with a batch dimension.

        Returns:
            `dict[str, torch.Tensor]`: The `loss`, the share of each attribute that is told right, the mean `offset_error` in
            widths of a patch, and `pixel_loss`.
        """
        config = self.vision_model.config
        batch_size = len(pixel_values)
        # What is told from which images: in their own colours first, then, in training, in turned ones.
        own = turned = both = slice(0, batch_size)
        images = pixel_values
        if self.training:
            images = torch.cat((pixel_values, turn_colours(pixel_values)))
            turned, both = slice(batch_size, None), slice(None)
            labels = {name: torch.cat((label, label)) for name, label in labels.items()}
        features = self.vision_model(images).last_hidden_state[:, 1:]
        # Only the direction of features counts to the keyframe tokenizer.
        features = F.layer_norm(features, features.shape[-1:])
        seen = features
        if self.training:
            seen = features + self.args.feature_noise * torch.randn_like(features)
        predicted = {name: head(seen).float() for name, head in self.heads.items()}

        places = torch.arange(config.image_size // config.patch_size, device=features.device)
        is_even = ((places[:, None] + places) % 2 == 0).flatten()
        losses, metrics = {}, {}
        for attribute in ATTRIBUTES:
            tells = is_even if attribute in EVEN_ATTRIBUTES else ~is_even
            rows = own if attribute in COLOURS else turned if attribute in SHAPES else both
            scores, target = predicted[attribute][rows][:, tells].transpose(1, 2), labels[attribute][rows][:, tells]
            losses[attribute] = F.cross_entropy(scores, target)
            metrics[f"{attribute}_accuracy"] = (scores.argmax(dim=1) == target).float().mean()
        metrics["offset_error"] = F.l1_loss(predicted["offset"], labels["offset"])
        losses["offset"] = self.args.offset_weight * metrics["offset_error"]
        cells = F.adaptive_avg_pool2d(pixel_values, len(places) * self.cells_per_patch)
        target = F.unfold(cells, self.cells_per_patch, stride=self.cells_per_patch).transpose(1, 2)
        metrics["pixel_loss"] = F.mse_loss(predicted["pixels"][own][:, is_even], target[:, is_even])
        losses["pixels"] = self.args.pixel_weight * metrics["pixel_loss"]
        if self.training:
            difference = F.mse_loss(features[own][:, ~is_even], features[turned][:, ~is_even])
            losses["alike"] = self.args.alike_weight * difference
        return {"loss": sum(losses.values()), **metrics}


def turn_colours(pixel_values: torch.Tensor) -> torch.Tensor:
    """
    Rotates the colours of each image at random: what differed in colour before differs as much after.

    Args:
        pixel_values (`torch.Tensor` of shape (batch_size, 3, height, width)): Normalised images.
    """
    rotations, triangles = torch.linalg.qr(torch.randn(len(pixel_values), 3, 3, device=pixel_values.device))
    # With the signs of the diagonal, all rotations and reflections are equally likely.
    rotations = rotations * triangles.diagonal(dim1=1, dim2=2).sign()[:, None]
    return torch.einsum("bij,bjhw->bihw", rotations.to(pixel_values), pixel_values)


def main(args: list[str] | None = None):
    model_args, data_args, objective_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    vision_model = VideoLaVITVisionModel(VideoLaVITVisionConfig(**(model_args.vision_config or {})))
    config = vision_model.config
    image_processor = VideoLaVITImageProcessor(size={"height": config.image_size, "width": config.image_size})

    def build_dataset(folder: str) -> LabelledImages:
        return LabelledImages(folder, image_processor, config.image_size // config.patch_size, training_args.seed)

    trainer = MovingAverageTrainer(
        model=ImageEncoderForTraining(vision_model, model_args.cells_per_patch, objective_args),
        args=training_args,
        train_dataset=build_dataset(data_args.train_data),
        eval_dataset=build_dataset(data_args.eval_data) if data_args.eval_data else None,
        ema_decay=objective_args.ema_decay,
        metric_names=METRICS,
    )

    def save(folder: Path) -> None:
        trainer.use_moving_average()
        vision_model.save_pretrained(folder)

    train_and_save(trainer, checkpoint, save, tags=["image-feature-extraction"], description=DESCRIPTION, usage=USAGE)


if __name__ == "__main__":
    main()
