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
Stage 1: trains the keyframe tokenizer, LaVIT's dynamic visual tokenizer (arXiv 2309.04669, section 3.1), in two phases.

    accelerate launch examples/train_keyframe_tokenizer.py --config examples/configs/keyframe_tokenizer_tiny.yaml \\
        --phase features --train_images data/images --train_videos data/train --output_dir outputs/keyframe_features
    accelerate launch examples/train_keyframe_tokenizer.py --config examples/configs/keyframe_tokenizer_tiny.yaml \\
        --phase quantizer --model_name_or_path outputs/keyframe_features --train_images data/images \\
        --train_videos data/train --output_dir outputs/keyframe_tokenizer

In the first the selector and the merger learn to keep a third of the patches from which a decoder restores the frozen
encoder's features; in the second the selector is frozen and the codebook follows. Killed and started again with the same arguments, it
goes on from its last checkpoint.
"""

import json
from dataclasses import dataclass, field
from functools import partial

import torch
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.clips import ImageDataset, JoinedSamples, VideoClipDataset, find_media
from training.pictures import PictureCallback, contact_sheet, to_picture
from training.trainer import VideoLaVITTrainer, prepare_run, train_and_save

from transformers_videolavit import (
    VideoLaVITImageProcessor,
    VideoLaVITKeyframeTokenizer,
    VideoLaVITKeyframeTokenizerConfig,
    VideoLaVITVideoProcessor,
    VideoLaVITVisionModel,
)


DESCRIPTION = """LaVIT's dynamic visual tokenizer (arXiv 2309.04669, section 3.1), of Video-LaVIT's keyframes: a selector keeps about a third of
an image's patches, a merger writes the others' content into them, and a codebook makes them tokens."""
USAGE = """from PIL import Image
from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITKeyframeTokenizer

tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained("{model}")
pixel_values = VideoLaVITImageProcessor()(Image.open("picture.png"), return_tensors="pt")["pixel_values"]
codes = tokenizer.encode(pixel_values)"""
METRICS = ("reconstruction_loss", "keep_rate", "keep_rate_loss")
QUANTIZER_METRICS = ("commitment_loss", "perplexity", "codebook_usage")


@dataclass
class ModelArguments:
    phase: str = field(metadata={"help": "`features` (selector and merger) or `quantizer` (merger and codebook)."})
    model_name_or_path: str | None = field(default=None, metadata={"help": "A tokenizer to train further."})
    vision_model_name_or_path: str | None = field(
        default=None, metadata={"help": "The image encoder of a new tokenizer; by default it is random."}
    )
    config_overrides: dict | str | None = field(
        default=None, metadata={"help": "Sizes of a new tokenizer, as JSON; by default those of the released one."}
    )
    train_merger: bool = field(
        default=True,
        metadata={
            "help": "Whether the phase `quantizer` trains the merger and the projection before the codebook, too, or only the codebook "
            "and the decoder behind it."
        },
    )
    projection_start: str = field(
        default="random",
        metadata={
            "help": "What the projection before a new codebook starts from: `random` weights, or `principal_components` of the "
            "features, which keeps what varies little, such as colours, where few images are trained on. With the latter, the codebook "
            "starts from the k-means of thousands of images in place of the first batch."
        },
    )

    def __post_init__(self):
        if self.projection_start not in ("random", "principal_components"):
            raise ValueError(
                f"`projection_start` must be random or principal_components, not {self.projection_start!r}."
            )
        if self.phase not in ("features", "quantizer"):
            raise ValueError(f"`phase` must be features or quantizer, not {self.phase!r}.")
        if self.phase == "features" and not self.train_merger:
            raise ValueError("`train_merger` must be true in the phase features, which is there to train it.")
        if isinstance(self.config_overrides, str):
            self.config_overrides = json.loads(self.config_overrides)


@dataclass
class DataArguments:
    train_images: list[str] | None = field(default=None, metadata={"help": "Folders, files or tables of images."})
    train_videos: list[str] | None = field(default=None, metadata={"help": "Videos whose keyframes are trained on."})
    eval_images: list[str] | None = field(default=None, metadata={"help": "Images to evaluate on."})
    eval_videos: list[str] | None = field(default=None, metadata={"help": "Videos to evaluate on."})

    def __post_init__(self):
        if not self.train_images and not self.train_videos:
            raise ValueError("Give `train_images`, `train_videos` or both.")


ARGUMENTS = (ModelArguments, DataArguments, VideoLaVITTrainingArguments)


def build_model(model_args: ModelArguments) -> VideoLaVITKeyframeTokenizer:
    """Loads the tokenizer, or makes a new one with the encoder given, and freezes what the phase does not train."""
    if model_args.model_name_or_path is not None:
        model = VideoLaVITKeyframeTokenizer.from_pretrained(model_args.model_name_or_path)
    else:
        overrides = {"decoder_num_hidden_layers": 12, **(model_args.config_overrides or {})}
        vision_model = None
        if model_args.vision_model_name_or_path is not None:
            vision_model = VideoLaVITVisionModel.from_pretrained(model_args.vision_model_name_or_path)
            overrides["vision_config"] = vision_model.config.to_dict()
        model = VideoLaVITKeyframeTokenizer(VideoLaVITKeyframeTokenizerConfig(**overrides))
        if vision_model is not None:
            model.vision_model.load_state_dict(vision_model.state_dict())
    # A moving average stands still in half precision.
    model = model.float()
    model.requires_grad_(True)
    model.vision_model.requires_grad_(False)
    model.quantizer.requires_grad_(False)
    model.selector.requires_grad_(model_args.phase == "features")
    if model_args.phase == "quantizer":
        model.merger.requires_grad_(model_args.train_merger)
        model.encoder_projection.requires_grad_(model_args.train_merger)
    return model


def main(args: list[str] | None = None):
    model_args, data_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    model = build_model(model_args)
    image_size = model.config.vision_config.image_size
    size = {"height": image_size, "width": image_size}
    image_processor, video_processor = VideoLaVITImageProcessor(size=size), VideoLaVITVideoProcessor(size=size)

    def build_dataset(images: list[str] | None, videos: list[str] | None) -> torch.utils.data.Dataset | None:
        parts = []
        if images:
            parts.append(ImageDataset(find_media(images, "image"), image_processor, seed=training_args.seed))
        if videos:
            parts.append(VideoClipDataset(find_media(videos, "video"), video_processor, seed=training_args.seed))
        return JoinedSamples(parts) if parts else None

    quantize = model_args.phase == "quantizer"
    train_dataset = build_dataset(data_args.train_images, data_args.train_videos)
    eval_dataset = build_dataset(data_args.eval_images, data_args.eval_videos)
    is_new = checkpoint is None and not model.quantizer.is_initialized
    if quantize and is_new and model_args.projection_start == "principal_components":
        start_from_principal_components(model.to(training_args.device), train_dataset)
    trainer = VideoLaVITTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=partial(collate, quantize=quantize),
        metric_names=METRICS + QUANTIZER_METRICS if quantize else METRICS,
        callbacks=[PictureCallback(lambda model: draw_selection(model, eval_dataset, image_processor))],
    )
    train_and_save(
        trainer,
        checkpoint,
        tags=["keyframe-tokenizer"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


@torch.no_grad()
def start_from_principal_components(
    model: VideoLaVITKeyframeTokenizer,
    dataset: torch.utils.data.Dataset,
    num_images: int = 8000,
    batch_size: int = 64,
    deviation: float = 0.4,
) -> None:
    """
    Starts the projection before the codebook by whitening merged features: from their principal components, each divided by its
    deviation. A codebook would else see little but the largest. The codebook then starts from the k-means of what is projected.

    Args:
        model ([`VideoLaVITKeyframeTokenizer`]): The tokenizer, whose `encoder_projection` and codebook are changed.
        dataset (`torch.utils.data.Dataset`): Items with `pixel_values`.
        num_images (`int`, defaults to 8000): How many of them to measure, from all over the set.
        batch_size (`int`, defaults to 64): How many at a time.
        deviation (`float`, defaults to 0.4): Deviation of what goes into the projection's hyperbolic tangent, which is almost
            linear there.
    """
    model.eval()
    indices = torch.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().long().tolist()
    features = []
    for start in range(0, len(indices), batch_size):
        pixel_values = torch.stack([dataset[index]["pixel_values"] for index in indices[start : start + batch_size]])
        features.append(model.select_and_merge(pixel_values.to(model.device)).features.float())
    features = torch.cat(features)
    mean = features.mean(dim=0)
    variances, components = (part.flip(-1) for part in torch.linalg.eigh(torch.cov(features.T)))
    # What hardly varies is not blown up.
    variances = variances.clamp(min=1e-4 * float(variances[0]))
    projection = model.encoder_projection
    size = projection.fc2.out_features
    weight = deviation * variances.pow(-0.5)[:, None] * components.T
    projection.fc1.weight.copy_(weight)
    projection.fc1.bias.copy_(-weight @ mean)
    projection.fc2.weight.copy_(torch.eye(size, len(mean)))
    projection.fc2.bias.zero_()
    projected = torch.cat([projection(part) for part in features.split(65536)])
    model.quantizer.start_from_kmeans(torch.nn.functional.normalize(projected, dim=-1))


def collate(items: list[dict], quantize: bool) -> dict:
    """A batch of images, with the phase."""
    return {"pixel_values": torch.stack([item["pixel_values"] for item in items]), "quantize": quantize}


def draw_selection(
    model: VideoLaVITKeyframeTokenizer, dataset: torch.utils.data.Dataset, image_processor: VideoLaVITImageProcessor
) -> dict:
    """The first images, and below them the patches that are kept."""
    pixel_values = torch.stack([dataset[index]["pixel_values"] for index in range(min(8, len(dataset)))])
    keep_mask = model.select_and_merge(pixel_values.to(model.device)).keep_mask.cpu()
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (image_processor.image_mean, image_processor.image_std)
    )
    images = pixel_values * std + mean
    side = round(keep_mask.shape[1] ** 0.5)
    kept = keep_mask.float().reshape(-1, 1, side, side).repeat_interleave(images.shape[-1] // side, dim=-1)
    kept = kept.repeat_interleave(images.shape[-2] // side, dim=-2)
    rows = [[to_picture(image) for image in part] for part in (images, images * kept + 0.8 * (1 - kept))]
    return {"selection": contact_sheet(rows)}


if __name__ == "__main__":
    main()
