"""Raising a policy's uncertain NOs to COARSE or FULL (block E1)."""

from dataclasses import replace

import numpy as np

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.policy.protocol import LOOK, OUTCOMES, STATE, TEXT, Policy, Step, Value, View, restricted
from vovnet.policy.uncertainty import is_uncertain


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
