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
"""MME (https://arxiv.org/abs/2306.13394): two questions about each image, to be answered by yes and no."""

import datasets
import evaluate
import numpy as np


PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
NUM_RESAMPLES = 1000
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def read_yes_or_no(answer: str) -> str:
    """What an answer says: "yes" or "no" where it is, or begins with, one of them, else "other"."""
    text = answer.strip().lower()
    if text in ("yes", "no"):
        return text
    beginning = text[:4]
    return "yes" if "yes" in beginning else "no" if "no" in beginning else "other"


class MMEScore(evaluate.Metric):
    """
    MME's score. A subtask's is its accuracy over questions plus its accuracy over images both of whose questions are answered
    right ("accuracy+"), in percent: at most 200.

    References have the right "answer", the "image" and the "subtask".

    Returns:
        `dict`: "perception" and "cognition", sums over those of their subtasks that there are, "low" and "high" of the former's 95 %
        interval (percentiles over resamples of the images), "subtasks" with "score",
        "accuracy", "accuracy_plus", "questions" and "images" of each, and "count" of the questions.
    """

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__class__.__doc__,
            citation="https://arxiv.org/abs/2306.13394",
            inputs_description='predictions: list of answers; references: list of {"answer", "image", "subtask"}',
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": {name: datasets.Value("string") for name in ("answer", "image", "subtask")},
                }
            ),
        )

    def _compute(self, predictions, references):
        outcomes: dict[str, dict[str, list[bool]]] = {}
        for answer, truth in zip(predictions, references):
            if truth["subtask"] not in PERCEPTION + COGNITION:
                raise ValueError(f"MME has no subtask {truth['subtask']!r}.")
            images = outcomes.setdefault(truth["subtask"], {})
            images.setdefault(truth["image"], []).append(read_yes_or_no(answer) == truth["answer"].strip().lower())
        subtasks = {}
        for name, images in outcomes.items():
            single = [right for rights in images.values() for right in rights]
            accuracy = 100 * sum(single) / len(single)
            accuracy_plus = 100 * sum(all(rights) for rights in images.values()) / len(images)
            subtasks[name] = {
                "score": accuracy + accuracy_plus,
                "accuracy": accuracy,
                "accuracy_plus": accuracy_plus,
                "questions": len(single),
                "images": len(images),
            }
        perception = {name: list(images.values()) for name, images in outcomes.items() if name in PERCEPTION}
        low, high = _interval(perception)
        return {
            "perception": sum(subtasks[name]["score"] for name in PERCEPTION if name in subtasks),
            "low": low,
            "high": high,
            "cognition": sum(subtasks[name]["score"] for name in COGNITION if name in subtasks),
            "subtasks": subtasks,
            "count": len(predictions),
        }


def _interval(subtasks: dict[str, list[list[bool]]]) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    sums = np.zeros(NUM_RESAMPLES)
    for images in subtasks.values():
        right, asked = (np.array([function(rights) for rights in images]) for function in (sum, len))
        plus = np.array([all(rights) for rights in images])
        drawn = generator.integers(len(images), size=(NUM_RESAMPLES, len(images)))
        sums += 100 * (right[drawn].sum(axis=1) / asked[drawn].sum(axis=1) + plus[drawn].mean(axis=1))
    low, high = np.quantile(sums, [0.025, 0.975])
    return float(low), float(high)
