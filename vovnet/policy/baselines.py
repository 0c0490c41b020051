"""Baselines that decide from the text pass, at random, or with knowledge of the outcomes."""

from dataclasses import dataclass

import numpy as np

from vovnet.actions import Action
from vovnet.decision import Decision
from vovnet.outcomes.rows import BranchOutcomes, Outcomes, TextOutcomes
from vovnet.policy.decide import choose
from vovnet.schema import Ratios

SPACE = tuple(Action)


@dataclass(frozen=True)
class UncertaintyPolicy:
    """Look where the text pass is uncertain (block B2)."""

    measure: str  # entropy (nats) or margin (p1 - p2)
    threshold: float
    vision: Action
    reads_text: bool = True
    reads_costs: bool = False

    @property
    def actions(self) -> tuple[Action, ...]:
        """NO and the one way of looking."""
        return (Action.NO, self.vision)

    def decide(self, text: TextOutcomes, costs: np.ndarray, rows: np.ndarray) -> Decision:
        """High entropy or a small margin looks; a threshold that is reached counts."""
        uncertain = text.entropy >= self.threshold if self.measure == "entropy" else text.margin <= self.threshold
        return Decision(np.where(uncertain, int(self.vision), int(Action.NO)).astype(np.int64))


@dataclass(frozen=True)
class RandomPolicy:
    """Actions drawn at given ratios, over all questions or by bucket of entropy (block B3).

    Attributes:
        ratios: one triple, or one per bucket.
        thresholds: entropies in nats between buckets, one fewer than ratios; None takes quantiles of the questions
            decided on, which must then be the whole split.
        matched_cost: average cost of the VoVNet run that the ratios are taken from; None where they were given.
    """

    ratios: tuple[Ratios, ...]
    thresholds: tuple[float, ...] | None
    seed: int
    matched_cost: float | None = None
    reads_costs: bool = False

    @property
    def actions(self) -> tuple[Action, ...]:
        """All three; a ratio of 0 never draws."""
        return SPACE

    @property
    def reads_text(self) -> bool:
        """Only where the bucket matters."""
        return len(self.ratios) > 1

    def decide(self, text: TextOutcomes, costs: np.ndarray, rows: np.ndarray) -> Decision:
        """A sample's draw depends on the seed and its place in the split alone: live equals replay."""
        upper = np.cumsum(self.probabilities(text, len(rows)), axis=1)
        return Decision((uniform(self.seed, rows)[:, None] >= upper[:, :-1]).sum(axis=1).astype(np.int64))

    def probabilities(self, text: TextOutcomes, size: int) -> np.ndarray:
        """Chance of each action, [N, 3]."""
        table = np.asarray(self.ratios, dtype=np.float64)
        table /= table.sum(axis=1, keepdims=True)
        if not self.reads_text:
            return np.repeat(table, size, axis=0)
        bounds = self.thresholds or np.quantile(text.entropy, np.arange(1, len(table)) / len(table))
        return np.asarray(table[np.searchsorted(bounds, text.entropy, side="right")])


def uniform(seed: int, rows: np.ndarray) -> np.ndarray:
    """One number in [0, 1) per row, a function of seed and row only (splitmix64 of Steele et al. 2014)."""
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):
        z = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)).astype(np.float64) / 2**53)


@dataclass(frozen=True)
class OraclePolicy:
    """Chooses with every branch's score in hand (block H1): exists in replay only."""

    actions: tuple[Action, ...]
    rule: str
    lambda_cost: float
    reads_text: bool = False

    def decide_knowing(self, outcomes: Outcomes, costs: np.ndarray) -> Decision:
        """cheapest_correct: the cheapest action whose score no action exceeds, so NO where all are wrong.

        utility: argmax of score - lambda * cost, the best any policy can do at this lambda.
        """
        scores = outcomes.stacked("score", self.actions)
        price = self.lambda_cost if self.rule == "utility" else 0.0
        columns = choose(scores, costs, price)
        return Decision(np.array([int(a) for a in self.actions])[columns], scores)


@dataclass(frozen=True)
class CascadePolicy:
    """COARSE first, then FULL where COARSE's answer is improbable; both passes are paid for."""

    threshold: float
    actions: tuple[Action, ...] = (Action.COARSE, Action.FULL)
    reads_text: bool = False
    reads_costs: bool = False

    def again(self, coarse: BranchOutcomes) -> np.ndarray:
        """Which samples look again, bool [N]."""
        return np.asarray(coarse.confidence < self.threshold)
