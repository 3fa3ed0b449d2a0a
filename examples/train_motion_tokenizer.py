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
Stage 1: trains the motion tokenizer, a spatio-temporal VQ-VAE of motion vectors (Video-LaVIT, section 3.1).

    accelerate launch examples/train_motion_tokenizer.py --config examples/configs/motion_tokenizer_tiny.yaml \\
        --train_videos data/train --eval_videos data/validation --output_dir outputs/motion_tokenizer

    accelerate launch --config_file examples/accelerate_configs/ddp.yaml examples/train_motion_tokenizer.py \\
        --config examples/configs/motion_tokenizer_full.yaml --train_videos webvid.csv

Videos need no captions. Killed and started again with the same arguments, it goes on from its last checkpoint.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.cache import CachedSamples
from training.clips import VideoClipDataset, find_media
from training.pictures import PictureCallback, contact_sheet, draw_motion
from training.trainer import VideoLaVITTrainer, prepare_run, train_and_save

from transformers_videolavit import (
    VideoLaVITMotionTokenizer,
    VideoLaVITMotionTokenizerConfig,
    VideoLaVITVideoProcessor,
)


DESCRIPTION = """Video-LaVIT's motion tokenizer (arXiv 2402.03161, section 3.1): the motion vectors of a clip of 24 frames become a
few discrete tokens, and a motion field again."""
USAGE = """from transformers_videolavit import VideoLaVITMotionTokenizer, VideoLaVITVideoProcessor

tokenizer = VideoLaVITMotionTokenizer.from_pretrained("{model}")
video = VideoLaVITVideoProcessor()("clip.mp4", return_tensors="pt")
codes = tokenizer.encode(video["motion_vectors"])
motion = tokenizer.decode(codes, height=40, width=72)"""
METRICS = ("reconstruction_loss", "commitment_loss", "perplexity", "codebook_usage")


@dataclass
class ModelArguments:
    model_name_or_path: str | None = field(default=None, metadata={"help": "A tokenizer to train further."})
    config_overrides: dict | str | None = field(
        default=None, metadata={"help": "Sizes of a new tokenizer, as JSON; by default those of the released one."}
    )

    def __post_init__(self):
        if isinstance(self.config_overrides, str):
            self.config_overrides = json.loads(self.config_overrides)


@dataclass
class DataArguments:
    train_videos: list[str] = field(metadata={"help": "Folders, files or tables of videos."})
    eval_videos: list[str] | None = field(default=None, metadata={"help": "The same, to evaluate on."})
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder to keep the motion of one clip of each video in; by default it is extracted anew."},
    )


ARGUMENTS = (ModelArguments, DataArguments, VideoLaVITTrainingArguments)


def main(args: list[str] | None = None):
    model_args, data_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    if model_args.model_name_or_path is not None:
        model = VideoLaVITMotionTokenizer.from_pretrained(model_args.model_name_or_path)
    else:
        model = VideoLaVITMotionTokenizer(VideoLaVITMotionTokenizerConfig(**(model_args.config_overrides or {})))
    # A moving average stands still in half precision.
    model = model.float()
    model.quantizer.requires_grad_(False)
    config = model.config
    video_processor = VideoLaVITVideoProcessor(
        num_frames=config.num_frames, motion_height=config.motion_height, motion_width=config.motion_width
    )

    def build_dataset(videos: list[str], split: str) -> torch.utils.data.Dataset:
        dataset = VideoClipDataset(find_media(videos, "video"), video_processor, seed=training_args.seed)
        if data_args.cache_dir is None:
            return dataset
        folder, settings = (
            Path(data_args.cache_dir) / split,
            {"shape": config.motion_shape, "seed": training_args.seed},
        )
        return CachedSamples(dataset, folder, keep_motion, settings, training_args)

    train_dataset = build_dataset(data_args.train_videos, "train")
    eval_dataset = build_dataset(data_args.eval_videos, "eval") if data_args.eval_videos else None
    trainer = VideoLaVITTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=collate,
        metric_names=METRICS,
        callbacks=[PictureCallback(lambda model: draw_reconstruction(model, eval_dataset))],
    )
    train_and_save(
        trainer,
        checkpoint,
        tags=["motion-tokenizer"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


def keep_motion(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of clips is kept in a cache."""
    return {"motion_vectors": batch["motion_vectors"]}


def collate(items: list[dict]) -> dict:
    """A batch of motion alone."""
    return {"motion_vectors": torch.stack([item["motion_vectors"] for item in items])}


def draw_reconstruction(model: VideoLaVITMotionTokenizer, dataset: torch.utils.data.Dataset) -> dict:
    """Motion of the first clips, above what is left of it in the tokens; every fourth frame."""
    rows = []
    for index in range(min(3, len(dataset))):
        motion = dataset[index]["motion_vectors"][None].to(model.device)
        reconstruction = model.decode(model.encode(motion)).float()
        scale = float(motion.norm(dim=1).max())
        for field_of_clip in (motion[0], reconstruction[0]):
            rows.append([draw_motion(field_of_clip[:, frame], scale) for frame in range(1, motion.shape[2], 4)])
    return {"motion": contact_sheet(rows, scale=4)}


if __name__ == "__main__":
    main()
