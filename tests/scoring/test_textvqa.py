"""TextVQA's normalisation and leave-one-out accuracy, case by case.

The cases stand in ``cases/textvqa.json``; expected values were worked out from the rules by hand and agree
with the code of lmms-eval 0.7.3.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.scoring.textvqa import CONTRACTIONS, normalize_answer, vqa_accuracy

NORMAL = json.loads((Path(__file__).parent / "cases/textvqa.json").read_text(encoding="utf-8"))


def test_there_are_enough_cases() -> None:
    assert len({text for text, _ in NORMAL}) == len(NORMAL) >= 200


@pytest.mark.parametrize(("text", "expected"), NORMAL)
def test_normal_form(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected
    assert vqa_accuracy(text, (expected,) * 10) == float(normalize_answer(expected) == expected)


@pytest.mark.parametrize(
    ("matches", "score"),
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (5, 1.0), (10, 1.0)],
)
def test_accuracy_by_number_of_agreeing_annotators(matches: int, score: float) -> None:
    answers = ("yes",) * matches + tuple(f"other{i}" for i in range(10 - matches))
    assert vqa_accuracy("Yes.", answers) == pytest.approx(score)


def test_references_are_normalised_too() -> None:
    assert vqa_accuracy("coca cola", ("Coca-Cola",) * 10) == 1.0
    assert vqa_accuracy("2", ("two", "2", "Two.", "2", "x", "x", "x", "x", "x", "x")) == pytest.approx(1.0)


@given(st.text(max_size=20), st.permutations(["a b", "b", "c", "b", "a b", "d", "b", "e", "f", "b"]))
def test_the_order_of_annotators_does_not_matter(prediction: str, answers: list[str]) -> None:
    assert vqa_accuracy(prediction, answers) == pytest.approx(vqa_accuracy(prediction, sorted(answers)))


def test_the_contraction_table_has_upstreams_rows() -> None:
    assert len(CONTRACTIONS) == 118  # upstream's 120 less two that map a word to itself
    assert all(key != value for key, value in CONTRACTIONS.items())


@pytest.mark.parametrize("prediction", ["", "the", "A.", "a, the."])
def test_an_answer_of_no_words_agrees_with_annotators_who_wrote_none(prediction: str) -> None:
    """As upstream scores it; so rows with none but empty answers are refused when a set is opened."""
    assert vqa_accuracy(prediction, ("",) * 10) == 1.0
    assert vqa_accuracy(prediction, ("",) * 2 + ("red",) * 8) == pytest.approx(0.6)


def test_without_annotators_nothing_is_right() -> None:
    assert vqa_accuracy("red", ()) == 0


@pytest.mark.parametrize(("matches", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_scores_have_no_digits_of_their_own(matches: int, score: float) -> None:
    assert vqa_accuracy("stop", ["stop"] * matches + ["go"] * (10 - matches)) == score
