"""Geometry of the accuracy-against-cost plane: hulls, AIQ, hypervolume.

A policy is a set of points (average cost, accuracy). Whoever has two policies can toss a coin between them for
every question, so what a set can reach is its upper concave hull; and whoever may spend more need not, so the
hull never falls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]  # average cost, accuracy


def upper_hull(points: Sequence[Point]) -> list[Point]:
    """Upper concave hull of (cost, accuracy) points sorted by cost: what random mixing can reach."""
    hull: list[Point] = []
    for x, y in points:
        while len(hull) > 1:
            (x1, y1), (x2, y2) = hull[-2:]
            if (y2 - y1) * (x - x1) > (y - y1) * (x2 - x1):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats, by rising cost: none is cheaper and as accurate, or as cheap and better."""
    front: list[Point] = []
    for cost, accuracy in sorted(set(points), key=lambda p: (p[0], -p[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


@dataclass(frozen=True)
class Hull:
    """The non-decreasing concave hull of some points.

    Attributes:
        costs, accuracies: its corners, both strictly rising (one corner at least).
    """

    costs: np.ndarray
    accuracies: np.ndarray

    def at(self, cost: float | np.ndarray) -> np.ndarray:
        """Best accuracy at an average cost of at most this much; NaN below the cheapest point."""
        found: np.ndarray = np.interp(cost, self.costs, self.accuracies, left=np.nan)
        return found


def concave_hull(points: Sequence[Point]) -> Hull:
    """The non-decreasing concave hull (RouterBench, Hu et al. 2024, section 3.2).

    Raises:
        ValueError: there are no points.
    """
    if not points:
        raise ValueError("a hull needs at least one point")
    corners = np.array(upper_hull(pareto_front(points)))
    return Hull(corners[:, 0], corners[:, 1])


def aiq(points: Sequence[Point], cheapest: Point, dearest_cost: float) -> float:
    """Average improvement in quality: the hull's mean height over the range from NO's to FULL's cost.

    RouterBench's definition, but over one fixed range for all policies; its code integrates from each hull's own
    first point. Not looking is open to everyone, so ``cheapest`` (no_vision) is a point of every policy.

    Args:
        cheapest: cost and accuracy of no_vision. ``dearest_cost``: of always_full; higher than that.
    """
    low = cheapest[0]
    if not dearest_cost > low:
        raise ValueError("always_full must cost more than no_vision")
    hull = concave_hull([*(p for p in points if p[0] <= dearest_cost), cheapest])
    places = np.unique(np.concatenate([[low, dearest_cost], hull.costs]))
    places = places[(places >= low) & (places <= dearest_cost)]
    return float(np.trapezoid(hull.at(places), places) / (dearest_cost - low))


def hypervolume(points: Sequence[Point], cheapest: Point, dearest_cost: float) -> float:
    """Area under the staircase of the points, no_vision among them, as a mean height over the same range.

    Zitzler and Thiele (1998) with the reference (always_full's cost, accuracy 0). AIQ without mixing of policies.
    """
    front = [p for p in pareto_front([*points, cheapest]) if p[0] <= dearest_cost]
    steps = np.array([max(cost, cheapest[0]) for cost, _ in front] + [dearest_cost])
    heights = np.array([accuracy for _, accuracy in front])
    return float((heights * np.diff(steps)).sum() / (dearest_cost - cheapest[0]))
