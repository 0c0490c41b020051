"""The decision rule: argmax over actions of value minus lambda times normalised cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class Choices:
    """The decisions of fixed values and costs at any lambda; what does not depend on lambda is done once.

    Args:
        values: estimated score of each action, [N, A], actions from cheap to dear.
        costs: normalised cost of each action, [N, A]. Where FULL is pruned, a small image may cost less under it than
            under COARSE; its actions are taken in the order of what they cost.

    Raises:
        ValueError: something is not finite.

    Written as pairwise comparisons ``v_a - v_b > lambda * (c_a - c_b)``, each of which can only turn
    from true to false as lambda grows, rounding included. So no sample's cost ever rises with lambda,
    whatever the values; a plain argmax of differences guarantees that only in exact arithmetic.
    """

    def __init__(self, values: np.ndarray, costs: np.ndarray) -> None:
        values, costs = np.asarray(values, dtype=np.float64), np.asarray(costs, dtype=np.float64)
        if not (np.isfinite(values).all() and np.isfinite(costs).all()):
            raise ValueError("values and costs must be finite")
        self._order: np.ndarray | None = None
        if (np.diff(costs, axis=1) < 0).any():
            self._order = np.argsort(costs, axis=1, kind="stable")  # of equal ones the action that looks less
            values, costs = (np.take_along_axis(table, self._order, axis=1) for table in (values, costs))
        self._size = len(values)
        self._pairs = [  # of each action but the cheapest: gain and price against every cheaper one, each [N]
            [(values[:, dear] - values[:, cheap], costs[:, dear] - costs[:, cheap]) for cheap in range(dear)]
            for dear in range(1, values.shape[1])
        ]

    def at(self, lambda_cost: float) -> np.ndarray:
        """Chosen columns, int64 [N], ties to the cheaper.

        Raises:
            ValueError: lambda is below 0.
        """
        if not lambda_cost >= 0:
            raise ValueError("lambda must be at least 0")
        chosen = np.zeros(self._size, dtype=np.int64)
        for dear, pairs in enumerate(self._pairs, start=1):
            wins = np.ones(self._size, dtype=bool)
            for gain, price in pairs:
                wins &= gain > lambda_cost * price
            chosen[wins] = dear
        return chosen if self._order is None else self._order[np.arange(self._size), chosen]


def choose(values: np.ndarray, costs: np.ndarray, lambda_cost: float) -> np.ndarray:
    """Column of the action with the highest ``values - lambda_cost * costs``, ties to the cheaper; see ``Choices``."""
    return Choices(values, costs).at(lambda_cost)


@dataclass(frozen=True)
class LambdaCurve:
    """What a policy pays and gets at each lambda; all [L] but ``rates`` [L, A], the share of each action."""

    lambdas: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray
    rates: np.ndarray


def lambda_curve(values: np.ndarray, costs: np.ndarray, scores: np.ndarray, lambdas: Sequence[float]) -> LambdaCurve:
    """A whole sweep of lambda on stored outcomes, [N, A] each: the averages that as many evaluations would find."""
    choices, rows, actions = Choices(values, costs), np.arange(len(values)), values.shape[1]
    points = []
    for price in lambdas:
        columns = choices.at(price)
        rates = np.bincount(columns, minlength=actions) / len(rows)
        points.append((scores[rows, columns].mean(), costs[rows, columns].mean(), *rates))
    table = np.array(points).reshape(len(points), 2 + actions)
    return LambdaCurve(np.asarray(lambdas), table[:, 0], table[:, 1], table[:, 2:])
