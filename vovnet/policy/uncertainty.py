"""Policies that look where the model is unsure: of the text pass (one step), or again after COARSE (a cascade)."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import Action, named
from vovnet.outcomes.rows import TextOutcomes, known
from vovnet.policy.protocol import LOOK, TEXT, Policy, Step, Value, View
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
