"""Plain sets: a letter among options, or one of the accepted answers in normal form."""

import string
from collections.abc import Sequence

from vovnet.scoring.letters import LETTERS, infer_choice, lettered
from vovnet.scoring.reasoning import after_reasoning
from vovnet.scoring.textvqa import normalize_answer


@after_reasoning
def score_plain(prediction: str, answers: Sequence[str], options: Sequence[str]) -> tuple[float, bool]:
    """(score, parsed): the strict reading of letters, of as many as there are options; else equality after EvalAI's
    normalisation, or of the texts where nothing is left of an answer (such as "A", an article).
    """
    if options:
        letters = string.ascii_uppercase[: max(len(LETTERS), len(options))]
        letter = infer_choice(prediction, lettered(options), letters)
        return float(letter in answers), letter is not None
    return float(_form(prediction) in map(_form, answers)), bool(prediction.strip())


def _form(text: str) -> tuple[str, str]:
    """What answers are compared by: the normal form, or where it is empty the text in lower case."""
    normal = normalize_answer(text)
    return (normal, "") if normal else ("", text.strip().lower())
