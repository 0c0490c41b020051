"""MMBench's letters as lmms-eval reads them without a judge model (task ``mmbench_en_dev_static``).

Semantics of ``tasks/mmbench/mmbench_evals.py`` (``can_infer``) and, for what that leaves open,
``tasks/_task_utils/mcq_extract.py`` of lmms-eval 0.7.3, oddities included: published numbers contain them.
"""

from collections.abc import Mapping

from vovnet.scoring.letters import API_FAILURE, infer_letter, infer_text

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
