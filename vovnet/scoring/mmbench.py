"""MMBench: reading the chosen letter, offline, under one of three rules.

``lmms_eval`` and ``vlmevalkit`` read what the evaluators of these names read without a judge model. ``strict`` is the
part of lmms-eval that looks for a letter standing alone or an option's text, and reads no ``**B**`` or ``"B."``. What a
rule cannot resolve is unparsed and wrong, as in VLMEvalKit's ``exact_matching``; no letter is ever drawn at random.
"""

from collections.abc import Callable, Mapping, Sequence

from vovnet.scoring.letters import infer_choice, lettered
from vovnet.scoring.lmms_eval import read_as_lmms_eval
from vovnet.scoring.reasoning import after_reasoning
from vovnet.scoring.vlmevalkit import read_as_vlmevalkit

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
