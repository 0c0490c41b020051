"""COARSE first, then FULL where COARSE's answer is improbable; both looks are paid for."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import Action
from vovnet.outcomes.rows import known
from vovnet.policy.protocol import LOOK, Policy, Step, Value, View
from vovnet.schema.ranges import STRICT, Share


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
        again = known(coarse.confidence, "answer probability") < self.threshold
        return Step(np.where(again, int(Action.FULL), int(Action.COARSE)).astype(np.int64))

    def columns(self) -> dict[str, Value]:
        """Its threshold, which is one of the answer's probability."""
        return {"uncertainty_metric": "confidence", "threshold": self.threshold, "vision_mode": "full"}
