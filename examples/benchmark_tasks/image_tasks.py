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
"""Benchmarks of questions about images, with LLaVA-1.5's prompts (https://arxiv.org/abs/2310.03744, appendix)."""

import base64
import csv
import io
import sys
from pathlib import Path

from PIL import Image

from videolavit_metrics import (
    CircularAccuracy,
    GQAAccuracy,
    MMEScore,
    MultipleChoiceAccuracy,
    VQAAccuracy,
)
from videolavit_metrics.choices import LETTERS

from .mm_vet import read_mm_vet, score_mm_vet
from .questions import Item, QuestionTask, find_one, load_hub, read_json, write_json


SHORT_ANSWER = "Answer the question using a single word or phrase."
UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."
LETTER_ANSWER = "Answer with the option's letter from the given choices directly."


def _metric(metric_class):
    def score(predictions: list[str], references: list, judge=None) -> dict:
        return metric_class().compute(predictions=predictions, references=references)

    return score


def _choose(question: str, choices: list[str], hint: str = "") -> str:
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices))
    return "\n".join(part for part in (hint.strip(), question, options, LETTER_ANSWER) if part)


def _choice(answer: str, choices: list[str], group: str) -> dict:
    return {"answer": answer, "choices": choices, "group": group}


def read_vqav2(folder: Path) -> list[Item]:
    """VQAv2: `v2_OpenEnded_mscoco_*_questions.json`, `v2_mscoco_*_annotations.json` (not of the test splits) and COCO's images."""
    path = find_one(folder, "v2_OpenEnded_mscoco_*_questions.json")
    content = read_json(path)
    subset = content.get("data_subtype") or path.name.split("_")[3]
    annotations = folder / f"v2_mscoco_{subset}_annotations.json"
    answers = {}
    if annotations.exists():
        for entry in read_json(annotations)["annotations"]:
            answers[entry["question_id"]] = [answer["answer"] for answer in entry["answers"]]
    # All splits of the test set share their images.
    images = "test2015" if subset.startswith("test") else subset
    return [
        Item(
            id=str(entry["question_id"]),
            question=f"{entry['question']}\n{SHORT_ANSWER}",
            media=folder / images / f"COCO_{images}_{entry['image_id']:012d}.jpg",
            reference=answers.get(entry["question_id"]),
            submission={"question_id": entry["question_id"]},
        )
        for entry in content["questions"]
    ]


def read_vqav2_hub(name: str) -> list[Item]:
    """VQAv2's validation split on the Hub."""
    return [
        Item(
            id=str(row["question_id"]),
            question=f"{row['question']}\n{SHORT_ANSWER}",
            media=row["image"],
            reference=[answer["answer"] for answer in row["answers"]],
            submission={"question_id": row["question_id"]},
        )
        for row in load_hub(name, split="validation")
    ]


def write_answers(items: list[Item], predictions: list[str], path: Path) -> None:
    """A list of what identifies each question, with the answer: VQAv2's and VizWiz' servers read it."""
    write_json(path, [{**item.submission, "answer": answer} for item, answer in zip(items, predictions)])


def read_gqa(folder: Path) -> list[Item]:
    """GQA: `testdev_balanced_questions.json` and `images`."""
    questions = read_json(
        find_one(folder, "testdev_balanced_questions.json", "questions1.2/testdev_balanced_questions.json")
    )
    return [
        Item(
            id=name,
            question=f"{entry['question']}\n{SHORT_ANSWER}",
            media=folder / "images" / f"{entry['imageId']}.jpg",
            reference=entry["answer"],
        )
        for name, entry in questions.items()
    ]


def read_vizwiz(folder: Path) -> list[Item]:
    """VizWiz: `val.json` with the images in `val`, or `test.json`, whose answers only the server knows."""
    path = find_one(folder, "val.json", "test.json", "Annotations/val.json", "Annotations/test.json")
    return [
        Item(
            id=entry["image"],
            question=f"{entry['question']}\n{UNANSWERABLE}\n{SHORT_ANSWER}",
            media=folder / path.stem / entry["image"],
            reference=[answer["answer"] for answer in entry["answers"]] if "answers" in entry else None,
            submission={"image": entry["image"]},
        )
        for entry in read_json(path)
    ]


def read_scienceqa(folder: Path) -> list[Item]:
    """ScienceQA's test questions with an image: `problems.json`, `pid_splits.json` and `images/test/<id>/image.png`."""
    problems, splits = read_json(folder / "problems.json"), read_json(folder / "pid_splits.json")
    return [
        Item(
            id=number,
            question=_choose(problem["question"], problem["choices"], problem["hint"]),
            media=folder / "images" / "test" / number / problem["image"],
            reference=_choice(LETTERS[problem["answer"]], problem["choices"], number),
        )
        for number in splits["test"]
        if (problem := problems[number])["image"]
    ]


def read_mme(folder: Path) -> list[Item]:
    """MME: a folder for each subtask with images and text files, beside them or in `images` and `questions_answers_YN`."""
    items = []
    for path in sorted(folder.glob("*/*.txt")) + sorted(folder.glob("*/questions_answers_YN/*.txt")):
        subtask = path.relative_to(folder).parts[0]
        images = folder / subtask / "images" if path.parent.name == "questions_answers_YN" else path.parent
        image = find_one(images, f"{path.stem}.jpg", f"{path.stem}.png", f"{path.stem}.jpeg")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            if not line.strip():
                continue
            question, _, answer = line.rpartition("\t")
            items.append(
                Item(
                    id=f"{subtask}/{path.stem}/{number}",
                    question=f"{question.replace(' Please answer yes or no.', '')}\n{SHORT_ANSWER}",
                    media=image,
                    reference={"answer": answer, "image": path.stem, "subtask": subtask},
                )
            )
    if not items:
        raise ValueError(f"{str(folder)!r} has no folders of questions: it is not in the published layout.")
    return items


def read_mmbench(folder: Path) -> list[Item]:
    """MMBench: a `.tsv` file, whose images are base64. Each question is asked once for every rotation of its choices."""
    csv.field_size_limit(sys.maxsize)
    with open(find_one(folder, "*.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    items = []
    for row in rows:
        choices = [row[letter] for letter in "ABCD" if row.get(letter) not in (None, "", "nan")]
        image = Image.open(io.BytesIO(base64.b64decode(row["image"]))).convert("RGB")
        hint = row.get("hint") or ""
        for shift in range(len(choices)):
            rotated = choices[shift:] + choices[:shift]
            answer = None
            if row.get("answer"):
                answer = LETTERS[(LETTERS.index(row["answer"]) - shift) % len(choices)]
            items.append(
                Item(
                    id=f"{row['index']}-{shift}",
                    question=_choose(row["question"], rotated, "" if hint == "nan" else hint),
                    media=image,
                    reference=_choice(answer, rotated, row["index"]) if answer is not None else None,
                    submission={"index": row["index"], "question": row["question"], **dict(zip(LETTERS, rotated))},
                )
            )
    return items


def write_mmbench(items: list[Item], predictions: list[str], path: Path) -> None:
    """A table of the questions with the answers, which MMBench's server scores."""
    columns = ["index", "question", "A", "B", "C", "D", "prediction"]
    output = io.StringIO()
    writer = csv.DictWriter(output, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({**item.submission, "prediction": answer} for item, answer in zip(items, predictions))
    path.with_suffix(".csv").write_text(output.getvalue(), encoding="utf-8")


def read_seed_bench(folder: Path) -> list[Item]:
    """SEED-Bench's questions about images: `SEED-Bench.json` and `SEED-Bench-image`."""
    items = []
    for entry in read_json(folder / "SEED-Bench.json")["questions"]:
        if entry["data_type"] != "image":
            continue
        choices = [entry[f"choice_{letter}"] for letter in "abcd"]
        items.append(
            Item(
                id=str(entry["question_id"]),
                question=_choose(entry["question"], choices),
                media=folder / "SEED-Bench-image" / entry["data_id"],
                reference=_choice(entry["answer"], choices, str(entry["question_type_id"])),
            )
        )
    return items


def write_mm_vet(items: list[Item], predictions: list[str], path: Path) -> None:
    """What MM-Vet's online evaluator reads: answers by the names of the questions."""
    write_json(path, {item.id: answer for item, answer in zip(items, predictions)})


IMAGE_TASKS = (
    QuestionTask(
        "vqav2",
        "image",
        read_vqav2,
        _metric(VQAAccuracy),
        "vqa_accuracy",
        read_hub=read_vqav2_hub,
        hub="lmms-lab/VQAv2",
        write_submission=write_answers,
    ),
    QuestionTask("gqa", "image", read_gqa, _metric(GQAAccuracy), "exact_match"),
    QuestionTask("vizwiz", "image", read_vizwiz, _metric(VQAAccuracy), "vqa_accuracy", write_submission=write_answers),
    QuestionTask("scienceqa_img", "image", read_scienceqa, _metric(MultipleChoiceAccuracy), "accuracy"),
    QuestionTask("mme", "image", read_mme, _metric(MMEScore), "perception"),
    QuestionTask(
        "mmbench",
        "image",
        read_mmbench,
        _metric(CircularAccuracy),
        "circular_accuracy",
        write_submission=write_mmbench,
    ),
    QuestionTask("seed_bench", "image", read_seed_bench, _metric(MultipleChoiceAccuracy), "accuracy"),
    QuestionTask(
        "mm_vet",
        "image",
        read_mm_vet,
        score_mm_vet,
        "score",
        write_submission=write_mm_vet,
        max_new_tokens=512,
        needs_judge=True,
    ),
)
