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
Teaches the selector of a small world's keyframe tokenizer to keep the patches on and around the objects: a third of all patches on
average, more where there are more objects.

    accelerate launch examples/train_small_world_selector.py --model_name_or_path outputs/keyframe_features \\
        --train_data data/train --eval_data data/validation --config examples/configs/small_world/selector.yaml \\
        --output_dir outputs/keyframe_selector

The paper's selector learns by its reconstruction alone, over far more images than there are here. In the small world every patch tells of
the object that is nearest, so a random third of the patches reconstructs the others as well as the best third, and the decisions of
`train_keyframe_tokenizer.py --phase features` stay close to chance: deciding by the more probable one then keeps hardly any. Killed and
started again with the same arguments, it goes on from its last checkpoint.
"""

from dataclasses import dataclass, field

import torch
from small_world.dataset import image_sample
from small_world.patches import label_patches
from torch.nn import functional as F
from train_small_world_encoder import DataArguments, LabelledImages
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.diffusion import TrainedParts
from training.trainer import VideoLaVITTrainer, prepare_run, train_and_save

from transformers_videolavit import VideoLaVITImageProcessor, VideoLaVITKeyframeTokenizer


DESCRIPTION = """The keyframe tokenizer of a Video-LaVIT for the small world of shapes, whose selector keeps the patches on and around the
objects; its codebook is not trained yet."""
USAGE = """from transformers_videolavit import VideoLaVITKeyframeTokenizer

tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained("{model}")"""
METRICS = ("accuracy", "keep_rate")
NUM_SCENES = 2000


@dataclass
class ModelArguments:
    model_name_or_path: str = field(metadata={"help": "The tokenizer, after the phase `features`."})


ARGUMENTS = (ModelArguments, DataArguments, VideoLaVITTrainingArguments)


class SelectorForTraining(TrainedParts):
    """
    The selector, with the loss of its training.

    Args:
        tokenizer ([`VideoLaVITKeyframeTokenizer`]): Holds it.
        max_gap (`float`): How far from an object's edge a patch is kept, in widths of a patch.
    """

    def __init__(self, tokenizer: VideoLaVITKeyframeTokenizer, max_gap: float):
        super().__init__({"selector": tokenizer.selector}, {"vision_model": tokenizer.vision_model})
        self.max_gap = max_gap

    def forward(
        self, pixel_values: torch.Tensor, gap: torch.Tensor, **labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            pixel_values (`torch.Tensor` of shape (batch_size, 3, height, width)): Normalised images.
            gap (`torch.Tensor` of shape (batch_size, num_patches)): Of [`label_patches`].

        Returns:
            `dict[str, torch.Tensor]`: The `loss`, the share of decisions that are right, and of patches that are kept.
        """
        with torch.no_grad():
            features = self.helper("vision_model")(pixel_values).last_hidden_state[:, 1:]
        scores = self.selector(features)
        is_dropped = gap > self.max_gap
        decisions = scores[..., 0] < scores[..., 1]
        return {
            "loss": F.nll_loss(scores.transpose(1, 2), is_dropped.long()),
            "accuracy": (decisions == is_dropped).float().mean(),
            "keep_rate": 1 - decisions.float().mean(),
        }


def find_max_gap(dataset: LabelledImages, keep_rate: float) -> float:
    """How far from objects' edges, in widths of a patch, that share of all patches lies."""
    scenes = (image_sample(dataset.options, index).scene for index in range(NUM_SCENES))
    gaps = torch.stack([label_patches(scene, dataset.num_patches)["gap"] for scene in scenes])
    return float(gaps.flatten().quantile(keep_rate))


def main(args: list[str] | None = None):
    model_args, data_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    tokenizer = VideoLaVITKeyframeTokenizer.from_pretrained(model_args.model_name_or_path, dtype=torch.float32)
    config = tokenizer.config.vision_config
    image_processor = VideoLaVITImageProcessor(size={"height": config.image_size, "width": config.image_size})

    def build_dataset(folder: str) -> LabelledImages:
        return LabelledImages(folder, image_processor, config.image_size // config.patch_size, training_args.seed)

    train_dataset = build_dataset(data_args.train_data)
    trainer = VideoLaVITTrainer(
        model=SelectorForTraining(tokenizer, find_max_gap(train_dataset, tokenizer.config.keep_rate)),
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=build_dataset(data_args.eval_data) if data_args.eval_data else None,
        metric_names=METRICS,
    )
    train_and_save(
        trainer,
        checkpoint,
        tokenizer.save_pretrained,
        tags=["keyframe-tokenizer"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


if __name__ == "__main__":
    main()
