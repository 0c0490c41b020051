"""TextVQA: VQA accuracy over ten annotators, with EvalAI's answer normalisation.

Semantics of lmms-eval ``_task_utils/vqa_eval_metric.py`` and ``tasks/textvqa/utils.py``, oddities
included: they decide single samples, and published numbers contain them.
"""

import re
from collections.abc import Sequence

from vovnet.scoring.reasoning import after_reasoning, final_answer

# Punctuation in upstream's order; each is looked for in the text as it came in.
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {
    word: str(value) for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
NUMBERS["none"] = "0"
ARTICLES = frozenset(("a", "an", "the"))
THOUSANDS = re.compile(r"\d,+\d")
# Upstream means "not after a digit" and writes a lookahead for "<=" and a digit, which never stands
# where a full stop stands: only the second half of the rule is in force.
FULL_STOP = re.compile(r"\.(?!\d)")
# Upstream passes re.UNICODE where `count` belongs: at most 32 full stops are removed.
FULL_STOPS_REMOVED = 32

# Words that lost an apostrophe, as "where it was". Rows after the first restore the double contractions.
_RESTORED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's
I'm I've isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't
should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's
there'd there're there's they'd they'll they're they've wasn't we've weren't what'll what're what's what've when's
where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll
you're you've
"""
_DOUBLE = """
couldn't've hadn't've he'd've I'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've you'd've
"""


def _contractions() -> dict[str, str]:
    """Upstream's table: misspelt word to contraction; keys with capitals are there but never met."""
    table = {word.replace("'", ""): word for word in _RESTORED.split()}
    for word in _DOUBLE.split():
        first, second = (place for place, letter in enumerate(word) if letter == "'")
        table[word[:first] + word[first + 1 :]] = word  # first apostrophe lost: couldnt've
        table[word[:second] + word[second + 1 :]] = word  # second lost: couldn'tve
    # Irregular rows. "somebody'd" loses its apostrophe; "someonell" has none to put back before "ll".
    table |= {
        "somebody'd": "somebodyd",
        "twas": "'twas",
        "ow's'at": "'ow's'at",
        "'ows'at": "'ow's'at",
        "'ow'sat": "'ow's'at",
        "yall'll": "y'all'll",
        "y'allll": "y'all'll",
        "yall'd've": "y'all'd've",
        "y'alld've": "y'all'd've",
        "y'all'dve": "y'all'd've",
    }
    return table


CONTRACTIONS = _contractions()


def normalize_answer(text: str) -> str:
    """EvalAI's normal form of an answer."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    text = _strip_punctuation(text)
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _strip_punctuation(text: str) -> str:
    """Delete a mark that touches a space, or every mark of a text with digit,digit; others become spaces."""
    out = text
    thousands = THOUSANDS.search(text) is not None
    for mark in PUNCTUATION:
        touches_space = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if touches_space or thousands else " ")
    return FULL_STOP.sub("", out, count=FULL_STOPS_REMOVED)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Mean over annotators i of min(1, matches among the others / 3) (Antol et al. 2015)."""
    answer = final_answer(prediction)
    if answer is None or not answers:
        return 0.0
    given = normalize_answer(answer)
    total = sum(normalize_answer(one) == given for one in answers)
    # In thirds of an annotator: whole numbers up to the division, so that 0.3 is 0.3.
    thirds = total * min(3, total - 1) + (len(answers) - total) * min(3, total)
    return thirds / (3 * len(answers))


@after_reasoning
def score_textvqa(prediction: str, answers: Sequence[str], options: Sequence[str] = ()) -> tuple[float, bool]:
    """(score, parsed); any answer that is not blank is parsed."""
    return vqa_accuracy(prediction, answers), bool(prediction.strip())
