"""A lambda for a budget: calibrated on questions that the policy was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal

import numpy as np

from vovnet.errors import VoVNetError
from vovnet.metrics.inference import paired_bootstrap
from vovnet.policy.decide import Choices, Plans, split_outputs
from vovnet.results.row import clustered_interval
from vovnet.schema.ranges import DIGITS

CANDIDATES = 2_000  # lambdas that are tried at most


@dataclass(frozen=True)
class HeldOut:
    """Questions to calibrate on; values, scores and costs [N, A] in the policy's action space.

    Attributes:
        name: of the data set, or ``all``.
        groups: questions about one image, [N].
        outputs: of the stages of a policy that looks again, each [N, outputs]; empty for one that looks once.
    """

    name: str
    values: np.ndarray
    scores: np.ndarray
    costs: np.ndarray
    groups: np.ndarray
    outputs: tuple[np.ndarray, ...] = ()

    def decisions(self) -> Callable[[float], tuple[np.ndarray, np.ndarray]]:
        """Gives the action [N] and the cost [N] at a lambda."""
        if self.outputs:
            return Plans(self.outputs, self.costs).at
        rows, choices = np.arange(len(self.values)), Choices(self.values, self.costs)

        def at(price: float) -> tuple[np.ndarray, np.ndarray]:
            columns = choices.at(price)
            return columns, self.costs[rows, columns]

        return at

    def prices(self) -> np.ndarray:
        """Lambdas at which some decision changes; those of a policy that looks again are among others."""
        found = [candidates(self.values, self.costs)]
        for stage, outputs in enumerate(self.outputs[1:], start=1):
            estimates, _ = split_outputs(outputs, self.costs.shape[1], stage)
            found.append(candidates(estimates, self.costs[:, stage:] * (np.arange(estimates.shape[1]) > 0)))
        return _thinned(np.unique(np.concatenate(found)))


@dataclass(frozen=True)
class Calibrated:
    """A lambda and what it gave on the held-out questions, with 95 % intervals clustered by image.

    The intervals are those of a fixed lambda; choosing it on the same questions makes them a little too narrow. The
    accuracy's is that of results.csv, the cost's a bootstrap's; few images have none.
    """

    dataset: str
    num_samples: int
    lambda_cost: float
    accuracy: float
    accuracy_ci_low: float
    accuracy_ci_high: float
    avg_cost: float
    avg_cost_ci_low: float | None
    avg_cost_ci_high: float | None
    full_accuracy: float
    full_cost: float


def candidates(values: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Lambdas at which some decision changes, thinned to ``CANDIDATES`` by rank; 0 is among them."""
    found = [np.zeros(1)]
    for expensive in range(1, values.shape[1]):
        for cheap in range(expensive):
            price = costs[:, expensive] - costs[:, cheap]
            gain = values[:, expensive] - values[:, cheap]
            # Both below 0 where the second action costs less, see ``Choices``.
            moves = ((price > 0) & (gain > 0)) | ((price < 0) & (gain < 0))
            found.append(gain[moves] / price[moves])
    distinct = np.unique(np.concatenate(found))
    # A decision falls to the cheaper action at its breakpoint, rounding or not: step just past it.
    distinct[1:] = np.nextafter(distinct[1:], np.inf)
    return np.unique([_configurable(price) for price in _thinned(distinct).tolist()])


def _thinned(distinct: np.ndarray) -> np.ndarray:
    if len(distinct) <= CANDIDATES:
        return distinct
    kept: np.ndarray = distinct[np.linspace(0, len(distinct) - 1, CANDIDATES).astype(int)]
    return kept


def _configurable(price: float) -> float:
    """The smallest number from ``price`` on that a configuration holds as it is."""
    exact = Decimal(price)
    digits = Context(prec=DIGITS, rounding=ROUND_CEILING)
    return float(digits.plus(exact))


def calibrate(held_out: HeldOut, cost: float | None, accuracy_kept: float | None) -> Calibrated:
    """The smallest lambda whose average cost is at most ``cost``, or the largest one that keeps this share of
    the accuracy of always looking in FULL, which is pruned where ``policy.full_pruning_ratio`` says so.

    Args:
        cost: average normalised cost. ``accuracy_kept``: in (0, 1]. Exactly one of them is given.

    Raises:
        VoVNetError: no lambda reaches it.
    """
    full = float(held_out.scores[:, -1].mean())
    tried, decide = held_out.prices(), held_out.decisions()
    rows = np.arange(len(held_out.values))
    reached, nearest = None, None  # what the tried lambdas come closest with
    for price in tried if cost is not None else tried[::-1]:
        columns, paid = decide(float(price))
        won = held_out.scores[rows, columns]
        seen = float(paid.mean() if cost is not None else won.mean())
        nearest = seen if nearest is None else (min if cost is not None else max)(nearest, seen)
        enough = paid.mean() <= cost if cost is not None else won.mean() >= (accuracy_kept or 0.0) * full
        if enough:
            reached = float(price), paid, won
            break
    if reached is None:
        asked = f"calibrate.cost={cost}" if cost is not None else f"calibrate.accuracy_kept={accuracy_kept}"
        best = f"a cost of {nearest:.4g}" if cost is not None else f"{nearest:.4g} against FULL's {full:.4g}"
        raise VoVNetError(
            f"{held_out.name}: no lambda reaches {asked} on {len(rows)} held-out questions (at best {best}); "
            "relax it, or train the policy on more questions of this set."
        )
    price, paid, won = reached
    low, high = clustered_interval(won, held_out.groups)
    spent = paired_bootstrap(paid, np.zeros(len(rows)), held_out.groups, resamples=2_000)
    return Calibrated(
        held_out.name, len(rows), price, float(won.mean()), low, high, spent.mean, spent.low, spent.high,
        full, float(held_out.costs[:, -1].mean()),
    )  # fmt: skip


def per_dataset(everything: HeldOut, names: Sequence[str]) -> list[HeldOut]:
    """The same questions by data set, where there are several."""
    member = np.asarray(names)
    distinct = sorted(set(names))
    if len(distinct) < 2:
        return []
    columns = ("values", "scores", "costs", "groups")
    found = []
    for name in distinct:
        own = member == name
        part = replace(everything, name=name, **{column: getattr(everything, column)[own] for column in columns})
        found.append(replace(part, outputs=tuple(table[own] for table in everything.outputs)))
    return found
