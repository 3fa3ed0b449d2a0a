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
"""Zero-shot video question answering, in the layout of Video-ChatGPT (https://arxiv.org/abs/2306.05424)."""

from functools import partial
from pathlib import Path

from videolavit_metrics import JudgedAccuracy, OpenEndedAccuracy

from .questions import Item, QuestionTask, find_one, read_json


VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov")


def read_video_questions(folder: Path, prefixes: tuple[str, ...] = ("",)) -> list[Item]:
    """
    Reads `test_q.json` and `test_a.json`, and finds the videos anywhere in the folder.

    Args:
        folder (`Path`): The folder.
        prefixes (`tuple[str, ...]`): What the videos' files can have before their names.

    Raises:
        ValueError: If a file, an answer or a video is missing.
    """
    questions = read_json(find_one(folder, "test_q.json", "*/test_q.json"))
    answers = {
        entry["question_id"]: entry["answer"] for entry in read_json(find_one(folder, "test_a.json", "*/test_a.json"))
    }
    videos = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES}
    items = []
    for entry in questions:
        name = (
            Path(entry["video_name"]).stem
            if Path(entry["video_name"]).suffix in VIDEO_SUFFIXES
            else entry["video_name"]
        )
        found = [videos[prefix + name] for prefix in prefixes if prefix + name in videos]
        if not found:
            raise ValueError(f"There is no video {name!r} in {str(folder)!r}.")
        if entry["question_id"] not in answers:
            raise ValueError(f"Question {entry['question_id']!r} of {str(folder)!r} has no answer in test_a.json.")
        items.append(
            Item(
                id=str(entry["question_id"]),
                question=entry["question"],
                media=found[0],
                reference={"question": entry["question"], "answer": str(answers[entry["question_id"]])},
            )
        )
    return items


def score_open_ended(predictions: list[str], references: list[dict], judge=None) -> dict:
    """The judge's accuracy and score; without one, exact matches, which no published number compares with."""
    if judge is None:
        return OpenEndedAccuracy().compute(
            predictions=predictions, references=[reference["answer"] for reference in references]
        )
    return JudgedAccuracy(judge).compute(predictions=predictions, references=references)


def _task(name: str, prefixes: tuple[str, ...] = ("",)) -> QuestionTask:
    return QuestionTask(
        name,
        "video",
        partial(read_video_questions, prefixes=prefixes),
        score_open_ended,
        "accuracy",
        max_new_tokens=128,
        needs_judge=True,
    )


VIDEO_TASKS = (_task("msvd_qa"), _task("msrvtt_qa"), _task("activitynet_qa", prefixes=("v_", "")))
