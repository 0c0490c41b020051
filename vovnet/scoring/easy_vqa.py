"""easy-VQA: classification over 13 answers, scored by exact match."""

ANSWERS = frozenset(
    "circle rectangle triangle red green blue black gray teal brown yellow yes no".split()
)  # answers.txt of the data set


def score_easy_vqa(prediction: str, answers: tuple[str, ...]) -> tuple[float, bool]:
    """(score, parsed): equal after lower-casing and stripping white space and a final full stop."""
    given = prediction.strip().lower().rstrip(".").rstrip()
    return float(given in answers), given in ANSWERS
