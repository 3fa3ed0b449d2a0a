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
Sequences of the unified generative pre-training (Video-LaVIT, section 3.3) and how they are packed.

A document is one of `<s> text </s>`, `<s> text visual </s>` and `<s> visual text </s>`. Where an image or a keyframe is
generated, after its text, it is made of discrete visual tokens; where it conditions text, of the continuous features of
its kept patches; motion is always discrete. Documents are packed into rows of bounded length, and rows are flattened
into one sequence in which positions start at 0 in every document: attention keeps to a document for that reason, with any attention
implementation, and nothing is padded. Documents with branches, which share their first tokens, want `sdpa_documents`.
"""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

from transformers_videolavit import VideoLaVITConfig


IGNORED_LABEL = -100
# Names of the model's inputs that the video processor makes.
VIDEO_INPUTS = ("pixel_values_videos", "motion_vectors", "num_clips")


@dataclass
class Document:
    """
    One sequence that attends to itself only.

    Args:
        input_ids (`list[int]`): Token ids; a continuous image is `config.num_image_tokens` placeholders.
        labels (`list[int]`): Labels, -100 where no loss is wanted.
        images (`list[torch.Tensor]`): Normalised pixels, of shape (3, height, width), of the continuous images.
        num_dropped (`int`): Placeholders of patches that the selector drops: they never reach the language model.
        videos (`list[dict[str, torch.Tensor]]`): What the video processor makes of the videos of a conversation:
            `pixel_values_videos`, `motion_vectors` and `num_clips`.
        unscored (`list[tuple[int, int]]`): Places of labels, each with a token that is left out of the softmax there, so that it
            doesn't count as wrong.
        position_ids (`list[int]`): Positions; by default one after another. Where they fall back, a branch begins, which
            [`~training.document_attention.document_attention_forward`] has attend to what comes before that position, and to itself.
    """

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    images: list[torch.Tensor] = field(default_factory=list)
    num_dropped: int = 0
    videos: list[dict[str, torch.Tensor]] = field(default_factory=list)
    unscored: list[tuple[int, int]] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.input_ids) - self.num_dropped

    def extend(self, input_ids: Sequence[int], learn: bool = True) -> None:
        """Appends tokens, with or without a loss on them."""
        self.input_ids.extend(input_ids)
        self.labels.extend(input_ids if learn else [IGNORED_LABEL] * len(input_ids))


class DocumentBuilder:
    """
    Turns samples of token shards into documents.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer of Video-LaVIT.
        image_processor (`BaseImageProcessor`): Normalises stored keyframes, which have the encoder's size.
        config ([`VideoLaVITConfig`]): Gives the layout of the vocabulary.
        max_length (`int`): Longest document, in tokens that the language model reads.
        text_first_probability (`float`, defaults to 0.5): How often the text of a pair comes first. Published: 1/2.
        prompt_dropout (`float`, defaults to 0.1): How often a generated visual goes without its prompt, for
            classifier-free guidance; its keyframes and motions are then documents of their own, each after its start
            token alone, as the unconditional contexts of the generation.
        continuous_features (`bool`, defaults to `True`): Whether images that condition text enter as continuous features.
            Samples without stored keyframes enter as discrete tokens in any case.
        generation_bos (`bool`, defaults to `True`): Whether `<s>` stands before a text that is followed by its visual, as
            published. The processor writes the prompts of images and videos without it.
        motion_tokens (`bool`, defaults to `True`): Whether videos have motion; without, they are their keyframes alone.
        given_keyframe_probability (`float`, defaults to 0.0): How often the first keyframe of a video behind its text is given as
            continuous features, for image to video, in place of being generated. Ours.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: BaseImageProcessor,
        config: VideoLaVITConfig,
        max_length: int,
        text_first_probability: float = 0.5,
        prompt_dropout: float = 0.1,
        continuous_features: bool = True,
        generation_bos: bool = True,
        motion_tokens: bool = True,
        given_keyframe_probability: float = 0.0,
    ):
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.config = config
        self.max_length = max_length
        self.text_first_probability = text_first_probability
        self.prompt_dropout = prompt_dropout
        self.continuous_features = continuous_features
        self.generation_bos = generation_bos
        self.motion_tokens = motion_tokens
        self.given_keyframe_probability = given_keyframe_probability

    def __call__(self, sample: dict, generator: np.random.Generator) -> list[Document]:
        """
        Args:
            sample (`dict`): A row of a token shard.
            generator (`np.random.Generator`): Decides on the order and on dropped prompts.

        Returns:
            `list[Document]`: One document, or several where a text is longer than a row or a prompt was dropped.
        """
        text_first, prompt_dropped = generator.random(2) < (self.text_first_probability, self.prompt_dropout)
        if not sample["visual_codes"]:
            return self._text_documents(sample["text"])
        blocks = [self._discrete_blocks(sample, clip) for clip in range(len(sample["visual_codes"]))]
        # Clips that do not fit are left out at the end; `<s>`, `</s>` and a text of at least a token are kept.
        lengths = np.cumsum([sum(map(len, clip)) for clip in blocks])
        blocks = blocks[: max(1, int(np.searchsorted(lengths, self.max_length - 3, side="right")))]
        if text_first and prompt_dropped:
            documents = []
            for block in (block for clip in blocks for block in clip):
                documents.append(Document())
                documents[-1].extend(block[: self.max_length])
            return documents

        document = Document()
        visual_length = sum(len(block) for clip in blocks for block in clip)
        text = self._tokenize(sample["text"])[: max(0, self.max_length - visual_length - 2)]
        if self.generation_bos or not text_first:
            document.extend([self.config.bos_token_id])
        if text_first:
            document.extend(text)
        is_given = self._is_given(sample, generator) if text_first else self.continuous_features
        for clip, (keyframe, *motion) in enumerate(blocks):
            if is_given and sample["keyframes"] and (clip == 0 or not text_first):
                self._extend_by_image(document, sample["keyframes"][clip], num_kept=len(keyframe) - 2)
            else:
                document.extend(keyframe)
            document.extend([token for block in motion for token in block])
        if not text_first:
            document.extend(text)
        document.extend([self.config.eos_token_id])
        return [document]

    def _is_given(self, sample: dict, generator: np.random.Generator) -> bool:
        # Nothing is drawn where nothing depends on it.
        if self.given_keyframe_probability == 0 or not sample["motion_codes"] or not self.motion_tokens:
            return False
        return generator.random() < self.given_keyframe_probability

    def count_tokens(self, sample: dict) -> int:
        """Length of the longest form that a sample can take, over all its documents."""
        if not sample["visual_codes"]:
            return sum(map(len, self._text_documents(sample["text"])))
        return min(len(self._tokenize(sample["text"])) + sample["num_tokens"] + 2, self.max_length)

    def _tokenize(self, text: str) -> list[int]:
        # A text that has `</s>` or `<image>` in it is about them.
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] if text else []

    def _text_documents(self, text: str) -> list[Document]:
        ids = [self.config.bos_token_id, *self._tokenize(text), self.config.eos_token_id]
        documents = []
        for start in range(0, len(ids), self.max_length):
            documents.append(Document())
            documents[-1].extend(ids[start : start + self.max_length])
        return documents

    def _discrete_blocks(self, sample: dict, clip: int) -> list[list[int]]:
        """`[IMG] v… [/IMG]` of a clip's keyframe and `[MOV] m… [/MOV]` of its motion, if it has one."""
        config = self.config
        # Computed properties, which are not looked up for every code.
        visual_offset, motion_offset = config.visual_code_offset, config.motion_code_offset
        visual = [code + visual_offset for code in sample["visual_codes"][clip]]
        blocks = [[config.image_start_token_id, *visual, config.image_end_token_id]]
        if sample["motion_codes"] and self.motion_tokens:
            motion = [code + motion_offset for code in sample["motion_codes"][clip]]
            blocks.append([config.motion_start_token_id, *motion, config.motion_end_token_id])
        return blocks

    def _extend_by_image(self, document: Document, keyframe: bytes, num_kept: int) -> None:
        config = self.config
        placeholders = [config.image_token_id] * config.num_image_tokens
        document.extend([config.image_start_token_id, *placeholders, config.image_end_token_id], learn=False)
        document.num_dropped += len(placeholders) - num_kept
        image = Image.open(io.BytesIO(keyframe)).convert("RGB")
        document.images.append(self.image_processor(image, return_tensors="pt")["pixel_values"][0])


class PackedDataset(torch.utils.data.Dataset):
    """
    Rows of packed documents.

    Which samples share a row is decided once, from the seed and the lengths; the trainer's sampler shuffles the rows anew in
    each epoch. The order of a pair and dropped prompts are drawn from the seed, the epoch and the sample's index, so
    that a run that resumes, with any number of workers, sees what an uninterrupted one sees.

    Args:
        samples (`datasets.Dataset`): Samples of token shards.
        builder ([`DocumentBuilder`]): Makes the documents.
        seed (`int`): Seed of the packing and of what each epoch draws.
        num_proc (`int`, *optional*): Processes that count the tokens of the samples; the counts are cached.
    """

    # Samples that are packed together: large enough for rows to be full, small enough to be quick.
    window = 4096

    def __init__(
        self, samples: datasets.Dataset, builder: DocumentBuilder, seed: int = 0, num_proc: int | None = None
    ):
        self.samples = samples
        self.builder = builder
        self.seed = seed
        self.epoch = 0
        counted = samples.select_columns(["text", "visual_codes", "num_tokens"])
        counted = counted.map(
            lambda sample: {"length": builder.count_tokens(sample)},
            remove_columns=counted.column_names,
            num_proc=num_proc,
            desc="Counting tokens",
        )
        # A text that is longer than a row is several units, one for each of its documents; other samples are one unit.
        lengths = np.array(counted["length"], dtype=np.int64)
        num_parts = -(-lengths // builder.max_length)
        self.sample_indices = np.repeat(np.arange(len(lengths)), num_parts)
        self.parts = np.arange(len(self.sample_indices)) - np.repeat(num_parts.cumsum() - num_parts, num_parts)
        unit_lengths = lengths[self.sample_indices] - self.parts * builder.max_length
        unit_lengths = np.minimum(unit_lengths, builder.max_length)
        order = np.random.default_rng(seed).permutation(len(unit_lengths))
        self.rows = [
            row
            for start in range(0, len(order), self.window)
            for row in pack_best_fit(unit_lengths, order[start : start + self.window], builder.max_length)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_images(self) -> bool:
        """Whether images enter as continuous features: some keyframes are stored, and may come before their text or be given."""
        numbers = pc.list_value_length(self.samples.data.column("keyframes"))
        is_wanted = self.builder.continuous_features and self.builder.text_first_probability < 1
        is_wanted = is_wanted or self.builder.given_keyframe_probability > 0
        return is_wanted and bool(pc.any(pc.greater(numbers, 0)).as_py())

    def set_epoch(self, epoch: int) -> None:
        """Has what is drawn at random drawn anew."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> list[Document]:
        documents = []
        for unit in self.rows[index]:
            sample_index = int(self.sample_indices[unit])
            generator = np.random.default_rng((self.seed, self.epoch, sample_index))
            sample = self.samples[sample_index]
            parts = self.builder(sample, generator)
            documents.extend(parts if sample["visual_codes"] else parts[self.parts[unit] : self.parts[unit] + 1])
        return documents


def pack_best_fit(lengths: np.ndarray, indices: np.ndarray, max_length: int) -> list[list[int]]:
    """
    Packs units into rows by best fit, the longest first.

    Args:
        lengths (`np.ndarray`): Tokens of every unit, `max_length` at most.
        indices (`np.ndarray`): The units to pack.
        max_length (`int`): Tokens of a row.

    Returns:
        `list[list[int]]`: The units of each row.
    """
    rows, free = [], np.empty(len(indices), dtype=np.int64)
    for index in indices[np.argsort(-lengths[indices], kind="stable")]:
        room = free[: len(rows)] - lengths[index]
        room[room < 0] = max_length + 1
        if len(rows) > 0 and room.min() <= max_length:
            row = int(room.argmin())
        else:
            row = len(rows)
            rows.append([])
            free[row] = max_length
        rows[row].append(int(index))
        free[row] -= lengths[index]
    return rows


@dataclass
class FlatteningCollator:
    """
    Flattens rows of documents into one sequence without padding.

    Args:
        config ([`VideoLaVITConfig`]): Gives the layout of the vocabulary and the image's size.
        always_image (`bool`, defaults to `False`): Whether to append an empty image without loss where the batch has none, so
            that the parameters of the image path have gradients, of zero, in every process and step.
        only_label_logits (`bool`, defaults to `True`): Whether to ask the model for the logits of the tokens with labels only,
            as [`LanguageModelTrainer`] does. The model's own loss, which `transformers.Trainer` takes, needs all of them.

    Returns:
        `dict`: `input_ids`, `labels` and `position_ids`, of shape (1, total_length), with positions
        that start at 0 in each document, and fall back where a branch of it begins, and a label of -100 at each document's first
        token; `use_cache`, false;
        `logits_to_keep`, the places that predict a token with a label, and `unscored`, of shape (2, num_unscored): which of their
        logits, by number and token, [`LanguageModelTrainer`] leaves out, if there are any; `pixel_values` of the continuous
        images and `pixel_values_videos`, `motion_vectors` and `num_clips` of the videos, if there are any.
    """

    config: VideoLaVITConfig
    always_image: bool = False
    only_label_logits: bool = True

    def __call__(self, rows: list[list[Document]]) -> dict[str, torch.Tensor | bool]:
        documents = [document for row in rows for document in row]
        if self.always_image and not any(document.images or document.videos for document in documents):
            documents.append(self._empty_image())
        input_ids = [token for document in documents for token in document.input_ids]
        labels = [label for document in documents for label in (IGNORED_LABEL, *document.labels[1:])]
        positions = [document.position_ids or range(len(document.input_ids)) for document in documents]
        labels = torch.tensor([labels])
        batch = {
            "input_ids": torch.tensor([input_ids]),
            "labels": labels,
            "position_ids": torch.tensor([list(itertools.chain(*positions))]),
            # With a cache, transformers would not look for the documents in the positions.
            "use_cache": False,
        }
        if self.only_label_logits:
            batch["logits_to_keep"] = (labels[0, 1:] != IGNORED_LABEL).nonzero()[:, 0]
            batch |= self._find_unscored(documents, labels)
        images = [image for document in documents for image in document.images]
        if images:
            batch["pixel_values"] = torch.stack(images)
        videos = [video for document in documents for video in document.videos]
        if videos:
            batch |= {name: torch.cat([video[name] for video in videos]) for name in VIDEO_INPUTS}
        return batch

    def _find_unscored(self, documents: list[Document], labels: torch.LongTensor) -> dict[str, torch.Tensor]:
        starts = np.cumsum([0, *(len(document.input_ids) for document in documents)])
        pairs = [
            (start + place, token) for start, document in zip(starts, documents) for place, token in document.unscored
        ]
        if not pairs:
            return {}
        places, tokens = torch.tensor(pairs).T
        numbers = (labels[0] != IGNORED_LABEL).cumsum(0) - 1
        return {"unscored": torch.stack((numbers[places], tokens))}

    def _empty_image(self) -> Document:
        size = self.config.vision_config.image_size
        document = Document(images=[torch.zeros(self.config.vision_config.num_channels, size, size)])
        document.extend([self.config.image_token_id] * self.config.num_image_tokens, learn=False)
        return document
