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
"""Multiple choice: ScienceQA, SEED-Bench and MMBench."""

import re

import datasets
import evaluate

from .exact_match import _in_percent


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FEATURES = {
    "predictions": datasets.Value("string"),
    "references": {
        "answer": datasets.Value("string"),
        "choices": datasets.Sequence(datasets.Value("string")),
        "group": datasets.Value("string"),
    },
}


def read_choice(answer: str, choices: list[str]) -> str | None:
    """
    The letter that an answer chooses: one that stands alone or begins the answer, or that of the only choice it names.

    Args:
        answer (`str`): What the model said, such as "B", "(B)", "B. A dog" or "The answer is B."
        choices (`list[str]`): The choices, from A on.

    Returns:
        `str`, *optional*: The letter, or `None` where the answer chooses none, or several.
    """
    letters = LETTERS[: len(choices)]
    text = answer.strip()
    if match := re.match(rf"\(?([{letters}])(?:[.):,]|\s*$)", text):
        return match[1]
    # A small letter before another word is an article, or the beginning of a word.
    letter = rf"[{letters}](?![\w'-])|[{letters.lower()}](?=[.):,]|\W*$)"
    match = re.search(rf"(?i:answer|option|choice)(?i: is)?:?\s*\(?({letter})", text)
    if match and not (match[1] == "A" and _begins_with_choice(text[match.end() :], choices)):
        return match[1].upper()
    alone = set(re.findall(rf"(?<![\w'])([{letters}])(?![\w'])", text)) - {"A", "I"}
    if len(alone) == 1:
        return alone.pop()
    named = [letter for letter, choice in zip(letters, choices) if choice and choice.lower() in text.lower()]
    return named[0] if len(named) == 1 else None


def _begins_with_choice(text: str, choices: list[str]) -> bool:
    """Whether a text after "A" is one of the choices, so that this is no letter, but their article."""
    names = (re.sub(r"^(a|an|the) ", "", choice.lower()) for choice in choices if choice)
    return any(re.match(rf"\s+{re.escape(name)}\b", text.lower()) for name in names)


class MultipleChoiceAccuracy(evaluate.Metric):
    """
    Accuracy of multiple choice. References have the letter of the right "answer", the "choices" and a "group", which counts for
    [`CircularAccuracy`] alone. An answer that chooses nothing is wrong.

    Returns:
        `dict`: "accuracy", in percent, with "low" and "high" of its 95 % interval, "count", and "unreadable", the number of
        answers that choose nothing.
    """

    def _info(self):
        return _info(self)

    def _compute(self, predictions, references):
        read = [read_choice(answer, truth["choices"]) for answer, truth in zip(predictions, references)]
        outcomes = [letter == truth["answer"] for letter, truth in zip(read, references)]
        return {**_in_percent("accuracy", outcomes), "unreadable": read.count(None)}


class CircularAccuracy(evaluate.Metric):
    """
    MMBench's circular evaluation (https://arxiv.org/abs/2307.06281): a question is asked once for each rotation of its choices, and
    right where every rotation is. References are those of [`MultipleChoiceAccuracy`]; the rotations of one question have the
    same "group".

    Returns:
        `dict`: "circular_accuracy", in percent, with "low" and "high" of its 95 % interval, "count" of the groups,
        "vanilla_accuracy", of the single rotations, and "unreadable".
    """

    def _info(self):
        return _info(self)

    def _compute(self, predictions, references):
        read = [read_choice(answer, truth["choices"]) for answer, truth in zip(predictions, references)]
        outcomes: dict[str, list[bool]] = {}
        for letter, truth in zip(read, references):
            outcomes.setdefault(truth["group"], []).append(letter == truth["answer"])
        single = [right for rights in outcomes.values() for right in rights]
        return {
            **_in_percent("circular_accuracy", [all(rights) for rights in outcomes.values()]),
            "vanilla_accuracy": 100 * sum(single) / len(single),
            "unreadable": read.count(None),
        }


def _info(metric: evaluate.Metric) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=metric.__class__.__doc__,
        citation="https://arxiv.org/abs/2307.06281",
        inputs_description='predictions: list of answers; references: list of {"answer", "choices", "group"}',
        features=datasets.Features(_FEATURES),
    )
