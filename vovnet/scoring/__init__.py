"""Scores: a prediction against its references."""

from collections.abc import Callable
from dataclasses import dataclass

from vovnet.data import Sample
from vovnet.scoring.easy_vqa import score_easy_vqa
from vovnet.scoring.mmbench import score_mmbench
from vovnet.scoring.mmmu import score_mmmu
from vovnet.scoring.plain import score_plain
from vovnet.scoring.textvqa import score_textvqa
from vovnet.scoring.token_f1 import score_token_f1


@dataclass(frozen=True)
class Score:
    """A judged prediction.

    Attributes:
        value: correctness in [0, 1].
        parsed: whether an answer could be read from the prediction at all; an unparsed one scores 0.
    """

    value: float
    parsed: bool


@dataclass(frozen=True)
class Scorer:
    """A benchmark's rule. ``version`` rises whenever the rule gives another score to anything.

    ``rule`` takes prediction, accepted answers and options, and returns (score, parsed).
    """

    name: str
    version: int
    rule: Callable[[str, tuple[str, ...], tuple[str, ...]], tuple[float, bool]]

    def __call__(self, prediction: str, sample: Sample) -> Score:
        """Judge one prediction."""
        value, parsed = self.rule(prediction, sample.answers, sample.options)
        return Score(value, parsed)


SCORERS = {
    scorer.name: scorer
    for scorer in (
        Scorer("easy_vqa", 1, score_easy_vqa),
        Scorer("mmbench", 1, score_mmbench),
        Scorer("mmmu", 1, score_mmmu),
        Scorer("plain", 2, score_plain),
        Scorer("textvqa", 1, score_textvqa),
        Scorer("token_f1", 1, score_token_f1),
    )
}
