"""Plain sets: a letter among options, or one of the accepted answers in normal form."""

from collections.abc import Sequence

from vovnet.scoring.mmbench import infer_choice, lettered
from vovnet.scoring.textvqa import normalize_answer


def score_plain(prediction: str, answers: Sequence[str], options: Sequence[str]) -> tuple[float, bool]:
    """(score, parsed): MMBench's reading of letters; else equality after EvalAI's normalisation."""
    if options:
        letter = infer_choice(prediction, lettered(options))
        return float(letter in answers), letter is not None
    given = normalize_answer(prediction)
    return float(bool(given) and given in {normalize_answer(answer) for answer in answers}), bool(prediction.strip())
