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
"""MM-Vet (https://arxiv.org/abs/2308.02490): open questions about images, whose answers a language model grades."""

import re
from collections.abc import Callable
from pathlib import Path

from videolavit_metrics import mean, normalize_answer

from .questions import Item, read_json


# The published prompt of the grader, with its examples.
PROMPT = """Compare the ground truth and prediction from AI models, to give a correctness score for the prediction. <AND> in the ground truth means it is totally right only when all elements in the ground truth are present in the prediction, and <OR> means it is totally right when any one element in the ground truth is present in the prediction. The correctness score is 0.0 (totally wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, or 1.0 (totally right). Just complete the last space of the correctness score.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
What is x in the equation? | -1 <AND> -5 | x = 3 | 0.0
What is x in the equation? | -1 <AND> -5 | x = -1 | 0.5
What is x in the equation? | -1 <AND> -5 | x = -5 | 0.5
What is x in the equation? | -1 <AND> -5 | x = -5 or 5 | 0.5
What is x in the equation? | -1 <AND> -5 | x = -1 or x = -5 | 1.0
"""


def read_mm_vet(folder: Path) -> list[Item]:
    """MM-Vet: `mm-vet.json` and `images`."""
    return [
        Item(
            id=name,
            question=entry["question"],
            media=folder / "images" / entry["imagename"],
            reference={"question": entry["question"], "answer": entry["answer"], "capabilities": entry["capability"]},
        )
        for name, entry in read_json(folder / "mm-vet.json").items()
    ]


def score_mm_vet(predictions: list[str], references: list[dict], judge: Callable | None = None) -> dict:
    """
    The grader's mean score, in percent, in all and by capability; without a grader, how many answers have the elements of the
    ground truth, which no published number compares with.

    Args:
        predictions (`list[str]`): Answers.
        references (`list[dict]`): "question", "answer" and "capabilities".
        judge (`Callable`, *optional*): The grader, as of `JudgedAccuracy`.

    Raises:
        ValueError: If no grade can be read.
    """
    if judge is None:
        result = mean([100 * _has_elements(answer, truth["answer"]) for answer, truth in zip(predictions, references)])
        return {"elements_found": result.pop("value"), **result}
    rows = [
        f"{PROMPT}{truth['question']} | {truth['answer'].replace('<AND>', ' <AND> ').replace('<OR>', ' <OR> ')} | {answer} | "
        for answer, truth in zip(predictions, references)
    ]
    texts = judge([[{"role": "user", "content": row.replace("\n\n", "\n")}] for row in rows])
    grades = [read_grade(text) for text in texts]
    readable = [(grade, truth) for grade, truth in zip(grades, references) if grade is not None]
    if not readable:
        raise ValueError("The grader gave no score that can be read.")
    capabilities: dict[str, list[float]] = {}
    for grade, truth in readable:
        for capability in truth["capabilities"]:
            capabilities.setdefault(capability, []).append(100 * grade)
    result = mean([100 * grade for grade, _ in readable])
    return {
        "score": result.pop("value"),
        **result,
        "capabilities": {name: sum(values) / len(values) for name, values in sorted(capabilities.items())},
        "unreadable": grades.count(None),
        "judge": getattr(judge, "description", {}),
        "prompt": PROMPT,
    }


def read_grade(text: str) -> float | None:
    """The first number from 0 to 1 of a text."""
    for number in re.findall(r"\d+(?:\.\d+)?", text):
        if 0 <= float(number) <= 1:
            return float(number)
    return None


def _has_elements(answer: str, truth: str) -> bool:
    words = normalize_answer(answer)
    return any(
        all(normalize_answer(element) in words for element in option.split("<AND>")) for option in truth.split("<OR>")
    )
