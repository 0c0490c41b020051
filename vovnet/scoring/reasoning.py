"""Cutting a model's reasoning off its answer.

A thinking model writes its reasoning between two markers before it answers. Only what follows is an answer: option
letters inside the reasoning are none.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec

P = ParamSpec("P")
Markers = tuple[str, str]  # what opens and what closes the reasoning

COMMON: Markers = ("<think>", "</think>")  # Qwen3, DeepSeek-R1, GLM-4.1V, InternVL3.5, Phi-4-reasoning and many others
KNOWN: tuple[Markers, ...] = (
    COMMON,
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Mistral
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThinker, Sky-T1
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<unused94>", "<unused95>"),  # MedGemma
    ("<|channel>", "<channel|>"),  # Gemma 4
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
)


def final_answer(text: str, markers: Sequence[Markers] = (COMMON,)) -> str | None:
    """What follows the reasoning; a text without markers as it is.

    The prompt may have opened the reasoning, so that only the closing marker is here.

    Returns:
        None where there is no answer: the reasoning is never closed, or nothing follows it.
    """
    rest, cut = text, False
    for opening, closing in markers:
        while (begin := rest.find(opening)) >= 0 and (end := rest.find(closing, begin + len(opening))) >= 0:
            rest, cut = rest[:begin] + rest[end + len(closing) :], True
        if closing in rest:
            rest, cut = rest.rpartition(closing)[2], True
        if opening in rest:
            return None
    if not cut:
        return text
    return rest.strip() or None


@dataclass(frozen=True)
class Reasoning:
    """How one model marks its reasoning.

    Attributes:
        markers: the pairs that it may write.
        opened: the prompt ends inside the reasoning.
        direct: the model was adapted to answer at once, even where the prompt has opened the reasoning.
    """

    markers: tuple[Markers, ...] = (COMMON,)
    opened: bool = False
    direct: bool = False

    @classmethod
    def of(cls, added_tokens: Collection[str], template: str, prompt_end: str) -> "Reasoning":
        """Read it off a tokenizer's added tokens, a chat template and what the template renders after a question.

        ``<think>`` always counts: many models write it without a token or a template of its own. So does a pair whose
        first mark ends the prompt.
        """
        markers = tuple(
            pair
            for pair in KNOWN
            if pair == COMMON
            or prompt_end.rstrip().endswith(pair[0])
            or all(mark in added_tokens or mark in template for mark in pair)
        )
        return cls(markers, any(prompt_end.rfind(opening) > prompt_end.rfind(closing) for opening, closing in markers))

    def answer(self, text: str, ended: bool) -> str | None:
        """The answer in a decoded text; None where there is none.

        Args:
            ended: the model ended the text itself. Where the prompt has opened the reasoning, a text without the
                closing marker is all reasoning, unless an adapted model (``direct``) ended it.
        """
        closed = any(closing in text for _, closing in self.markers)
        if self.opened and not closed and not (self.direct and ended):
            return None
        return final_answer(text, self.markers)

    def is_part(self, token: str) -> bool:
        """Whether a token is a marker or a piece of one, so that decoding must keep it."""
        return bool(token) and any(token in mark for pair in self.markers for mark in pair)


def after_reasoning(
    rule: Callable[Concatenate[str, P], tuple[float, bool]],
) -> Callable[Concatenate[str, P], tuple[float, bool]]:
    """Make a scoring rule read what follows the reasoning; without an answer the score is 0 and nothing is parsed."""

    def judge(prediction: str, /, *args: P.args, **kwargs: P.kwargs) -> tuple[float, bool]:
        answer = final_answer(prediction)
        return (0.0, False) if answer is None else rule(answer, *args, **kwargs)

    functools.update_wrapper(judge, rule)
    return judge
