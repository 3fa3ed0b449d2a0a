"""MME's score."""

import pytest

from videolavit_metrics import MMEScore
from videolavit_metrics.mme import read_yes_or_no


@pytest.mark.parametrize(
    ("answer", "read"),
    [("Yes", "yes"), (" no.", "no"), ("Yes, it is", "yes"), ("not", "no"), ("It is", "other"), ("", "other")],
)
def test_answers_are_read_by_their_beginning(answer, read):
    assert read_yes_or_no(answer) == read


def test_accuracy_and_accuracy_plus_are_added_up():
    questions = [
        ("existence", "1", "Yes", "Yes"),
        ("existence", "1", "No", "Yes"),
        ("existence", "2", "Yes", "yes."),
        ("existence", "2", "No", "no"),
        ("OCR", "1", "Yes", "Yes"),
        ("OCR", "1", "No", "No"),
        ("code_reasoning", "3", "Yes", "maybe"),
        ("code_reasoning", "3", "No", "no"),
    ]
    references = [{"subtask": name, "image": image, "answer": answer} for name, image, answer, _ in questions]
    result = MMEScore().compute(predictions=[answer for *_, answer in questions], references=references)
    assert result["subtasks"]["existence"]["score"] == 75 + 50
    assert result["perception"] == 75 + 50 + 200 and result["cognition"] == 50 and result["count"] == 8


def test_an_unknown_subtask_is_named():
    with pytest.raises(ValueError, match="no subtask 'smell'"):
        MMEScore().compute(predictions=["yes"], references=[{"subtask": "smell", "image": "1", "answer": "yes"}])
