"""Always looking in full, with some of the vision tokens left out (block B4)."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import Action
from vovnet.policy.protocol import Policy, Step, Value, View
from vovnet.schema.baselines import FullLook
from vovnet.schema.ranges import STRICT, Kept, PruningMode


@dataclass(frozen=True, config=STRICT)
class TokenPruning(Policy):
    """FULL for every question; a share of an image's tokens is kept."""

    name: Literal["vision_token_pruning_proxy"]
    pruning_ratio: Kept
    pruning_mode: PruningMode

    looks = (Action.FULL,)

    @property
    def full(self) -> FullLook:
        """Without the tokens that are left out."""
        return FullLook(pruning=(self.pruning_mode, self.pruning_ratio))

    def step(self, view: View) -> Step:
        """Ignore everything."""
        return Step(np.full(len(view), int(Action.FULL), dtype=np.int64))

    def columns(self) -> dict[str, Value]:
        """Mode and ratio, also where the ratio is 1 and nothing is left out."""
        return {"pruning_ratio": self.pruning_ratio, "pruning_mode": self.pruning_mode}
