"""Answers that are right to the word."""

import pytest

from videolavit_metrics import GQAAccuracy, OpenEndedAccuracy


def test_capitals_and_a_full_stop_do_not_count_for_gqa():
    result = GQAAccuracy().compute(
        predictions=["Left.", " yes ", "the dog", "Cat"], references=["left", "yes", "dog", "dog"]
    )
    assert result["exact_match"] == pytest.approx(50) and result["count"] == 4 and result["low"] < 50 < result["high"]


def test_open_ended_answers_are_normalised():
    result = OpenEndedAccuracy().compute(predictions=["The dog.", "two", "dont"], references=["a dog", "2", "a cat"])
    assert result["exact_match"] == pytest.approx(200 / 3)
