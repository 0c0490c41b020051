"""What an accuracy costs, read off a frontier with its intervals."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CostAtAccuracy:
    """The cost at which a frontier reaches an accuracy, with its 95 % interval.

    Attributes:
        cost: None where the frontier does not reach it.
        low, high: where the upper and the lower ends of the accuracies' intervals reach it; None likewise.
    """

    cost: float | None
    low: float | None
    high: float | None


def cost_at_accuracy(
    costs: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, asked: float
) -> CostAtAccuracy:
    """Invert a frontier: the costs that its accuracies' intervals do not exclude (Fieller 1954).

    Whoever may spend more need not, so the three curves are made to rise first (``rising``, which keeps their order).
    Therefore low <= cost <= high, and none of the three falls as ``asked`` rises.

    Args:
        costs: rising, [Q]. ``mean``, ``low``, ``high``: accuracies at them and the ends of their intervals, [Q].
    """
    return CostAtAccuracy(*(_reached(costs, rising(curve), asked) for curve in (mean, high, low)))


def rising(values: np.ndarray) -> np.ndarray:
    """The nearest non-decreasing curve in least squares, [Q]: isotonic regression by its max-min formula.

    Robertson, Wright and Dykstra (1988), theorem 1.4.4. It averages noise, where the running maximum would pick it,
    and keeps order: of two curves, one nowhere below the other, so are the results.
    """
    sums, places = np.concatenate([[0.0], np.cumsum(values)]), np.arange(len(values))
    length = places[None, :] + 1 - places[:, None]  # of the stretch from i to k
    means = np.where(length > 0, (sums[1:][None, :] - sums[:-1][:, None]) / np.maximum(length, 1), np.inf)
    lowest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]  # over k >= j
    found: np.ndarray = np.where(length > 0, lowest, -np.inf).max(axis=0)
    return np.maximum.accumulate(found)  # against rounding


def _reached(costs: np.ndarray, curve: np.ndarray, asked: float) -> float | None:
    """The least cost at which a non-decreasing curve reaches an accuracy."""
    after = int(np.searchsorted(curve, asked))
    if after == len(curve):
        return None
    if after == 0:
        return float(costs[0])
    share = (asked - curve[after - 1]) / (curve[after] - curve[after - 1])
    return float(costs[after - 1] + share * (costs[after] - costs[after - 1]))
