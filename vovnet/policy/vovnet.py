"""VoVNet's policies: one decision after the text pass, or another after each look."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import LookState, Outcomes, TextOutcomes
from vovnet.policy.card import UNKNOWN, PolicyCard
from vovnet.policy.checkpoint import PolicyFile
from vovnet.policy.decide import best_plan, choose, split_outputs
from vovnet.policy.features import features, seen_features
from vovnet.policy.protocol import COSTS, STATE, TEXT, Policy, Step, Value, View
from vovnet.schema.ranges import FeatureMode

if TYPE_CHECKING:
    from vovnet.policy.head import AnyHead

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


class Sequential(VoVNet):
    """Plans the looks of highest expected score less lambda times their expected cost, and plans again after each.

    See ``best_plan`` for what holds as lambda rises. Every look that is taken is paid for.
    """

    def __init__(self, head: ValueHead, lambda_cost: float) -> None:
        super().__init__(head, lambda_cost)
        self.needs = frozenset({TEXT, COSTS, *(f"{STATE}{look.label}" for look in self.looks[1:-1])})

    def step(self, view: View) -> Step:
        """The next look of the best plan; the answer where the plan ends."""
        assert view.costs is not None
        stages, last = self._stages(view), len(self.looks) - 1
        chosen, values = stages.copy(), None
        for stage in np.unique(stages).tolist():
            rows = np.flatnonzero(stages == stage)
            estimates, curves = split_outputs(self._outputs(view, stage, rows), len(self.looks), stage)
            chosen[rows] = best_plan(estimates, curves, view.costs[rows], self.lambda_cost, stage).look
            if not stage:  # nothing has been taken of any question
                values = estimates
        actions = np.array([int(look) for look in self.looks])
        return Step(actions[chosen], answer=(chosen == stages) | (chosen == last), values=values)

    def all_outputs(self, outcomes: Outcomes, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """What every stage says of some questions whose outcomes are known, [len(rows), outputs] each."""
        found = [self.head.values(outcomes.text)[rows]]
        for stage, look in enumerate(self.looks[1:-1], start=1):
            branch = outcomes.branches[look]
            found.append(self._after(stage, outcomes.text, branch.state, branch.confidence, rows))
        return tuple(found)

    def _stages(self, view: View) -> np.ndarray:
        """Place of the last look that was taken of each question; 0 for the text pass alone."""
        stages = np.zeros(len(view), dtype=np.int64)
        for place, look in enumerate(self.looks):
            if look in view.seen:
                stages[view.seen[look].taken] = place
        return stages

    def _outputs(self, view: View, stage: int, rows: np.ndarray) -> np.ndarray:
        assert view.text is not None
        if not stage:
            return self.head.values(view.text)
        seen = view.seen[self.looks[stage]]
        assert seen.state is not None
        return self._after(stage, view.text, seen.state, seen.confidence, rows)

    def _after(
        self, stage: int, text: TextOutcomes, state: LookState, confidence: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        mode = self.head.card.feature_mode
        seen = seen_features(state, confidence, mode, rows)
        return self.head.after(stage, np.concatenate([features(text, mode, rows), seen], axis=1))
