"""Scorers that a user names for questions of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import compose_config
from vovnet.scoring import SCORERS
from vovnet.scoring.open_answers import score_anls, score_choice, score_exact, score_number

TEXT = st.text(alphabet="abc 1", max_size=6)


@pytest.mark.parametrize(
    ("rule", "answer", "references", "score", "parsed"),
    [
        (score_exact, " A Cat", ("a cat",), 1, True),
        (score_exact, "the cat", ("cat",), 0, True),
        (score_exact, "  ", ("cat",), 0, False),
        (score_number, "There are 1,200 of 3,000: 1,200.", ("1200.0",), 1, True),
        (score_number, "-.5", ("-0.50",), 1, True),
        (score_number, "about 12 %", ("12.5",), 0, True),
        (score_number, "twelve", ("12",), 0, False),
        (score_anls, "kitten", ("sitting",), 1 - 3 / 7, True),
        (score_anls, "Hello", ("HELLO",), 1, True),
        (score_anls, "abc", ("xyz",), 0, True),
        (score_anls, "ab", ("axyz", "abc"), 1 - 1 / 3, True),
    ],
)
def test_a_rule(rule, answer: str, references: tuple[str, ...], score: float, parsed: bool) -> None:
    assert rule(answer, references, ()) == (pytest.approx(score), parsed)


def test_a_choice_needs_options() -> None:
    assert score_choice("B", ("B",), ("a cat", "a dog")) == (1.0, True)
    assert score_choice("a dog", ("B",), ("a cat", "a dog")) == (1.0, True)
    assert score_choice("B", ("B",), ()) == (0.0, False)


@given(TEXT, TEXT)
def test_anls_is_symmetric_and_1_only_for_equal_texts(one: str, other: str) -> None:
    there, _ = score_anls(one, (other,))
    back, _ = score_anls(other, (one,))
    assert there == back
    assert (there == 1) == (" ".join(one.split()) == " ".join(other.split()))


@pytest.mark.parametrize("name", ["exact", "number", "anls", "choice", "token_f1"])
def test_a_set_of_ones_own_names_its_scorer_and_metric(name: str) -> None:
    config = compose_config("dataset=jsonl", "dataset.path=x", f"dataset.scorer={name}", "dataset.metric=anls")
    assert config.dataset.scorer in SCORERS
    assert config.dataset.metric == "anls"
