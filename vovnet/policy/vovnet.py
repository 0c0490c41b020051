"""VoVNet itself: a trained head over the text pass, with a lambda."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import TextOutcomes
from vovnet.policy.checkpoint import UNKNOWN, PolicyCard, PolicyFile
from vovnet.policy.decide import choose
from vovnet.policy.features import features
from vovnet.policy.protocol import COSTS, TEXT, Policy, Step, Value, View
from vovnet.schema.ranges import FeatureMode

if TYPE_CHECKING:
    from vovnet.policy.sequential_head import AnyHead

VALUE_BLOCK, VALUE_SIZE = 65_536, 1 << 21  # rows and features of a forward pass at most: memory on large stores


class ValueHead:
    """A trained head with its card; remembers its values of the text pass that it was last asked about.

    A sweep over lambda asks the same head about the same features again.

    Args:
        head: gives it, in evaluation mode; called where neither this object nor the store knows its values.
        digest: of the file; None keeps no values in the store.
        moved: from the backbone that it was trained for to another one.
    """

    def __init__(
        self,
        head: Callable[[], "AnyHead"],
        card: PolicyCard,
        file: Path | None = None,
        digest: str | None = None,
        moved: bool = False,
    ) -> None:
        self.head, self.card, self.file, self.digest, self.moved = head, card, file, digest, moved
        self._asked: TextOutcomes | None = None
        self._values = np.zeros((0, 0))

    @classmethod
    def of(cls, policy: PolicyFile, moved: bool = False) -> "ValueHead":
        """The head in a policy file."""
        return cls(cache(policy.head), policy.card, policy.path, policy.digest, moved)

    def values(self, text: TextOutcomes) -> np.ndarray:
        """Values of all samples, float64 [N, A]. Always on the CPU: live and replay share every bit of it.

        Raises:
            VoVNetError: some are NaN or infinite.
        """
        if self._asked is not text:

            def make() -> np.ndarray:
                return _checked(head_values(self.head(), text, self.card.feature_mode))

            self._values = make() if text.keep is None or self.digest is None else text.keep(self.digest, make)
            self._values.setflags(write=False)
            self._asked = text
        return self._values

    def after(self, stage: int, features: np.ndarray) -> np.ndarray:
        """What a head that looks again says in a later stage, float64 [N, outputs].

        Raises:
            VoVNetError: some are NaN or infinite.
        """
        import torch

        step, parts = block_rows(features.shape[1]), []
        with torch.inference_mode():
            for start in range(0, len(features), step):
                parts.append(self.head()(torch.from_numpy(features[start : start + step]), stage).double().numpy())
        return _checked(np.concatenate(parts))


class VoVNet(Policy):
    """argmax_a v_a - lambda c_a, ties to the cheaper."""

    name = ""
    needs = frozenset({TEXT, COSTS})

    def __init__(self, head: ValueHead, lambda_cost: float) -> None:
        self.head, self.lambda_cost = head, lambda_cost
        self.card, self.file = head.card, head.file
        self.looks: tuple[Action, ...] = head.card.menu

    def step(self, view: View) -> Step:
        """The look that is worth most."""
        assert view.text is not None
        assert view.costs is not None
        values = self.estimates(view.text, view.costs)
        columns = choose(values, view.costs, self.lambda_cost)
        return Step(np.array([int(a) for a in self.looks])[columns], values=values)

    def estimates(self, text: TextOutcomes, costs: np.ndarray) -> np.ndarray:
        """Estimated score of each look, [N, A].

        Args:
            costs: normalised, of each look, [N, A].
        """
        return self.head.values(text)[:, : len(self.looks)]

    def columns(self) -> dict[str, Value]:
        """How the head was trained, and lambda."""
        card = self.head.card
        return {
            "seed": card.seed,
            "objective": card.objective,
            "procedure": card.procedure,
            "trained_on": None if card.dataset == UNKNOWN else card.dataset,
            "policy_backbone": card.backbone if self.head.moved else None,
            "feature_mode": card.feature_mode,
            "action_space": card.space,
            "lambda_cost": self.lambda_cost,
            "trained_lambda": card.lambda_cost,
            "use_straight_through": card.straight_through,
            "training": card.training,
        }

    def label(self) -> str:
        """Its lambda."""
        return f"VoVNet \u03bb={self.lambda_cost:g}"


def block_rows(width: int) -> int:
    """Rows of so many features that go through a head at once."""
    return max(1, min(VALUE_BLOCK, VALUE_SIZE // max(1, width)))


def head_values(head: "AnyHead", text: TextOutcomes, mode: FeatureMode) -> np.ndarray:
    """A head's values of all samples, float64 [N, A], block by block."""
    import torch

    blocks = []
    step = block_rows(text.hidden.width)
    with torch.inference_mode():
        for start in range(0, len(text), step):
            rows = np.arange(start, min(start + step, len(text)))
            blocks.append(head(torch.from_numpy(features(text, mode, rows))).double().numpy())
    return np.concatenate(blocks)


def _checked(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise VoVNetError(
            f"the policy's values of question {int(np.flatnonzero(~finite)[0])} of the split (from 0) are NaN or "
            "infinite; its weights or scales are damaged, train it again."
        )
    return values
