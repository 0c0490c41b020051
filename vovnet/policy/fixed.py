"""The baselines that look in one way at every question (block B1)."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import FIXED_POLICIES, Action
from vovnet.policy.protocol import Policy, Step, View
from vovnet.schema.baselines import FullLook
from vovnet.schema.ranges import STRICT


@dataclass(frozen=True, config=STRICT)
class Fixed(Policy):
    """One action for every question."""

    name: Literal["always_full", "always_coarse", "no_vision"]

    @property
    def looks(self) -> tuple[Action, ...]:  # type: ignore[override]
        """The one."""
        return (FIXED_POLICIES[self.name],)

    @property
    def full(self) -> FullLook:
        """The whole image: a reference for what looks at less."""
        return FullLook()

    def step(self, view: View) -> Step:
        """Ignore everything."""
        return Step(np.full(len(view), int(self.looks[0]), dtype=np.int64))


class Always(Policy):
    """One look for every question, for analyses that are no baseline."""

    def __init__(self, *looks: Action) -> None:
        self.looks = looks

    def step(self, view: View) -> Step:
        """The most expensive of its looks."""
        return Step(np.full(len(view), int(self.looks[-1]), dtype=np.int64))
