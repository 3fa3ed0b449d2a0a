"""Accuracy of visual question answering."""

import itertools

import pytest

from videolavit_metrics import VQAAccuracy, normalize_answer
from videolavit_metrics.vqa_accuracy import score_answer


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        ("The two dogs.", "2 dogs"),
        ("A Ten", "10"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("u.s.", "us"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("(yes) really?", "yes really"),
        ("half-eaten", "half eaten"),
        ("x,y", "x y"),
        ("lets\ngo\t", "lets go"),
        ("10:30", "10:30"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_officially(answer, normalized):
    assert normalize_answer(answer) == normalized


@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_three_annotators_make_an_answer_right(matches, accuracy):
    truths = ["2"] * matches + ["3"] * (10 - matches)
    assert score_answer("Two.", truths) == pytest.approx(accuracy)
    # The mean over all choices of nine of the ten.
    subsets = itertools.combinations(truths, 9)
    expected = [min(1, subset.count("2") / 3) for subset in subsets]
    assert score_answer("two", truths) == pytest.approx(sum(expected) / 10)


def test_the_metric_is_a_percentage_with_its_interval():
    references = [["yes"] * 10, ["no"] * 10, ["a cat"] * 3 + ["dog"] * 7, ["left"] * 10]
    result = VQAAccuracy().compute(predictions=["Yes", "maybe", "cat", "the left."], references=references)
    assert result["vqa_accuracy"] == pytest.approx((100 + 0 + 90 + 100) / 4) and result["count"] == 4
    assert result["low"] < result["vqa_accuracy"] < result["high"]
