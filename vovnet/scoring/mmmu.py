"""MMMU: reading a letter or an open answer out of free text.

Semantics of MMMU's ``eval/eval_utils.py`` in the form that lmms-eval runs (``_task_utils/mmmu_mcq_utils.py``
and ``tasks/mmmu/utils.py``), oddities included. One deliberate difference: where upstream draws a
random letter for an answer it cannot read, the answer counts as unparsed and wrong.
"""

import re
from collections.abc import Sequence

from vovnet.scoring.reasoning import after_reasoning

EDGE_MARKS = (",", ".", "!", "?", ";", ":", "'")
# Tails after these words are taken for the answer; "=" joins them from the last line on.
KEY_WORDS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
TRIVIAL = frozenset((":", ",", ".", "!", "?", ";", "'"))
NUMBER_PATTERNS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with thousands commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # plain
)

OpenAnswer = str | float


def parse_choice(response: str, options: Sequence[str]) -> str | None:
    """The letter that a response chooses, or None.

    Letters are looked for as ``(A)``, then as ``A`` before a space, then as ``A.``; then, in responses
    of more than five words, option texts. Of several candidates the last one counts.
    """
    for mark in EDGE_MARKS:
        response = response.strip(mark)
    text = f" {response} "
    letters = [chr(ord("A") + place) for place in range(len(options))]
    for form, located in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        # Upstream finds "A." and "A " anywhere but ranks both by " A ": ties fall to the first letter.
        found = [letter for letter in letters if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(located.format(letter)))
    if len(text.split()) > 5:
        lower = text.lower()
        texts = {letter: option.lower() for letter, option in zip(letters, options, strict=True)}
        found = [letter for letter in letters if texts[letter] in lower]
        if found:
            return max(found, key=lambda letter: lower.rfind(texts[letter]))
    return None


def parse_open(response: str) -> set[OpenAnswer]:
    """All strings and numbers that a response to an open question may mean."""
    keys = _key_phrases(response)
    numbers = [number for key in keys for pattern in NUMBER_PATTERNS for number in pattern.findall(key)]
    return {form for text in (*keys, *numbers) for form in normalize_open(text)}


def _key_phrases(response: str) -> list[str]:
    """The shortest tail after a key word on each line; the whole response where there is none."""
    # Upstream also means to split sentences before a capital letter, but lower-cases first.
    text = response.strip().strip(".").lower()
    lines = text.split("\n")
    phrases = []
    for number, line in enumerate(lines):
        words = (*KEY_WORDS, "=") if number == len(lines) - 1 else KEY_WORDS
        shortest = ""
        for word in words:
            tail = line.split(word)[-1].strip()
            # An empty tail does not count as found: the next key word replaces it.
            if word in line and (not shortest or len(tail) < len(shortest)):
                shortest = tail
        if shortest and shortest not in TRIVIAL:
            phrases.append(shortest)
    return phrases or [text]


def normalize_open(text: str) -> list[OpenAnswer]:
    """A number rounded to two decimals, or the lower-case text; a single letter is padded on either side."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def open_correct(given: set[OpenAnswer], references: Sequence[str]) -> bool:
    """Whether a reference stands inside a given string or equals a given number."""
    accepted = [form for reference in references for form in normalize_open(reference)]
    for answer in given:
        if isinstance(answer, float):
            if answer in accepted:
                return True
        elif any(isinstance(form, str) and form in answer for form in accepted):
            return True
    return False


@after_reasoning
def score_mmmu(prediction: str, answers: Sequence[str], options: Sequence[str]) -> tuple[float, bool]:
    """(score, parsed). With options the answer is a letter; without, any of ``answers`` will do."""
    if options:
        letter = parse_choice(prediction, options)
        return float(letter in answers), letter is not None
    return float(open_correct(parse_open(prediction), answers)), bool(prediction.strip())
