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
"""Instruction tuning (Video-LaVIT, section 4.1): conversations with images and videos, with labels on the assistant's turns."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ProcessorMixin
from transformers.image_utils import load_image
from transformers.utils import logging

from training import document_attention
from training.packing import IGNORED_LABEL, VIDEO_INPUTS, Document
from training.sources import READING_ERRORS, load_llava_instruct, load_messages, load_video_chatgpt


logger = logging.get_logger(__name__)

# How each published layout is read: (file, folder of its media) -> dataset with a column `messages`.
CONVERSATION_FORMATS: dict[str, Callable[[str, str | None], datasets.Dataset]] = {
    "llava": load_llava_instruct,
    "video_chatgpt": load_video_chatgpt,
    "messages": load_messages,
}


@dataclass
class ConversationArguments:
    """What to tune on."""

    conversations: list[dict] | str | None = field(
        default=None,
        metadata={
            "help": 'Sets of conversations, as JSON or in the YAML file: \'[{"format": "llava", "path": '
            '"llava_v1_5_mix665k.json", "media_root": "images"}]\'. Formats: ' + ", ".join(CONVERSATION_FORMATS) + ". "
            "A set may also have `repeat`, `merge_turns` (questions about one image or video become one conversation) and "
            "`independent_turns` (each of its turns is learnt behind the image or video alone)."
        },
    )
    eval_conversations: list[dict] | str | None = field(
        default=None, metadata={"help": "Sets to evaluate on, in the same form."}
    )
    sample_prompts: list[str] | None = field(
        default=None, metadata={"help": "Questions that the model answers after each evaluation."}
    )
    score_unseen_answers: bool = field(
        default=True,
        metadata={
            "help": "Whether answers count as wrong that a question never has in training though other questions of the same type "
            "have them. Otherwise they are left out of the softmax, and what never comes together in training is not learnt to be "
            "impossible. Wants `question_type` or `question_types` in the rows of the sets."
        },
    )
    max_length: int = field(
        default=4096,
        metadata={"help": "Longest conversation, in tokens before patches are dropped. The rest is cut off."},
    )
    max_clips: int = field(default=8, metadata={"help": "Most clips of a video. Published: 8."})
    motion_tokens: bool = field(
        default=True, metadata={"help": "Whether videos have motion; without, they are the images of their keyframes."}
    )
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder to keep what was made of the conversations about videos in; by default videos are decoded and their "
            "motion is extracted in every epoch."
        },
    )

    def __post_init__(self):
        if isinstance(self.conversations, str):
            self.conversations = json.loads(self.conversations)
        if isinstance(self.eval_conversations, str):
            self.eval_conversations = json.loads(self.eval_conversations)
        if not self.conversations:
            raise ValueError("`conversations` names no set to tune on.")


def load_conversations(sets: list[dict]) -> datasets.Dataset:
    """
    Reads and joins sets of conversations.

    Args:
        sets (`list[dict]`): For each set its `format`, one of `CONVERSATION_FORMATS`, its `path`, and the `media_root`
            that the paths of its images or videos are relative to. With `merge_turns`, rows about the same image or video
            become turns of one conversation, in a random order, as LLaVA-1.5 does with sets of questions. With
            `independent_turns`, turns do not see those before them: each is learnt as a conversation of its own, behind the image or
            video, which is computed once. A set is taken `repeat` times in an epoch, once by default.

    Returns:
        `datasets.Dataset`: With the columns `messages`, `question_types` and `independent_turns`.

    Raises:
        ValueError: If a format is unknown, `repeat` is no positive whole number, or turns are to be independent in a conversation
            that has more before them than one image or video, or in which user and assistant do not take turns.
    """
    loaded = []
    for entry in sets:
        if entry.get("format") not in CONVERSATION_FORMATS:
            raise ValueError(
                f"`format` of {entry.get('path')!r} must be one of {sorted(CONVERSATION_FORMATS)}, not {entry.get('format')!r}."
            )
        repeat = entry.get("repeat", 1)
        if not isinstance(repeat, int) or repeat < 1:
            raise ValueError(f"`repeat` of {entry['path']!r} must be a positive whole number, not {repeat!r}.")
        read = CONVERSATION_FORMATS[entry["format"]]
        rows = read(entry["path"], entry.get("media_root")).select_columns(["messages", "question_types"])
        rows = merge_turns(rows) if entry.get("merge_turns") else rows
        independent = bool(entry.get("independent_turns"))
        for number, messages in enumerate(rows["messages"] if independent else ()):
            if not _may_be_independent(messages):
                raise ValueError(
                    f"`independent_turns` of {entry['path']!r} wants questions with answers about one image or video, which comes "
                    f"before all texts: conversation {number} is of another form."
                )
        loaded.extend([rows.add_column("independent_turns", [independent] * len(rows))] * repeat)
    return datasets.concatenate_datasets(loaded)


def _may_be_independent(messages: list[dict]) -> bool:
    """Whether a conversation has one image or video, before all texts, and an answer after each question."""
    media, *texts = (block["type"] for message in messages for block in message["content"])
    roles = [message["role"] for message in messages]
    return media != "text" and set(texts) == {"text"} and roles == ["user", "assistant"] * (len(roles) // 2)


def merge_turns(rows: datasets.Dataset) -> datasets.Dataset:
    """
    Joins conversations about the same image or video.

    Args:
        rows (`datasets.Dataset`): With the columns `messages`, whose first block is an image or a video with a `path`, and
            `question_types`; others stay as they are.

    Returns:
        `datasets.Dataset`: With the same columns, in the order in which the images and videos first come.
    """
    groups: dict[str, list[dict]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row["messages"][0]["content"][0].get("path") or f"row {number}", []).append(row)
    merged = []
    for number, group in enumerate(groups.values()):
        first, *others = (group[index] for index in np.random.default_rng(number).permutation(len(group)))
        turns, question_types = list(first["messages"]), list(first["question_types"])
        for row in others:
            # The image or video is there already.
            question, *answer = row["messages"]
            turns += [{**question, "content": question["content"][1:]}, *answer]
            question_types += row["question_types"]
        # Of some of the turns, it would not be known which.
        is_complete = all(row["question_types"] for row in group)
        merged.append({"messages": turns, "question_types": question_types if is_complete else []})
    return datasets.Dataset.from_list(merged, features=rows.features)


def find_unseen_answers(rows: datasets.Dataset) -> dict[str, tuple[list[str], list[str]]]:
    """
    What questions are answered by in some conversation, and what only others of their type are answered by.

    A model that is asked for the shape of what is red, and never saw a red star, learns first that the answer is any of the others:
    asked about a picture with a red star, it names a shape that is not there (Agrawal et al., "Don't Just Assume; Look and Answer",
    https://arxiv.org/abs/1712.00377). With the star left out of the softmax of questions about what is red, nothing says so;
    as logit adjustment (https://arxiv.org/abs/2007.07314) does for answers that are rare, here for those that never come.

    Args:
        rows (`datasets.Dataset`): With the columns `messages` and `question_types`.

    Returns:
        `dict[str, tuple[list[str], list[str]]]`: For each question, by its text: the answers that it has somewhere, and those that
        it has nowhere, but that other questions of the same type have. Questions without the latter are left out.
    """
    by_question: dict[str, set[str]] = {}
    by_type: dict[str, set[str]] = {}
    type_of: dict[str, str] = {}
    for row in rows:
        for name, (question, answer) in zip(row["question_types"], questions_and_answers(row["messages"])):
            type_of[question] = name
            by_question.setdefault(question, set()).add(answer)
            by_type.setdefault(name, set()).add(answer)
    unseen = {question: by_type[type_of[question]] - seen for question, seen in by_question.items()}
    return {
        question: (sorted(by_question[question]), sorted(answers)) for question, answers in unseen.items() if answers
    }


def questions_and_answers(messages: list[dict]) -> list[tuple[str, str]]:
    """The texts of the assistant's messages, each with that of the message before."""
    texts = ["".join(block["text"] for block in message["content"] if block["type"] == "text") for message in messages]
    roles = [message["role"] for message in messages]
    before = ["", *texts]
    return [(before[index], texts[index]) for index, role in enumerate(roles) if role == "assistant"]


def find_answers(labels: list[int]) -> list[tuple[int, int]]:
    """Where the assistant's messages begin and end, by the labels of a document."""
    is_learnt = np.pad(np.array(labels) != IGNORED_LABEL, 1)
    return [(start, stop) for start, stop in np.flatnonzero(is_learnt[1:] != is_learnt[:-1]).reshape(-1, 2).tolist()]


def build_conversation_datasets(
    args: ConversationArguments,
    processor: ProcessorMixin,
    attn_implementation: str,
    dataset_class: type["ConversationDataset"] | None = None,
) -> tuple["ConversationDataset", "ConversationDataset | None"]:
    """
    The conversations to tune on, and those to evaluate on, if there are any, of which everything counts; of `dataset_class`, by default
    [`ConversationDataset`].

    Raises:
        ValueError: If turns are independent, which `attn_implementation` does not keep apart.
    """

    def build(sets: list[dict], score_unseen_answers: bool) -> "ConversationDataset":
        samples = load_conversations(sets)
        if any(samples["independent_turns"]) and attn_implementation != document_attention.NAME:
            raise ValueError(
                f"`independent_turns` wants `attn_implementation` {document_attention.NAME!r}, not {attn_implementation!r}, in which "
                "turns would not see their image or video."
            )
        return (dataset_class or ConversationDataset)(
            samples,
            processor,
            args.max_length,
            args.max_clips,
            args.motion_tokens,
            args.cache_dir,
            score_unseen_answers,
        )

    evaluated = build(args.eval_conversations, True) if args.eval_conversations else None
    return build(args.conversations, args.score_unseen_answers), evaluated


class ConversationDataset(torch.utils.data.Dataset):
    """
    Conversations as documents, one for each item, made when they are asked for.

    A conversation whose image or video cannot be read is named in a warning, and another one, the same in every run, takes its place.

    Args:
        samples (`datasets.Dataset`): As [`load_conversations`] returns them. Independent turns become branches of a document, which
            `attn_implementation="sdpa_documents"` alone keeps apart.
        processor ([`VideoLaVITProcessor`]): Makes the model's inputs.
        max_length (`int`): Longest document, in tokens before patches are dropped.
        max_clips (`int`, defaults to 8): Most clips of a video.
        motion_tokens (`bool`, defaults to `True`): Whether videos have motion; without, they are the images of their keyframes.
        cache_dir (`str` or `os.PathLike`, *optional*): Folder to keep documents with videos in once they are made, keyframes in half
            precision. It may be shared by several sets and runs. Delete it when the videos change.
        score_unseen_answers (`bool`, defaults to `True`): Whether the answers of [`find_unseen_answers`] count as wrong.

    Raises:
        ValueError: If `score_unseen_answers` is false, but no sample has `question_types`.
    """

    # Conversations in a row that may fail before the media folder is to blame.
    max_replacements = 16

    def __init__(
        self,
        samples: datasets.Dataset,
        processor: ProcessorMixin,
        max_length: int,
        max_clips: int = 8,
        motion_tokens: bool = True,
        cache_dir: str | os.PathLike | None = None,
        score_unseen_answers: bool = True,
    ):
        self.samples = samples
        if not score_unseen_answers and not any(samples["question_types"]):
            raise ValueError(
                "`score_unseen_answers` is false, but no conversation has `question_types`: which answers could be those of which "
                "questions is not known."
            )
        self._known_answers = {} if score_unseen_answers else find_unseen_answers(samples)
        # The answers of a closed set of questions are few.
        self._answer_tokens: dict[str, list[int]] = {}
        self.processor = processor
        self.max_length = max_length
        self.max_clips = max_clips
        self.motion_tokens = motion_tokens
        added_tokens = processor.tokenizer.added_tokens_decoder
        self._special_ids = frozenset(id for id, token in added_tokens.items() if token.special)
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        if self.cache_dir is not None:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            parts = (processor.image_processor, processor.video_processor)
            tokenizer = json.loads(processor.tokenizer.backend_tokenizer.to_str())
            # What its last call was asked for, which is no property of a tokenizer.
            tokenizer |= {"padding": None, "truncation": None}
            settings = [*(part.to_json_string() for part in parts), tokenizer]
            self._settings = json.dumps([*settings, processor.chat_template, max_length, max_clips, motion_tokens])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> list[Document]:
        replacements = np.random.default_rng(index).integers(len(self), size=self.max_replacements)
        for candidate in (index, *replacements.tolist()):
            try:
                sample = self.samples[candidate]
                messages = sample["messages"]
                document = self._get_document(messages, sample["independent_turns"])
                if self._known_answers:
                    document.unscored = self._find_unscored(messages, document.labels)
                return [document]
            except READING_ERRORS as error:
                logger.warning(f"Conversation {candidate} is left out: {error}")
                last_error = error
        raise ValueError(
            f"Conversation {index} and {self.max_replacements} others chosen at random cannot be read."
        ) from last_error

    def _get_document(self, messages: list[dict], independent_turns: bool) -> Document:
        make = self._make_branches if independent_turns else self._make_document
        has_videos = any(block["type"] == "video" for message in messages for block in message["content"])
        if self.cache_dir is None or not has_videos:
            return make(messages)
        content = json.dumps(messages, sort_keys=True) + " independent" * independent_turns
        key = hashlib.sha256((self._settings + content).encode()).hexdigest()
        path = self.cache_dir / f"{key}.safetensors"
        if not path.exists():
            _write_document(make(messages), path)
        # Also the first time, so that all epochs see the same.
        return _read_document(path)

    def _find_unscored(self, messages: list[dict], labels: list[int]) -> list[tuple[int, int]]:
        """For each place of a label, the tokens with which an unseen answer of its question, and no seen one, would go on."""
        unscored = []
        # A document that was cut off has fewer answers.
        for (question, _), (start, stop) in zip(questions_and_answers(messages), find_answers(labels)):
            answers = self._known_answers.get(question, ((), ()))
            groups = [[self._tokenize_answer(answer) for answer in group] for group in answers]
            for offset, right in enumerate(labels[start:stop]):
                # Those that begin as the right answer does, as far as this.
                groups = [[ids for ids in group if len(ids) > offset] for group in groups]
                seen, unseen = ({ids[offset] for ids in group} for group in groups)
                unscored += [(start + offset, token) for token in sorted(unseen - seen - {right})]
                groups = [[ids for ids in group if ids[offset] == right] for group in groups]
        return unscored

    def _tokenize_answer(self, answer: str) -> list[int]:
        """The tokens that have labels where this is the assistant's message."""
        if answer not in self._answer_tokens:
            messages = [
                {"role": role, "content": [{"type": "text", "text": text}]}
                for role, text in (("user", "?"), ("assistant", answer))
            ]
            labels = self._make_document(messages).labels
            self._answer_tokens[answer] = [label for label in labels if label != IGNORED_LABEL]
        return self._answer_tokens[answer]

    def _make_document(self, messages: list[dict]) -> Document:
        messages = _load_images(messages)
        if not self.motion_tokens:
            messages = replace_videos_by_keyframes(messages, self.processor, self.max_clips)
        messages, stand_ins = self._hide_special_words(messages)
        inputs = self.processor.apply_chat_template(
            [messages],
            tokenize=True,
            return_dict=True,
            # Transformers makes the masks in loops over tokens, which are slow to take from tensors one by one.
            return_tensors="np",
            return_assistant_tokens_mask=True,
            processor_kwargs={"videos_kwargs": {"max_clips": self.max_clips}},
        ).convert_to_tensors("pt")
        input_ids = inputs["input_ids"][0]
        labels = torch.where(inputs["assistant_masks"][0].bool(), input_ids, IGNORED_LABEL).tolist()
        input_ids = input_ids.tolist()
        for word, stand_in in stand_ins.items():
            self._put_back(word, stand_in, input_ids, labels)
        placeholders = {self.processor.image_token_id, self.processor.video_token_id}
        if not placeholders.isdisjoint(input_ids[self.max_length :]):
            raise ValueError(f"its images and videos do not fit into `max_length` {self.max_length}.")
        document = Document(input_ids[: self.max_length], labels[: self.max_length])
        document.images.extend(inputs.get("pixel_values", []))
        if "pixel_values_videos" in inputs:
            document.videos.append({name: inputs[name] for name in VIDEO_INPUTS})
        return document

    def _make_branches(self, messages: list[dict]) -> Document:
        """The first turn as a document, and each other as if it were the first, from where the image or video ends."""
        turns = [messages[index : index + 2] for index in range(0, len(messages), 2)]
        document = self._make_document(turns[0])
        num_shared = self._find_media_end(document.input_ids)
        document.position_ids = list(range(len(document.input_ids)))
        # What comes behind does not depend on it.
        blank = {"type": "image", "image": Image.new("RGB", (8, 8))}
        for question, answer in turns[1:]:
            other = self._make_document([{**question, "content": [blank, *question["content"]]}, answer])
            branch = slice(self._find_media_end(other.input_ids), None)
            num_tokens = len(other.input_ids[branch])
            if len(document.input_ids) + num_tokens > self.max_length:
                break
            document.input_ids += other.input_ids[branch]
            document.labels += other.labels[branch]
            document.position_ids += range(num_shared, num_shared + num_tokens)
        return document

    def _find_media_end(self, input_ids: list[int]) -> int:
        """Where the tokens behind the last image or video begin."""
        tokenizer = self.processor.tokenizer
        ends = (tokenizer.image_end_token_id, tokenizer.motion_end_token_id)
        return max(index for index, token in enumerate(input_ids) if token in ends) + 1

    def _hide_special_words(self, messages: list[dict]) -> tuple[list[dict], dict[str, str]]:
        """
        Messages in whose texts a character for private use stands for each name of a special token, and the characters by the
        names: a text that has `</s>` or `<image>` in it is about them. `sanitize_control_tokens` of chat templates does the same,
        but gives no masks of the assistant's turns.
        """
        tokenizer = self.processor.tokenizer
        text = "\n".join(block.get("text", "") for message in messages for block in message["content"])
        special_ids = self._special_ids.intersection(tokenizer(text, add_special_tokens=False)["input_ids"])
        if not special_ids:
            return messages, {}
        characters = (character for character in map(chr, range(0xF0000, 0xFFFFE)) if character not in text)
        stand_ins = dict(zip(tokenizer.convert_ids_to_tokens(sorted(special_ids)), characters))
        names = re.compile("|".join(map(re.escape, sorted(stand_ins, key=len, reverse=True))))

        def hide(block: dict) -> dict:
            if "text" not in block:
                return block
            return {**block, "text": names.sub(lambda match: stand_ins[match[0]], block["text"])}

        return [
            {**message, "content": [hide(block) for block in message["content"]]} for message in messages
        ], stand_ins

    def _put_back(self, word: str, stand_in: str, input_ids: list[int], labels: list[int]) -> None:
        """Replaces the tokens of a stand-in by those of a word, as text, in ids and labels."""

        def tokenize(text: str) -> list[int]:
            return self.processor.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

        # Within a text, where no word boundary goes before.
        num_before = len(tokenize(stand_in))
        old, new = tokenize(stand_in + stand_in)[num_before:], tokenize(stand_in + word)[num_before:]
        position = 0
        while position < len(input_ids):
            place = slice(position, position + len(old))
            if input_ids[place] == old:
                is_learnt = labels[position] != IGNORED_LABEL
                input_ids[place] = new
                labels[place] = new if is_learnt else [IGNORED_LABEL] * len(new)
                position += len(new)
            else:
                position += 1


def _write_document(document: Document, path: Path) -> None:
    tensors = {name: torch.tensor(getattr(document, name)) for name in ("input_ids", "labels", "position_ids")}
    for kind, items in (("image", [{"pixel_values": image} for image in document.images]), ("video", document.videos)):
        for number, item in enumerate(items):
            for name, tensor in item.items():
                is_picture = name.startswith("pixel_values")
                tensors[f"{kind}.{number}.{name}"] = tensor.half() if is_picture else tensor.contiguous()
    # Several workers may be at it.
    temporary = path.with_suffix(f".{os.getpid()}.incomplete")
    save_file(tensors, temporary)
    os.replace(temporary, path)


def _read_document(path: Path) -> Document:
    tensors = load_file(path)
    numbers = {name: tensors.pop(name).tolist() for name in ("input_ids", "labels", "position_ids") if name in tensors}
    document = Document(**numbers)
    items: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        kind, number, name = key.split(".")
        items.setdefault((kind, int(number)), {})[name] = tensor.float() if tensor.is_floating_point() else tensor
    for (kind, _), item in sorted(items.items()):
        if kind == "image":
            document.images.append(item["pixel_values"])
        else:
            document.videos.append(item)
    return document


def _load_images(messages: list[dict]) -> list[dict]:
    """Messages with opened images, and without the empty fields that a table has where the blocks of a message differ."""
    loaded = []
    for message in messages:
        blocks = [{key: value for key, value in block.items() if value is not None} for block in message["content"]]
        blocks = [
            {"type": "image", "image": load_image(block["path"])}
            if "path" in block and block["type"] == "image"
            else block
            for block in blocks
        ]
        loaded.append({**message, "content": blocks})
    return loaded


def replace_videos_by_keyframes(messages: list[dict], processor: ProcessorMixin, max_clips: int = 8) -> list[dict]:
    """
    Messages in which the keyframes of a video take its place, as images: what there was before there was motion.

    Args:
        messages (`list[dict]`): Messages, as chat templates take them; videos have a `path`.
        processor ([`VideoLaVITProcessor`]): Finds the keyframes.
        max_clips (`int`, defaults to 8): Most clips, and so keyframes, of a video.
    """

    def replace(block: dict) -> list[dict]:
        if block["type"] != "video":
            return [block]
        (clips,) = processor.video_processor.extract_keyframes_and_motion(block["path"], max_clips=max_clips)
        return [{"type": "image", "image": keyframe} for keyframe in clips.keyframes]

    return [
        {**message, "content": [new for block in message["content"] for new in replace(block)]} for message in messages
    ]
