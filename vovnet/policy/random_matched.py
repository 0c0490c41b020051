"""Drawing actions at VoVNet's own ratios, over all questions or by bucket of entropy (block B3)."""

from typing import Any, Literal

import numpy as np
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from vovnet.actions import Action, own_name, usual_or
from vovnet.outcomes.rows import TextOutcomes, known
from vovnet.policy.protocol import SPLIT, TEXT, Context, Policy, Step, Target, Value, View
from vovnet.schema.policy import Ratios
from vovnet.schema.ranges import STRICT, NonNegative, Place, Seed

BUCKETS = 3  # of the policy that is matched by entropy


@dataclass(frozen=True, config=STRICT)
class RandomMatched(Policy):
    """The options; ``make`` resolves what is to be matched."""

    name: Literal["random_policy_matched"]
    seed: Seed
    target_ratios: Ratios | None  # NO, COARSE, FULL, or those of a menu's own looks; or take them from `match`
    match: Place | None  # results.csv or folder of a VoVNet run or sweep
    match_lambda: NonNegative | None  # its lambda; null where the file holds one row only
    buckets: bool  # match within three buckets of entropy; `match` must then be a single run's folder
    bucket_ratios: tuple[Ratios, Ratios, Ratios] | None
    bucket_thresholds: tuple[NonNegative, NonNegative] | None  # nats; null takes the terciles

    @model_validator(mode="after")
    def _one_target(self) -> "RandomMatched":
        targets = [self.target_ratios is not None, self.match is not None, self.bucket_ratios is not None]
        if sum(targets) > 1:
            raise ValueError("target_ratios, match and bucket_ratios exclude each other")
        for ratios in (self.target_ratios, *(self.bucket_ratios or ())):
            if ratios is not None and abs(sum(ratios) - 1) > 1e-3:
                raise ValueError(f"ratios {list(ratios)} must sum to 1")
        if self.bucket_thresholds and self.bucket_thresholds[0] > self.bucket_thresholds[1]:
            raise ValueError("bucket_thresholds must not fall")
        return self

    def menu(self, configured: tuple[Action, ...]) -> tuple[Action, ...]:
        """The configured one where it has looks of its own."""
        return usual_or(configured)

    def make(self, context: Context) -> "Draw":
        """The policy, its ratios resolved."""
        target = context.matched(self, context.config)
        return Draw(target, self.seed, by_entropy=self.buckets or self.bucket_ratios is not None)


class Draw(Policy):
    """Actions drawn at given ratios; a ratio of 0 never draws.

    Args:
        target: a ratio for each of its looks, or as many per bucket of entropy. Without thresholds the buckets are
            quantiles of the questions decided on, which must then be the whole split.
        by_entropy: whether the configuration speaks of buckets.
    """

    name = "random_policy_matched"

    def __init__(self, target: Target, seed: int, by_entropy: bool = False) -> None:
        self.target, self.seed, self.by_entropy = target, seed, by_entropy
        drawn = [place for place in range(len(target.looks)) if any(ratios[place] > 0 for ratios in target.ratios)]
        self.looks, self._drawn = tuple(target.looks[place] for place in drawn), drawn
        bucketed = len(target.ratios) > 1
        self.needs = frozenset({TEXT} if bucketed else ()) | frozenset({SPLIT} if target.thresholds is None else ())

    def step(self, view: View) -> Step:
        """A sample's draw depends on the seed and its place in the split alone: live equals replay."""
        upper = np.cumsum(self.probabilities(view.text, len(view)), axis=1)
        columns = (uniform(self.seed, view.rows)[:, None] >= upper[:, :-1]).sum(axis=1)
        return Step(np.array([int(look) for look in self.target.looks])[columns])

    def probabilities(self, text: TextOutcomes | None, size: int) -> np.ndarray:
        """Chance of each of the target's looks, [N, A]."""
        table = np.asarray(self.target.ratios, dtype=np.float64)
        table /= table.sum(axis=1, keepdims=True)
        if text is None:
            return np.repeat(table, size, axis=0)
        entropy = known(text.entropy, "entropy")
        bounds = self.target.thresholds or np.quantile(entropy, np.arange(1, len(table)) / len(table))
        return np.asarray(table[np.searchsorted(bounds, entropy, side="right")])

    def expectation(self, view: View, scores: np.ndarray, costs: np.ndarray) -> dict[str, Any]:
        """Accuracy, cost and action ratios on average over all draws, exactly.

        ``avg_cost_sd`` is the standard deviation of a draw's average cost, ``matched_cost`` the cost of the run that
        the ratios are taken from, None where they were given.
        """
        chance = self.probabilities(view.text, len(scores))
        drawn = chance[:, self._drawn]
        cost = (drawn * costs).sum(axis=1)
        spread = (drawn * (costs - cost[:, None]) ** 2).sum(axis=1)  # variance of each question's cost
        return {
            "accuracy": float((drawn * scores).sum(axis=1).mean()),
            "avg_cost": float(cost.mean()),
            "avg_cost_sd": float(np.sqrt(spread.sum()) / len(cost)),
            "action_ratio": chance.mean(axis=0).tolist(),
            "looks": [look.label for look in self.target.looks],
            "matched_cost": self.target.cost,
        }

    def columns(self) -> dict[str, Value]:
        """The seed of the draw, and what its buckets are cut by."""
        metric = "entropy" if self.by_entropy else None
        return {"seed": self.seed, "uncertainty_metric": metric, "looks": own_name(self.looks)}

    def only_replayed(self) -> str:
        """Names the key that makes a live run possible."""
        if SPLIT not in self.needs:
            return ""
        return (
            "the terciles of entropy are known when every question has been read; give policy.baseline."
            "bucket_thresholds (`python -m experiments.match` prints them), or run with eval.mode=replay."
        )


def uniform(seed: int, rows: np.ndarray) -> np.ndarray:
    """One number in [0, 1) per row, a function of seed and row only (splitmix64 of Steele et al. 2014)."""
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):
        z = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)).astype(np.float64) / 2**53)
