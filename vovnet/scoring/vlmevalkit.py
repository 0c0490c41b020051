"""MMBench's letters as VLMEvalKit reads them by exact matching.

Semantics of ``utils/matching_util.py`` (``can_infer``, with the environment variable VERBOSE unset) of August 2026.
"""

import re
from collections.abc import Mapping

from vovnet.scoring.letters import API_FAILURE, infer_text

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
