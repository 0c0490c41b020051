"""Scorers take whatever a model may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.data import Sample
from vovnet.scoring import SCORERS

TEXT = st.text(max_size=60)
NUMBERS = st.sampled_from(
    ["nan", "inf", "-inf", "1e999", "1,2,3", "-.", "1" * 400, "(A)", "A.", "\x00", "\ud800", "<|im_end|>"]
)


@pytest.mark.parametrize("name", sorted(SCORERS))
@given(TEXT | NUMBERS, st.lists(TEXT | NUMBERS, min_size=1, max_size=4), st.lists(TEXT, max_size=6))
def test_scores_lie_between_0_and_1(name: str, prediction: str, answers: list[str], options: list[str]) -> None:
    sample = Sample("0", "?", (), tuple(answers), "g", "", tuple(options))
    score = SCORERS[name](prediction, sample)
    assert 0.0 <= score.value <= 1.0
    assert isinstance(score.parsed, bool)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_long_answers_are_judged(name: str) -> None:
    sample = Sample("0", "?", (), ("yes",), "g", "")
    assert 0.0 <= SCORERS[name]("so is " * 10_000 + "yes", sample).value <= 1.0
