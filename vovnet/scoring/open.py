"""Scorers for one's own questions, by name: ``dataset.scorer=exact | number | anls | choice``."""

import re
from collections.abc import Sequence
from decimal import Decimal

from vovnet.scoring.plain import score_plain
from vovnet.scoring.reasoning import after_reasoning

NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
LEAST_SIMILAR = 0.5  # below it ANLS gives 0


@after_reasoning
def score_exact(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): the same text, whatever its case and the spaces around it."""
    said = prediction.strip().casefold()
    return float(said in {answer.strip().casefold() for answer in answers}), bool(said)


@after_reasoning
def score_number(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): the last number of the answer equals the last number of a reference; 1,200 is 1200.0."""
    said = _number(prediction)
    return float(said is not None and said in map(_number, answers)), said is not None


@after_reasoning
def score_anls(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): average normalised Levenshtein similarity of one question (Biten et al. 2019, equation 1)."""
    said = " ".join(prediction.split()).casefold()
    best = max(_similarity(said, " ".join(answer.split()).casefold()) for answer in answers)
    return best if best >= LEAST_SIMILAR else 0.0, bool(said)


def score_choice(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): the letter of an option, read strictly; a question without options has no right answer."""
    return score_plain(prediction, answers, options) if options else (0.0, False)


def _number(text: str) -> Decimal | None:
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _similarity(one: str, other: str) -> float:
    """1 less the edit distance as a share of the longer text."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        diagonal, row[0] = row[0], place
        for column, wanted in enumerate(other, start=1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (letter != wanted)),
            )
    return 1 - row[-1] / max(len(one), len(other), 1)
