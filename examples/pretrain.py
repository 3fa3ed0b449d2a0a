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
Stage 2: unified generative pre-training (Video-LaVIT, section 3.3), next-token prediction on text, images and videos.

    accelerate launch examples/pretrain.py --config examples/configs/pretrain_tiny.yaml \\
        --model_name_or_path outputs/base --train_files 'outputs/tokens/*.parquet' --output_dir outputs/pretrained

    accelerate launch --config_file examples/accelerate_configs/fsdp2.yaml examples/pretrain.py \\
        --config examples/configs/pretrain_7b.yaml

The model is what `assemble_model.py` wrote or a checkpoint to continue from; the data are shards of `tokenize_dataset.py`. Killed
and started again with the same arguments, it goes on from its last checkpoint.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.language_modeling import (
    GenerationCallback,
    LanguageModelArguments,
    LanguageModelTrainer,
    freeze_tokenizers,
)
from training.packing import DocumentBuilder, FlatteningCollator, PackedDataset
from training.token_shards import load_mixture
from training.trainer import prepare_run, train_and_save
from transformers import AutoModelForCausalLM, AutoProcessor, ProcessorMixin

import transformers_videolavit  # noqa: F401


DESCRIPTION = """Video-LaVIT after unified generative pre-training (stage 2, arXiv 2402.03161, section 3.3): one language model
predicts the next token of texts, images and videos, and so continues any of them."""
USAGE = """from transformers import AutoModelForCausalLM, AutoProcessor

import transformers_videolavit

processor = AutoProcessor.from_pretrained("{model}")
model = AutoModelForCausalLM.from_pretrained("{model}")
inputs = processor(text="a red circle moves to the left", generation_mode="video", return_tensors="pt")
ids = model.generate(**inputs, generation_mode="video")
print(processor.post_process_multimodal_output(ids)[0])"""


@dataclass
class ModelArguments(LanguageModelArguments):
    train_merger: bool = field(
        default=True,
        metadata={
            "help": "Whether the merger is trained with the language model, where there are keyframes to train it. Visual codes are read "
            "from what it gives: a model that is to write codes for a detokenizer that knows them keeps it."
        },
    )
    train_projector: bool = field(
        default=True,
        metadata={
            "help": "Whether the projector is trained with the language model, where there are keyframes to train it."
        },
    )
    trainable_parameters: str | None = field(
        default=None,
        metadata={"help": "Regular expression; only language model parameters whose name it finds are trained."},
    )


@dataclass
class DataArguments:
    train_files: list[str] | None = field(default=None, metadata={"help": "Token shards (Parquet files or patterns)."})
    mixture: list[dict] | str | None = field(
        default=None,
        metadata={
            "help": "In place of `train_files`, several sets with weights, as JSON or in the YAML file: "
            '\'[{"path": "text/*.parquet", "weight": 2}, {"path": "video/*.parquet", "weight": 1}]\'.'
        },
    )
    eval_files: list[str] | None = field(default=None, metadata={"help": "Token shards to evaluate on."})
    max_length: int = field(default=2048, metadata={"help": "Tokens of a packed row. Published: 2048."})
    text_first_probability: float = field(default=0.5, metadata={"help": "How often a pair's text comes first."})
    prompt_dropout: float = field(
        default=0.1, metadata={"help": "How often a generated visual goes without its prompt, for guidance."}
    )
    continuous_features: bool = field(
        default=True, metadata={"help": "Whether images that condition text enter as continuous features."}
    )
    generation_bos: bool = field(
        default=True, metadata={"help": "Whether `<s>` stands before a prompt, as published."}
    )
    motion_tokens: bool = field(
        default=True, metadata={"help": "Whether videos have motion; without, they are their keyframes alone."}
    )
    given_keyframe_probability: float = field(
        default=0.0,
        metadata={
            "help": "How often the first keyframe of a video behind its text is given as continuous features, for image to video, "
            "in place of being generated."
        },
    )
    sample_prompts: list[str] | None = field(
        default=None, metadata={"help": "Descriptions of videos that the model generates after each evaluation."}
    )
    detokenizer: str | None = field(default=None, metadata={"help": "Pipeline that shows them."})
    sample_size: list[int] | None = field(default=None, metadata={"help": "Height and width of their frames."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that count tokens."})

    def __post_init__(self):
        if isinstance(self.mixture, str):
            self.mixture = json.loads(self.mixture)
        if (self.train_files is None) == (self.mixture is None):
            raise ValueError("Give either `train_files` or `mixture`.")
        if self.train_files is not None:
            self.mixture = [{"path": self.train_files, "weight": 1.0}]


ARGUMENTS = (ModelArguments, DataArguments, VideoLaVITTrainingArguments)


def main(args: list[str] | None = None):
    model_args, data_args, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    model, processor = load_model(model_args)
    pretrain(model, processor, model_args, data_args, training_args, checkpoint)


def pretrain(
    model: nn.Module,
    processor: ProcessorMixin,
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: VideoLaVITTrainingArguments,
    checkpoint: str | None,
    trainer_class: type[LanguageModelTrainer] = LanguageModelTrainer,
    save: Callable[[Path], None] | None = None,
    **trainer_kwargs,
) -> None:
    """
    Trains a loaded model and saves it.

    Args:
        model (`VideoLaVITForCausalLM`): The model.
        processor ([`VideoLaVITProcessor`]): Its processor.
        model_args, data_args, training_args: The program's arguments.
        checkpoint (`str`, *optional*): The checkpoint to go on from.
        trainer_class (`type`, defaults to [`LanguageModelTrainer`]): What trains it.
        save (`Callable`, *optional*): Writes the trained model to a folder, as of [`train_and_save`].
        trainer_kwargs: Further arguments of `trainer_class`.
    """
    train_dataset, eval_dataset = build_datasets(model, processor, data_args, training_args)
    # What no image goes through would only shrink, by the decay of weights.
    has_images = train_dataset.has_images
    freeze_tokenizers(model, model_args.train_merger and has_images, model_args.train_projector and has_images)
    trainer = trainer_class(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=FlatteningCollator(model.config, always_image=has_images),
        processing_class=processor,
        callbacks=[
            GenerationCallback(
                processor, data_args.sample_prompts or [], "video", data_args.detokenizer, data_args.sample_size
            )
        ],
        **trainer_kwargs,
    )
    train_and_save(
        trainer,
        checkpoint,
        save,
        tags=["text-to-video"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


def load_model(model_args: ModelArguments) -> tuple[nn.Module, ProcessorMixin]:
    """The model to be trained, and its processor."""
    processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_name_or_path, dtype=model_args.dtype, attn_implementation=model_args.attn_implementation
    )
    if model_args.trainable_parameters is not None:
        restrict_training(model, model_args.trainable_parameters)
    return model, processor


def build_datasets(
    model: nn.Module, processor: ProcessorMixin, data_args: DataArguments, training_args: VideoLaVITTrainingArguments
) -> tuple[PackedDataset, PackedDataset | None]:
    """The rows to train on, and those to evaluate on if there are any."""

    def build(mixture: list[dict], prompt_dropout: float) -> PackedDataset:
        builder = DocumentBuilder(
            processor.tokenizer,
            processor.image_processor,
            model.config,
            data_args.max_length,
            data_args.text_first_probability,
            prompt_dropout,
            data_args.continuous_features,
            data_args.generation_bos,
            data_args.motion_tokens,
            data_args.given_keyframe_probability,
        )
        samples = load_mixture(mixture, seed=training_args.seed)
        return PackedDataset(samples, builder, training_args.seed, data_args.preprocessing_num_workers)

    with training_args.main_process_first(desc="counting tokens"):
        train_dataset = build(data_args.mixture, data_args.prompt_dropout)
        eval_dataset = None
        if data_args.eval_files is not None:
            eval_dataset = build([{"path": data_args.eval_files, "weight": 1.0}], prompt_dropout=0.0)
    return train_dataset, eval_dataset


def restrict_training(model, pattern: str) -> None:
    """Freezes the language model's parameters whose name a regular expression does not find."""
    parameters = [*model.model.language_model.named_parameters(), *model.lm_head.named_parameters("lm_head")]
    chosen = [name for name, parameter in parameters if re.search(pattern, name)]
    if not chosen:
        raise ValueError(f"`trainable_parameters` {pattern!r} finds no parameter of the language model.")
    for name, parameter in parameters:
        parameter.requires_grad_(name in chosen)


if __name__ == "__main__":
    main()
