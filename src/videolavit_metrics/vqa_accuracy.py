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
"""Accuracy of visual question answering, with the official normalisation (https://visualqa.org/evaluation.html)."""

import re

import datasets
import evaluate

from .confidence import mean


# What the official evaluation writes with an apostrophe, without it or with one too few.
_CONTRACTED = [
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "couldn't've",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hadn't've",
    "hasn't",
    "haven't",
    "he'd",
    "he'd've",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "I'd've",
    "I'm",
    "I've",
    "isn't",
    "it'd",
    "it'd've",
    "it'll",
    "let's",
    "ma'am",
    "mightn't",
    "mightn't've",
    "might've",
    "mustn't",
    "must've",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "shan't",
    "she'd've",
    "she's",
    "should've",
    "shouldn't",
    "shouldn't've",
    "somebody'd've",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'd've",
    "someone'll",
    "someone's",
    "something'd",
    "something'd've",
    "something'll",
    "that's",
    "there'd",
    "there'd've",
    "there're",
    "there's",
    "they'd",
    "they'd've",
    "they'll",
    "they're",
    "they've",
    "wasn't",
    "we'd've",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'd've",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "wouldn't've",
    "y'all",
    "y'all'll",
    "y'all'd've",
    "you'd",
    "you'd've",
    "you'll",
    "you're",
    "you've",
]
# Words without their apostrophe that are other words.
_OTHER_WORDS = {"shes", "lets"}
_ARTICLES = {"a", "an", "the"}
_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")


def _contractions() -> dict[str, str]:
    forms = {}
    for word in _CONTRACTED:
        parts = word.split("'")
        # One apostrophe is missing.
        for index in range(len(parts) - 1):
            form = "'".join([*parts[:index], parts[index] + parts[index + 1], *parts[index + 2 :]])
            if form not in _OTHER_WORDS:
                forms[form] = word
    # The official list has this one the other way round.
    forms["somebody'd"] = "somebodyd"
    return {**forms, "twas": "'twas", "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at"}


_CONTRACTIONS = _contractions()


def normalize_answer(answer: str) -> str:
    """
    An answer as the official evaluation compares it: without punctuation and articles, numbers as digits, contractions with
    their apostrophes, in small letters.

    Args:
        answer (`str`): The answer.
    """
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    text = answer
    for mark in _PUNCTUATION:
        is_separate = f"{mark} " in answer or f" {mark}" in answer or _COMMA_IN_NUMBER.search(answer) is not None
        text = text.replace(mark, "" if is_separate else " ")
    text = _PERIOD.sub("", text)
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


class VQAAccuracy(evaluate.Metric):
    """
    Accuracy of VQAv2 and VizWiz: an answer is right as far as three of the others' annotators gave it, min(n / 3, 1), as the
    mean over the annotators, each of whom is left out once.

    Predictions are answers, references the annotators' answers, ten of them for each question.

    Returns:
        `dict`: "vqa_accuracy", in percent, with "low" and "high" of its 95 % interval, and "count".
    """

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__class__.__doc__,
            citation="https://arxiv.org/abs/1505.00468",
            inputs_description="predictions: list of answers; references: list of lists of answers",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions, references):
        result = mean([100 * score_answer(answer, truths) for answer, truths in zip(predictions, references)])
        return {"vqa_accuracy": result.pop("value"), **result}


def score_answer(answer: str, truths: list[str]) -> float:
    """The accuracy of one answer, 0 to 1."""
    normalized = normalize_answer(answer)
    matches = [normalize_answer(truth) == normalized for truth in truths]
    if len(matches) == 1:
        return float(matches[0])
    others = [sum(matches) - match for match in matches]
    return sum(min(1.0, count / 3) for count in others) / len(others)
