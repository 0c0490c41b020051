"""VoVNet that may look again: NO, COARSE or FULL after the text pass; after COARSE its answer, or FULL as well."""

import numpy as np

from vovnet.outcomes.rows import LookState, Outcomes, TextOutcomes
from vovnet.policy.features import features, seen_features
from vovnet.policy.plan import best_plan, split_outputs
from vovnet.policy.protocol import COSTS, STATE, TEXT, Step, View
from vovnet.policy.vovnet import ValueHead, VoVNet


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
