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
"""Answers that are right where they are those of the reference."""

import datasets
import evaluate

from .confidence import proportion
from .vqa_accuracy import normalize_answer


class _ExactMatch(evaluate.Metric):
    citation = ""

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__class__.__doc__,
            citation=self.citation,
            inputs_description="predictions: list of answers; references: list of answers",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        return _in_percent(
            "exact_match",
            [self.normalize(answer) == self.normalize(truth) for answer, truth in zip(predictions, references)],
        )


class GQAAccuracy(_ExactMatch):
    """
    Accuracy of GQA (https://arxiv.org/abs/1902.09506): an answer is right where it is the reference's word, without capitals and
    a full stop at its end, as LLaVA-1.5's evaluation compares them.

    Returns:
        `dict`: "exact_match", in percent, with "low" and "high" of its 95 % interval, and "count".
    """

    citation = "https://arxiv.org/abs/1902.09506"

    @staticmethod
    def normalize(answer: str) -> str:
        """An answer as it is compared."""
        return answer.strip().rstrip(".").strip().lower()


class OpenEndedAccuracy(_ExactMatch):
    """
    Accuracy of open-ended video question answering without a judge: an answer is right where it is the reference's after the
    normalisation of visual question answering. What a judge finds right can be worded otherwise: the numbers do not compare.

    Returns:
        `dict`: "exact_match", in percent, with "low" and "high" of its 95 % interval, and "count".
    """

    normalize = staticmethod(normalize_answer)


def _in_percent(name: str, outcomes: list[bool]) -> dict[str, float | int]:
    result = proportion(outcomes)
    return {
        name: 100 * result["value"],
        "low": 100 * result["low"],
        "high": 100 * result["high"],
        "count": len(outcomes),
    }
