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
Stage 3 for the small world: `finetune_full.py`, whose language model also learns to find the object that a question names.

    accelerate launch examples/train_small_world_answers.py --config examples/configs/small_world/finetune.yaml \\
        --attn_implementation sdpa_documents --model_name_or_path outputs/pretrained --output_dir outputs/instruct \\
        --conversations '[{"format": "video_chatgpt", "path": "data/train/conversations_video.json", "media_root": "data/train/videos",
            "merge_turns": true, "independent_turns": true}]'

From a few thousand videos, the loss of the answers alone teaches this late, and of motion not in the steps that were tried: a small model
names one of the colours, or of the directions, that it sees. So auxiliary losses ask for what is needed on the way, which linear heads tell
from early hidden states. Behind the first layer, each motion token tells which part of the video it is of and the motion there, and the last
word of an object's name in a question, where that object is, as behind the second; behind the second and the third, also what it does, as one of
`MOTIONS`. The heads are no part of the model that is saved. Killed and started again with the same arguments, it goes on from its last checkpoint.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from finetune_full import DESCRIPTION, USAGE
from small_world.dataset import read_sample
from small_world.language import find_named_object
from small_world.scenes import DIRECTIONS, HELD_OUT_SHAPE_OF_DIRECTION, Motion, ObjectDescription
from torch import nn
from torch.nn import functional as F
from training.arguments import VideoLaVITTrainingArguments, parse_arguments
from training.auxiliary_losses import AuxiliaryLossTrainer, save_without_heads
from training.conversations import (
    ConversationArguments,
    ConversationDataset,
    build_conversation_datasets,
    find_answers,
    questions_and_answers,
)
from training.language_modeling import (
    GenerationCallback,
    LanguageModelArguments,
    freeze_tokenizers,
)
from training.packing import IGNORED_LABEL, Document, FlatteningCollator
from training.trainer import prepare_run, train_and_save
from transformers import AutoModelForCausalLM, AutoProcessor

from transformers_videolavit import VideoLaVITConfig


# About the deviations of what is told: of objects' places, and of motion vectors.
POSITION_SCALE, MOTION_SCALE = 0.25, 0.2
# What an object may do, at any speed.
MOTIONS = (
    *(Motion("translation", direction) for direction in DIRECTIONS),
    *(Motion("rotation", direction) for direction in ("clockwise", "counterclockwise")),
    *(Motion("growth", direction) for direction in ("grows", "shrinks")),
    Motion("still"),
)


@dataclass
class ObjectiveArguments:
    auxiliary_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the errors of what hidden states tell of objects and motion tokens."}
    )
    motion_loss_weight: float = field(
        default=1.0,
        metadata={"help": "Among those, the weight of the errors of what names of objects tell of their motion."},
    )
    token_layer: int = field(
        default=1,
        metadata={"help": "Number of layers after which motion tokens tell where they are, and the motion there."},
    )
    # "The red object" ends in a word that is no part of a name by itself: one layer sees which object that is, the next one where.
    position_layers: list[int] = field(
        default_factory=lambda: [1, 2],
        metadata={"help": "Numbers of layers after which objects' names tell where these are."},
    )
    motion_layers: list[int] = field(
        default_factory=lambda: [2, 3],
        metadata={"help": "Numbers of layers after which objects' names tell what these do."},
    )


ARGUMENTS = (LanguageModelArguments, ConversationArguments, ObjectiveArguments, VideoLaVITTrainingArguments)


@dataclass
class Mention:
    """
    An object that a question names.

    Args:
        place (`int`): Of the last token of its name, among those of the document.
        position (`tuple[float, float]`): Its centre (x, y) in the first frame, from the frame's middle, in the frame's shorter sides.
        motion (`int`): Number of what it does in `MOTIONS`; `IGNORED_LABEL` where there is no motion, or that of the camera.
        unscored_motions (`list[int]`): Numbers of those that are left out of the softmax, so that they don't count as wrong.
    """

    place: int
    position: tuple[float, float]
    motion: int = IGNORED_LABEL
    unscored_motions: list[int] = field(default_factory=list)


@dataclass
class GroundedDocument(Document):
    """
    A conversation about a scene of the small world.

    Args:
        mentions (`list[Mention]`): Objects that are named in questions, in the order of the questions.
    """

    mentions: list[Mention] = field(default_factory=list)


class GroundedConversationDataset(ConversationDataset):
    """Conversations about videos and images of [`~small_world.dataset.write_dataset`], as [`GroundedDocument`]."""

    def _get_document(self, messages: list[dict], independent_turns: bool) -> GroundedDocument:
        document = GroundedDocument(**vars(super()._get_document(messages, independent_turns)))
        media = messages[0]["content"][0]
        sample = read_sample(media["path"])
        has_motion = media["type"] == "video" and self.motion_tokens and sample.description.camera == "still"
        end = 0
        for (question, _), (start, stop) in zip(questions_and_answers(messages), find_answers(document.labels)):
            found = find_named_object(sample.scene.description, question)
            if found is not None:
                number, name = found
                mention = Mention(
                    end + self._find_end(name, document.input_ids[end:start]), sample.scene.positions[number]
                )
                if has_motion:
                    self._add_motion(mention, sample.scene.description.objects[number])
                document.mentions.append(mention)
            end = stop
        return document

    def _add_motion(self, mention: Mention, described: ObjectDescription) -> None:
        (motion,) = described.motions
        mention.motion = MOTIONS.index(replace(motion, speed=None))
        # As of the answers.
        if self._known_answers:
            mention.unscored_motions = [
                number
                for number, other in enumerate(MOTIONS)
                if HELD_OUT_SHAPE_OF_DIRECTION.get(other.direction) == described.shape and number != mention.motion
            ]

    def _find_end(self, name: str, input_ids: list[int]) -> int:
        """Which of the tokens between two answers is the last of a name that is in their text once."""
        decode = self.processor.tokenizer.decode
        # Behind the image or video, whose tokens are many.
        first = max((place + 1 for place, token in enumerate(input_ids) if token in self._special_ids), default=0)
        return next(place for place in range(first, len(input_ids)) if name in decode(input_ids[first : place + 1]))


class GroundedCollator(FlatteningCollator):
    """[`FlatteningCollator`], with what is told of the objects that are named, as [`AnswerTrainer.auxiliary_losses`] takes it."""

    def __call__(self, rows: list[list[GroundedDocument]]) -> dict[str, torch.Tensor | bool]:
        batch = super().__call__(rows)
        mentions, start = [], 0
        for document in (document for row in rows for document in row):
            mentions += [replace(mention, place=start + mention.place) for mention in document.mentions]
            start += len(document.input_ids)
        is_unscored = torch.zeros(len(mentions), len(MOTIONS), dtype=torch.bool)
        for number, mention in enumerate(mentions):
            is_unscored[number, mention.unscored_motions] = True
        positions = torch.tensor([mention.position for mention in mentions], dtype=torch.float32)
        return batch | {
            "mention_places": torch.tensor([mention.place for mention in mentions], dtype=torch.long),
            "mention_positions": positions.reshape(-1, 2),
            "mention_motions": torch.tensor([mention.motion for mention in mentions], dtype=torch.long),
            "mention_unscored_motions": is_unscored,
        }


class AuxiliaryHeads(nn.Module):
    """
    Linear maps from hidden states to what they should tell.

    Args:
        config ([`VideoLaVITConfig`]): Of the model.
        num_position_layers (`int`): Number of layers after which names tell where objects are.
        num_motion_layers (`int`): Number of layers after which names tell what objects do.
    """

    def __init__(self, config: VideoLaVITConfig, num_position_layers: int, num_motion_layers: int):
        super().__init__()
        hidden_size = config.text_config.hidden_size
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.token_place = nn.Linear(hidden_size, config.motion_tokenizer_config.num_motion_tokens)
        self.token_motion = nn.Linear(hidden_size, 8)
        self.positions = nn.ModuleList([nn.Linear(hidden_size, 2) for _ in range(num_position_layers)])
        self.motions = nn.ModuleList([nn.Linear(hidden_size, len(MOTIONS)) for _ in range(num_motion_layers)])


class AnswerTrainer(AuxiliaryLossTrainer):
    """
    [`AuxiliaryLossTrainer`], with the errors of what [`AuxiliaryHeads`] tell.

    Args:
        objective ([`ObjectiveArguments`]): Weights and layers.
        kwargs: Arguments of [`LanguageModelTrainer`].
    """

    def __init__(self, *, objective: ObjectiveArguments, **kwargs):
        super().__init__(
            auxiliary_loss_weight=objective.auxiliary_loss_weight,
            loss_weights={"motion": objective.motion_loss_weight},
            **kwargs,
        )
        self.objective = objective

    def compute_loss(self, model, inputs, *args, **kwargs):
        mentions = {name: value for name, value in inputs.items() if name.startswith("mention")}
        names = ("input_ids", "motion_vectors", *mentions)
        self._auxiliary_inputs = {name: inputs[name] for name in names if name in inputs}
        inputs = {name: value for name, value in inputs.items() if name not in mentions}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def auxiliary_losses(
        self,
        hidden_states: tuple[torch.Tensor, ...],
        input_ids: torch.LongTensor,
        mention_places: torch.LongTensor,
        mention_positions: torch.Tensor,
        mention_motions: torch.LongTensor,
        mention_unscored_motions: torch.BoolTensor,
        motion_vectors: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        How wrong it is what hidden states tell.

        Args:
            hidden_states (`tuple[torch.Tensor, ...]`): Of shape (1, total_length, hidden_size), before and behind each layer.
            input_ids (`torch.LongTensor` of shape (1, total_length)): The tokens.
            mention_places (`torch.LongTensor` of shape (num_mentions,)): Where objects are named.
            mention_positions (`torch.Tensor` of shape (num_mentions, 2)): Where these are, see [`Mention`].
            mention_motions (`torch.LongTensor` of shape (num_mentions,)): What these do.
            mention_unscored_motions (`torch.BoolTensor` of shape (num_mentions, len(MOTIONS))): What is left out of the softmax.
            motion_vectors (`torch.Tensor` of shape (num_clips, 2, num_frames, height, width), *optional*): Of the videos.

        Returns:
            `dict[str, torch.Tensor]`: `position` and `token_motion`, mean squared errors in units of deviations, `motion` and `token_place`,
            cross-entropies; those of names are sums over layers. Without what the batch does not have.
        """
        heads, config, losses = self._unwrapped.auxiliary_heads, self._model_config(), {}

        def read(layer: int, places: torch.LongTensor) -> torch.Tensor:
            return heads.norm(hidden_states[layer][0, places].float())

        if motion_vectors is not None:
            num_tokens = config.motion_tokenizer_config.num_motion_tokens
            starts = (input_ids[0] == config.motion_start_token_id).nonzero()
            tokens = read(self.objective.token_layer, starts + 1 + torch.arange(num_tokens, device=starts.device))
            motion = mean_motion(motion_vectors.float(), config.motion_tokenizer_config.latent_shape)
            losses["token_motion"] = F.mse_loss(heads.token_motion(tokens), motion / MOTION_SCALE)
            places = torch.arange(num_tokens, device=starts.device).repeat(len(starts))
            losses["token_place"] = F.cross_entropy(heads.token_place(tokens).flatten(0, 1), places)
        if len(mention_places):
            losses["position"] = sum(
                F.mse_loss(head(read(layer, mention_places)), mention_positions / POSITION_SCALE)
                for layer, head in zip(self.objective.position_layers, heads.positions)
            )
        is_known = mention_motions != IGNORED_LABEL
        if is_known.any():
            places, is_unscored = mention_places[is_known], mention_unscored_motions[is_known]
            losses["motion"] = sum(
                F.cross_entropy(
                    head(read(layer, places)).masked_fill(is_unscored, -torch.inf), mention_motions[is_known]
                )
                for layer, head in zip(self.objective.motion_layers, heads.motions)
            )
        return losses


def mean_motion(motion_vectors: torch.Tensor, latent_shape: tuple[int, int, int]) -> torch.Tensor:
    """
    The motion in the part of a clip that each motion token is of, as the mean of each quarter of the picture there.

    Args:
        motion_vectors (`torch.Tensor` of shape (num_clips, 2, num_frames, height, width)): Motion vectors.
        latent_shape (`tuple[int, int, int]`): Parts of a clip in time, height and width.

    Returns:
        `torch.Tensor` of shape (num_clips, num_motion_tokens, 8).
    """
    num_times, height, width = latent_shape
    quarters = F.adaptive_avg_pool3d(motion_vectors, (num_times, 2 * height, 2 * width))
    parts = F.pixel_unshuffle(quarters.transpose(1, 2), 2)  # (num_clips, num_times, 8, height, width)
    return parts.permute(0, 1, 3, 4, 2).flatten(1, 3)


def main(args: list[str] | None = None):
    model_args, data_args, objective, training_args = parse_arguments(ARGUMENTS, args, description=__doc__)
    checkpoint = prepare_run(training_args)

    processor = AutoProcessor.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_name_or_path, dtype=model_args.dtype, attn_implementation=model_args.attn_implementation
    )
    freeze_tokenizers(model)
    layers = [objective.token_layer, *objective.position_layers, *objective.motion_layers]
    num_layers = model.config.text_config.num_hidden_layers
    if not all(0 < layer <= num_layers for layer in layers):
        raise ValueError(
            f"`token_layer`, `position_layers` and `motion_layers` must be from 1 to {num_layers}, the model's layers, not {layers}."
        )
    # A part of the model, so that it is trained, written into checkpoints and read from them as all the rest.
    model.auxiliary_heads = AuxiliaryHeads(model.config, len(objective.position_layers), len(objective.motion_layers))

    train_dataset, eval_dataset = build_conversation_datasets(
        data_args, processor, model_args.attn_implementation, GroundedConversationDataset
    )
    trainer = AnswerTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=GroundedCollator(model.config, always_image=True),
        processing_class=processor,
        callbacks=[GenerationCallback(processor, data_args.sample_prompts or [], "text")],
        objective=objective,
    )

    train_and_save(
        trainer,
        checkpoint,
        partial(save_without_heads, model, processor),
        tags=["video-text-to-text"],
        base_model=model_args.model_name_or_path,
        description=DESCRIPTION,
        usage=USAGE,
    )


if __name__ == "__main__":
    main()
