"""easy-VQA: classification over 13 answers, scored by exact match."""

from collections.abc import Sequence

from vovnet.scoring.reasoning import after_reasoning

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
