"""Rules for multiple choice: MMBench's strict one, lmms-eval's static mode, VLMEvalKit's exact matching."""

import re
import string
from collections.abc import Callable, Mapping, Sequence

from vovnet.scoring.reasoning import after_reasoning

API_FAILURE = "Failed to obtain answer via API"  # what both evaluators write for an answer that never came
LETTERS = "ABCDE"  # upstream looks for five letters whatever the number of options
AFFIXES = (
    ("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ")."),
    (":", ""), (":", ","), (":", "."), (":", ")"), (":", ")."),
)  # fmt: skip


def infer_choice(response: str, options: Mapping[str, str], letters: str = LETTERS) -> str | None:
    """The letter that a response chooses among lettered options, or None."""
    return infer_letter(response, letters) or infer_text(response, options)


def infer_letter(response: str, letters: str = LETTERS) -> str | None:
    """A single letter standing alone, or alone with an affix such as ``(B)``.

    Where "A" stands in more than three words it may be the article, and bare letters do not count.
    """
    words = response.split()
    for prefix, suffix in (("", ""), *AFFIXES):
        found = [letter for letter in letters if prefix + letter + suffix in words]
        article = not prefix and not suffix and "A" in words and len(words) > 3
        if len(found) == 1 and not article:
            return found[0]
    return None


def infer_text(response: str, options: Mapping[str, str]) -> str | None:
    """The one option whose text occurs in the response."""
    lower = response.lower()
    found = [letter for letter, text in options.items() if text.lower() in lower]
    return found[0] if len(found) == 1 else None


def lettered(options: Sequence[str]) -> dict[str, str]:
    """Options by letter; an empty text marks a letter that the question does not offer."""
    return {letter: text for letter, text in zip(string.ascii_uppercase, options, strict=False) if text}


# MMBench's letters as lmms-eval reads them without a judge model (task ``mmbench_en_dev_static``).
#
# Semantics of ``tasks/mmbench/mmbench_evals.py`` (``can_infer``) and, for what that leaves open,
# ``tasks/_task_utils/mcq_extract.py`` of lmms-eval 0.7.3, oddities included: published numbers contain them.

OFFERED = "ABCD"  # upstream looks at no other column for option texts
EDGE_MARKS = ",.!?;:'\""  # taken off in this order, each from both ends
# After the first occurrence of each, the letters that come next count.
PHRASES = (
    *(f"{the}{kind}{noun} is" for the in ("", "the ") for kind, noun in (
        ("", "answer"), ("correct ", "answer"), ("best ", "answer"), ("correct ", "option"), ("best ", "option"),
        ("", "choice"), ("correct ", "choice"))),
    *("my answer is", "my choice is", "i choose", "i select", "i pick"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)  # fmt: skip
FORMS = ("({})", "{}.", "{}:", "{})", "{} ")  # the surest first


def read_as_lmms_eval(response: str, options: Mapping[str, str]) -> str | None:
    """The letter that a response chooses, or None.

    Args:
        options: texts of the offered letters.
    """
    offered = {letter: text for letter, text in options.items() if letter in OFFERED}
    response = response.strip()
    letter = None if API_FAILURE in response else infer_letter(response)
    return letter or infer_text(response, offered) or extract_letter(response, offered)


def extract_letter(response: str, letters: Mapping[str, str]) -> str | None:
    """The letter in the surest form there is; of several in one form the last."""
    for mark in EDGE_MARKS:
        response = response.strip(mark)
    bare, text = response.strip(), f" {response} "
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            return letter
    for letter in letters:
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            return letter
    lower = text.lower()
    begins = [begin + len(phrase) for phrase in PHRASES if (begin := lower.find(phrase)) >= 0]
    # Lower case may be longer by a few characters; upstream counts along it all the same.
    after = {letter: max((text.find(letter, begin) for begin in begins), default=-1) for letter in letters}
    if after and max(after.values()) >= 0:
        return max(after, key=after.__getitem__)
    for form in (*FORMS, "{}"):
        last = {letter: text.rfind(form.format(letter)) for letter in letters}
        if last and max(last.values()) >= 0:
            return max(last, key=last.__getitem__)
    return None


# MMBench's letters as VLMEvalKit reads them by exact matching.
#
# Semantics of ``utils/matching_util.py`` (``can_infer``, with the environment variable VERBOSE unset) of August 2026.

UNDECIDED = "Z"  # upstream's letter of a refusal; also one that an answer may name
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
LAST_WORDS = 5  # a letter before them is part of a sentence
# In any case of letters: "the answer is a cat" names A.
ANSWER_IS = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)


def read_as_vlmevalkit(response: str, options: Mapping[str, str]) -> str | None:
    """The letter that a response chooses, or None.

    Args:
        options: texts of the offered letters.
    """
    letter = _named(response, options)
    if letter is None and len(response.lower()) <= 2 * sum(len(text) for text in options.values()):
        letter = infer_text(response, options)
    return None if letter == UNDECIDED else letter


def _named(response: str, options: Mapping[str, str]) -> str | None:
    """A letter that is named as such, ``UNDECIDED`` for a refusal."""
    if API_FAILURE in response:
        return None
    if any(sentence in response for sentence in REFUSALS):
        return UNDECIDED
    words = response.translate(MARKS).split()
    found = [letter for letter in options if letter in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - LAST_WORDS:
        return found[0]
    if not found and UNDECIDED in words:
        return UNDECIDED
    match = ANSWER_IS.search(response)
    return match[1].upper() if match and match[1].upper() in options else None


# MMBench: reading the chosen letter, offline, under one of three rules.
#
# ``lmms_eval`` and ``vlmevalkit`` read what the evaluators of these names read without a judge model. ``strict`` is
# the part of lmms-eval that looks for a letter standing alone or an option's text, and reads no ``**B**`` or ``"B."``.
# What a rule cannot resolve is unparsed and wrong, as in VLMEvalKit's ``exact_matching``; no letter is ever drawn at
# random.

RULES: dict[str, Callable[[str, Mapping[str, str]], str | None]] = {
    "lmms_eval": read_as_lmms_eval,
    "vlmevalkit": read_as_vlmevalkit,
    "strict": infer_choice,
}
DEFAULT_RULE = "lmms_eval"


@after_reasoning
def score_mmbench(
    prediction: str, answers: Sequence[str], options: Sequence[str], rule: str = DEFAULT_RULE
) -> tuple[float, bool]:
    """(score, parsed) of one row."""
    letter = RULES[rule](prediction, lettered(options))
    return float(letter in answers), letter is not None
