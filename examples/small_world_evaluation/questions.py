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
"""Answers to questions about held-out videos and images."""

from dataclasses import dataclass, field

from benchmark_tasks.runner import answer_conversations
from small_world.dataset import SmallWorldSample
from small_world.language import Question
from tqdm.auto import tqdm
from training.conversations import replace_videos_by_keyframes
from transformers import ProcessorMixin

from transformers_videolavit import VideoLaVITForCausalLM
from videolavit_metrics import proportion


NUMBERS = ("one object", "two objects", "three objects")


@dataclass
class QuestionTally:
    """Which questions were answered right: lists of outcomes by type, by type and number of objects, and by attribute."""

    by_type: dict[str, list[bool]] = field(default_factory=dict)
    by_number: dict[str, list[bool]] = field(default_factory=dict)
    by_attribute: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, sample: SmallWorldSample, question: Question, answer: str) -> None:
        """Notes an answer to a question about a sample, right where it has the reference's words."""
        right = normalize(answer) == normalize(question.answer)
        self.by_type.setdefault(question.type, []).append(right)
        number = NUMBERS[len(sample.description.objects) - 1]
        self.by_number.setdefault(f"{question.type}, {number}", []).append(right)
        self.by_attribute.setdefault(f"{question.type}: {question.attribute}", []).append(right)

    def result(self) -> dict:
        """Shares that are right, with intervals."""
        return {
            "by_type": {name: proportion(outcomes) for name, outcomes in self.by_type.items()},
            "by_number": {
                f"{kind}, {number}": proportion(self.by_number[f"{kind}, {number}"])
                for kind in self.by_type
                for number in NUMBERS
                if f"{kind}, {number}" in self.by_number
            },
            "by_attribute": {name: proportion(outcomes) for name, outcomes in sorted(self.by_attribute.items())},
        }


def normalize(answer: str) -> str:
    """An answer without capitals, punctuation at its end, and what surrounds it."""
    return " ".join(answer.lower().split()).strip(" .")


def answer_questions(
    model: VideoLaVITForCausalLM,
    processor: ProcessorMixin,
    samples: list[tuple[SmallWorldSample, str]],
    motion_tokens: bool = True,
    batch_size: int = 16,
) -> QuestionTally:
    """
    Asks a model every question about videos.

    Args:
        model ([`VideoLaVITForCausalLM`]): A model after instruction tuning.
        processor ([`VideoLaVITProcessor`]): Its processor.
        samples (`list[tuple[SmallWorldSample, str]]`): Samples with the paths of their videos.
        motion_tokens (`bool`, defaults to `True`): Whether the model reads the motion; else the keyframes as images.
        batch_size (`int`, defaults to 16): Questions at a time.
    """
    asked = [(sample, question, path) for sample, path in samples for question in sample.questions]
    tally = QuestionTally()
    for start in tqdm(range(0, len(asked), batch_size), desc="Asking questions"):
        batch = asked[start : start + batch_size]
        conversations = [
            [
                {
                    "role": "user",
                    "content": [{"type": "video", "path": path}, {"type": "text", "text": question.question}],
                }
            ]
            for _, question, path in batch
        ]
        if not motion_tokens:
            conversations = [replace_videos_by_keyframes(messages, processor) for messages in conversations]
        answers = answer_conversations(model, processor, conversations, max_new_tokens=16)
        for (sample, question, _), answer in zip(batch, answers):
            tally.add(sample, question, answer)
    return tally


def guess_questions(training: list[SmallWorldSample], samples: list[SmallWorldSample]) -> QuestionTally:
    """What the most frequent answer of the training data to each kind of question would score: the level of chance."""
    counts: dict[str, dict[str, int]] = {}
    for sample in training:
        for question in sample.questions:
            answers = counts.setdefault(question.attribute, {})
            answers[question.answer] = answers.get(question.answer, 0) + 1
    tally = QuestionTally()
    for sample in samples:
        for question in sample.questions:
            answers = counts[question.attribute]
            tally.add(sample, question, max(answers, key=answers.get))
    return tally
