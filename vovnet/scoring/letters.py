"""Reading a chosen letter: what the rules for multiple choice have in common."""

import string
from collections.abc import Mapping, Sequence

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
    """The one option whose text stands in the response."""
    lower = response.lower()
    found = [letter for letter, text in options.items() if text.lower() in lower]
    return found[0] if len(found) == 1 else None


def lettered(options: Sequence[str]) -> dict[str, str]:
    """Options by letter; an empty text marks a letter that the question does not offer."""
    return {letter: text for letter, text in zip(string.ascii_uppercase, options, strict=False) if text}
