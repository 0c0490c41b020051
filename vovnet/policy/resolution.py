"""Always looking, at one resolution between COARSE's and FULL's."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import Action
from vovnet.policy.protocol import Policy, Step, View
from vovnet.schema.baselines import FullLook
from vovnet.schema.ranges import STRICT, Positive


@dataclass(frozen=True, config=STRICT)
class ResolutionScaling(Policy):
    """FULL for every question, from a smaller image."""

    name: Literal["resolution_scaling"]
    long_side: Positive  # pixels

    looks = (Action.FULL,)

    @property
    def full(self) -> FullLook:
        """At the smaller side."""
        return FullLook(long_side=self.long_side)

    def step(self, view: View) -> Step:
        """Ignore everything."""
        return Step(np.full(len(view), int(Action.FULL), dtype=np.int64))
