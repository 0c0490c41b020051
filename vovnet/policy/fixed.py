"""Policies that take the same look for every question: a named one, pruned to a share, or of another resolution."""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import FIXED_POLICIES, USUAL, Action
from vovnet.policy.protocol import Policy, Step, Value, View
from vovnet.schema.menu import MenuLook, OwnLook
from vovnet.schema.policy import FullLook
from vovnet.schema.ranges import STRICT, Kept, Positive, PruningMode


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


@dataclass(frozen=True, config=STRICT)
class AlwaysLook(Policy):
    """One look for every question, of one's own or a usual one."""

    name: Literal["always_look"]
    look: MenuLook

    @property
    def looks(self) -> tuple[Action, ...]:  # type: ignore[override]
        """The one."""
        return (self.look.action if isinstance(self.look, OwnLook) else Action.said(self.look),)

    @property
    def full(self) -> FullLook:
        """The whole image, with which it is compared."""
        return FullLook()

    def step(self, view: View) -> Step:
        """Ignore everything."""
        return Step(np.full(len(view), int(self.looks[0]), dtype=np.int64))

    def columns(self) -> dict[str, Value]:
        """What the look is."""
        (look,) = self.looks
        mode, ratio = look.pruning or (None, None)
        own = {"look": look.label} if look.processor or look in USUAL else {}
        return {"long_side": look.long_side, "pruning_mode": mode, "pruning_ratio": ratio, **own}


class Always(Policy):
    """One look for every question, for analyses that are no baseline."""

    def __init__(self, *looks: Action) -> None:
        self.looks = looks

    def step(self, view: View) -> Step:
        """The most expensive of its looks."""
        return Step(np.full(len(view), int(self.looks[-1]), dtype=np.int64))


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
