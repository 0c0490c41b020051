"""Looking where the model is unsure: of the text pass, also beside another policy (block E1), or after COARSE."""

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import Action, named
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import TextOutcomes, known
from vovnet.policy.protocol import LOOK, OUTCOMES, STATE, TEXT, Policy, Step, Value, View, restricted
from vovnet.schema.ranges import STRICT, NonNegative, Share


@dataclass(frozen=True, config=STRICT)
class UncertaintyThreshold(Policy):
    """Look where the entropy (nats) reaches the threshold, or the margin (p1 - p2) is at most the threshold."""

    name: Literal["uncertainty_threshold"]
    uncertainty: Literal["entropy", "margin"]
    threshold: NonNegative
    vision: Literal["full", "coarse"]

    needs = frozenset({TEXT})

    @property
    def looks(self) -> tuple[Action, ...]:  # type: ignore[override]
        """NO and the one way of looking."""
        return (Action.NO, named(self.vision))

    def step(self, view: View) -> Step:
        """A threshold that is reached counts."""
        assert view.text is not None
        limits = {self.uncertainty: self.threshold}
        looks = is_uncertain(view.text, limits.get("entropy"), limits.get("margin"))
        return Step(np.where(looks, int(self.looks[1]), int(Action.NO)).astype(np.int64))

    def columns(self) -> dict[str, Value]:
        """The rule and its threshold."""
        return {"uncertainty_metric": self.uncertainty, "threshold": self.threshold, "vision_mode": self.vision}


def is_uncertain(text: TextOutcomes, entropy: float | None, margin: float | None) -> np.ndarray:
    """Where the entropy is at least one limit or the margin at most the other, bool [N]; None is no limit."""
    uncertain = np.zeros(len(text), dtype=bool)
    if entropy is not None:
        uncertain |= known(text.entropy, "entropy") >= entropy
    if margin is not None:
        uncertain |= known(text.margin, "margin") <= margin
    return uncertain


@dataclass(frozen=True, config=STRICT)
class Cascade(Policy):
    """Looks again where the probability of COARSE's answer is below the threshold."""

    name: Literal["cascade"]
    threshold: Share

    needs = frozenset({f"{LOOK}{Action.COARSE.label}"})
    looks = (Action.COARSE, Action.FULL)

    def step(self, view: View) -> Step:
        """Look at every thumbnail first."""
        if (coarse := view.seen.get(Action.COARSE)) is None:
            return Step(np.full(len(view), int(Action.COARSE), dtype=np.int64), answer=np.zeros(len(view), dtype=bool))
        again = known(coarse.confidence, "answer_probability") < self.threshold
        return Step(np.where(again, int(Action.FULL), int(Action.COARSE)).astype(np.int64))

    def columns(self) -> dict[str, Value]:
        """Its threshold, which is one of the answer's probability."""
        return {"uncertainty_metric": "confidence", "threshold": self.threshold, "vision_mode": "full"}


class Fallback(Policy):
    """Decides as another policy does, and looks where that would answer blind although the text pass is uncertain.

    Args:
        to: the look that a NO is raised to.
        entropy, margin: limits as ``is_uncertain`` takes them.
        looks: the other policy's and ``to``, cheapest first; None puts COARSE after NO, and FULL last.

    Raises:
        VoVNetError: the other policy does not decide from the text pass.
    """

    def __init__(
        self,
        inner: Policy,
        to: Action,
        entropy: float | None,
        margin: float | None,
        looks: tuple[Action, ...] | None = None,
    ) -> None:
        if OUTCOMES in inner.needs or any(need.startswith((LOOK, STATE)) for need in inner.needs):
            raise VoVNetError(
                f"{inner.name or inner.label()} decides by more than the text pass; leave policy.fallback_mode=null."
            )
        self.inner, self.to, self.entropy, self.margin = inner, to, entropy, margin
        self.name, self.file, self.card = inner.name, inner.file, inner.card
        self.needs = inner.needs | {TEXT}
        self.looks = looks or (inner.looks if to in inner.looks else _with(inner.looks, to))

    @property
    def valued(self) -> tuple[Action, ...]:
        """The inner policy's: what is raised has no estimate of its own."""
        return self.inner.valued

    def step(self, view: View) -> Step:
        """Raise a NO where entropy or margin reaches its limit."""
        assert view.text is not None
        inner = self.inner.step(restricted(view, self.inner, self.looks))
        raised = is_uncertain(view.text, self.entropy, self.margin) & (inner.looks == int(Action.NO))
        return replace(inner, looks=np.where(raised, int(self.to), inner.looks), fallback=raised)

    def columns(self) -> dict[str, Value]:
        """The inner policy's, and the limits."""
        return self.inner.columns() | {
            "fallback_mode": self.to.label,
            "fallback_entropy_threshold": self.entropy,
            "fallback_margin_threshold": self.margin,
        }

    def label(self) -> str:
        """The inner policy's, with the look that it falls back to."""
        return f"{self.inner.label()} fallback={self.to.label}"

    def only_replayed(self) -> str:
        """As the inner policy."""
        return self.inner.only_replayed()


def _with(looks: tuple[Action, ...], to: Action) -> tuple[Action, ...]:
    """Looks with COARSE after NO, or FULL at the end."""
    place = looks.count(Action.NO) if to == Action.COARSE else len(looks)
    return (*looks[:place], to, *looks[place:])
