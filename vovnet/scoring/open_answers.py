"""Rules for open answers: exact match, number, easy-VQA's, token F1, ANLS; scorers of one's own questions, by name."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from vovnet.scoring.choices import LETTERS, infer_choice, lettered
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


ANSWERS = frozenset(
    "circle rectangle triangle red green blue black gray teal brown yellow yes no".split()
)  # answers.txt of the data set


def normalize(text: str) -> str:
    """Lower case, without outer white space and a final full stop."""
    return text.strip().lower().rstrip(".").rstrip()


@after_reasoning
def score_easy_vqa(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): equal in normal form; parsed when it is one of the answers there are."""
    given = normalize(prediction)
    correct = given in {normalize(answer) for answer in answers}
    return float(correct), correct or given in ANSWERS


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words in EvalAI's normal form."""
    given, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else float(given == wanted)


@after_reasoning
def score_token_f1(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): the best overlap with any reference."""
    return max(token_f1(prediction, answer) for answer in answers), bool(prediction.strip())


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
