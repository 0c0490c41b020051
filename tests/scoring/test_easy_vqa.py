"""easy-VQA's exact match."""

import importlib.util
from pathlib import Path

import pytest

from vovnet.scoring.open_answers import ANSWERS, score_easy_vqa


@pytest.mark.parametrize(
    ("prediction", "answer", "score", "parsed"),
    [
        ("circle", "circle", 1.0, True),
        (" Circle.\n", "circle", 1.0, True),
        ("CIRCLE", "circle", 1.0, True),
        ("rectangle", "circle", 0.0, True),
        ("a circle", "circle", 0.0, False),
        ("circles", "circle", 0.0, False),
        ("", "circle", 0.0, False),
        (".", "circle", 0.0, False),
        ("yes no", "yes", 0.0, False),
        ("no", "yes", 0.0, True),
        ("red", "teal", 0.0, True),
        ("Yes", "Yes", 1.0, True),
        ("purple", "Purple.", 1.0, True),
    ],
)
def test_cases(prediction: str, answer: str, score: float, parsed: bool) -> None:
    assert score_easy_vqa(prediction, (answer,)) == (score, parsed)


def test_the_answers_are_upstreams() -> None:
    spec = importlib.util.find_spec("easy_vqa")
    assert spec is not None
    assert spec.origin is not None
    assert set((Path(spec.origin).parent / "data/answers.txt").read_text().split()) == ANSWERS
