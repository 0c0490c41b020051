"""Long answers: overlap of words, as SQuAD scores it (Rajpurkar et al. 2016, section 6.1)."""

from collections import Counter
from collections.abc import Sequence

from vovnet.scoring.reasoning import after_reasoning
from vovnet.scoring.textvqa import normalize_answer


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words in EvalAI's normal form."""
    given, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else float(given == wanted)


@after_reasoning
def score_token_f1(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed): the best overlap with any reference."""
    return max(token_f1(prediction, answer) for answer in answers), bool(prediction.strip())
