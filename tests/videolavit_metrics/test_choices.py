"""Multiple choice."""

import pytest

from videolavit_metrics import CircularAccuracy, MultipleChoiceAccuracy, read_choice


CHOICES = ["a dog", "a cat", "two birds", "nothing"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" (C) two birds", "C"),
        ("D.", "D"),
        ("A: a dog", "A"),
        ("The answer is B.", "B"),
        ("Option: c", "C"),
        ("I think it is D", "D"),
        ("It shows a cat.", "B"),
        ("A dog and a cat", None),
        ("E", None),
        ("", None),
        ("I do not know", None),
        ("Because", None),
    ],
)
def test_what_an_answer_chooses(answer, letter):
    assert read_choice(answer, CHOICES) == letter


@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [
        ("The answer is a dog.", ["cat", "dog"], "B"),
        ("My answer: a red bus", ["truck", "red bus"], "B"),
        ("The best choice is a cat", ["dog", "cat"], "B"),
        ("Answer: I'm not sure", list("zyxwvutsr"), None),
        ("The answer is (b)", ["dog", "cat"], "B"),
        ("option b) it is", ["dog", "cat"], "B"),
        ("answer: b", ["dog", "cat"], "B"),
        ("the answer is b.", ["dog", "cat"], "B"),
        ("The answer is B because it is small", ["dog", "cat"], "B"),
        # A letter is followed by anything but one of the choices.
        ("The answer is A because a cat barks", ["dog", "cat"], "A"),
        ("Answer: A cat is shown", ["dog", "a cat"], "B"),
        ("Answer: A. cat", ["cat", "dog"], "A"),
    ],
)
def test_an_article_is_no_letter(answer, choices, letter):
    assert read_choice(answer, choices) == letter


def make_references(answers, groups):
    return [{"answer": answer, "choices": CHOICES, "group": group} for answer, group in zip(answers, groups)]


def test_accuracy_counts_what_cannot_be_read_as_wrong():
    result = MultipleChoiceAccuracy().compute(
        predictions=["A", "B.", "who knows", "D"], references=make_references("ABCC", "1234")
    )
    assert result["accuracy"] == 50 and result["unreadable"] == 1 and result["count"] == 4


def test_a_question_is_right_where_all_its_rotations_are():
    predictions = ["A", "B", "C", "D", "A", "A", "C", "B"]
    references = make_references("ABCDABCD", ["x"] * 4 + ["y"] * 4)
    result = CircularAccuracy().compute(predictions=predictions, references=references)
    assert result["circular_accuracy"] == 50 and result["count"] == 2
    assert result["vanilla_accuracy"] == pytest.approx(100 * 6 / 8)
