"""Scores: a prediction against its references."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any, SupportsFloat

from vovnet.data import Sample
from vovnet.data.sample import SampleRule
from vovnet.errors import VoVNetError
from vovnet.registry import check_call, find, names, source_hash
from vovnet.schema.code import Code
from vovnet.scoring.choices import RULES, score_mmbench
from vovnet.scoring.mmmu import score_mmmu
from vovnet.scoring.open_answers import (
    score_anls,
    score_choice,
    score_easy_vqa,
    score_exact,
    score_number,
    score_plain,
    score_token_f1,
)
from vovnet.scoring.refusal import is_refusal
from vovnet.scoring.textvqa import score_textvqa


@dataclass(frozen=True)
class Score:
    """A judged prediction.

    Attributes:
        value: correctness in [0, 1].
        parsed: whether an answer could be read from the prediction at all; an unparsed one scores 0.
        refused: whether it declines to answer; the benchmark's rule may give it a score all the same.
    """

    value: float
    parsed: bool
    refused: bool = False

    @property
    def target(self) -> float:
        """What a policy learns from: a refusal is never right."""
        return 0.0 if self.refused else self.value


@dataclass(frozen=True)
class Scorer:
    """A benchmark's rule.

    Attributes:
        version: rises whenever the rule gives another score to anything.
        rule: takes answer, accepted answers and options, and returns (score, parsed); a foreign benchmark's takes
            answer and question.
        source: hash of the rule's source where it is not this package's, whose changes no version tells.
    """

    name: str
    version: int
    rule: Callable[[str, tuple[str, ...], tuple[str, ...]], tuple[float, bool]] | SampleRule
    source: str = ""

    @property
    def identity(self) -> list[str | int]:
        """What tells apart the scores of two versions."""
        return [self.name, self.version, *([self.source] if self.source else [])]

    def __call__(self, answer: str | None, sample: Sample) -> Score:
        """Judge what follows the model's reasoning (``backbone.decoding.Answer.final``); None is no answer."""
        if answer is None:
            return Score(0.0, False)
        if isinstance(self.rule, SampleRule):
            value, parsed = self.rule(answer, sample)
        else:
            value, parsed = self.rule(answer, sample.answers, sample.options)
        return Score(value, parsed, is_refusal(answer) and not _is_offered(answer, sample))


def _is_offered(answer: str, sample: Sample) -> bool:
    """Whether an answer is one of the question's own, such as the option "It cannot be determined without an image"."""
    said = answer.strip().rstrip(".").casefold()
    return said in {text.strip().rstrip(".").casefold() for text in (*sample.options, *sample.answers)}


SCORERS = {
    scorer.name: scorer
    for scorer in (
        Scorer("anls", 1, score_anls),
        Scorer("choice", 1, score_choice),
        Scorer("easy_vqa", 2, score_easy_vqa),
        Scorer("exact", 1, score_exact),
        *(Scorer(f"mmbench/{rule}", 2, partial(score_mmbench, rule=rule)) for rule in RULES),
        Scorer("mmmu", 2, score_mmmu),
        Scorer("number", 1, score_number),
        Scorer("plain", 3, score_plain),
        Scorer("textvqa", 2, score_textvqa),
        Scorer("token_f1", 2, score_token_f1),
    )
}


def scorer_named(name: str | Code | SampleRule) -> Scorer:
    """The scorer of a data set: one of VoVNet's, a registered one, or the user's own.

    The user's own takes what ``Scorer.rule`` takes and returns a score in [0, 1], or (score, parsed).

    Raises:
        VoVNetError: there is none of this name.
    """
    if isinstance(name, SampleRule):
        return Scorer(name.name, 0, name, name.source)
    if isinstance(name, Code):
        rule = name.part()
        check_call("scorer", rule, ("", ("",), ()), name.options)
        return Scorer(name.target, 0, _checked(name.target, partial(rule, **name.options)), name.identity)
    if name in SCORERS:
        return SCORERS[name]
    if (part := find("scorer", name)) is not None:
        return Scorer(name, 0, _checked(name, part), source_hash(part))
    known = ", ".join(sorted({*SCORERS, *names("scorer")}))
    raise VoVNetError(f"there is no scorer named {name!r}; choose one of {known}, or give {{_target_: module.NAME}}.")


def _checked(
    name: str, rule: Callable[..., Any]
) -> Callable[[str, tuple[str, ...], tuple[str, ...]], tuple[float, bool]]:
    """A user's rule whose results are looked at."""

    def judge(answer: str, answers: tuple[str, ...], options: tuple[str, ...]) -> tuple[float, bool]:
        given = rule(answer, answers, options)
        score, parsed = given if isinstance(given, tuple) else (given, True)
        value = float(score) if isinstance(score, SupportsFloat) else nan
        if not 0 <= value <= 1:
            raise VoVNetError(
                f"the scorer {name} gives {answer[:40]!r} a score of {score!r}; it must be a number between 0 and 1."
            )
        return value, bool(parsed)

    return judge
