"""Frontiers of accuracy over cost: recovery, cost at an accuracy, gap to the oracle, regret."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Geometry of the accuracy-against-cost plane: hulls, AIQ, hypervolume.
#
# A policy is a set of points (average cost, accuracy). Whoever has two policies can toss a coin between them for
# every question, so what a set can reach is its upper concave hull; and whoever may spend more need not, so the
# hull never falls.

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


def aiq(points: Sequence[Point], cheapest: Point, highest_cost: float) -> float:
    """Average improvement in quality: the hull's mean height over the range from NO's to FULL's cost.

    RouterBench's definition, but over one fixed range for all policies; its code integrates from each hull's own
    first point. Not looking is open to everyone, so ``cheapest`` (no_vision) is a point of every policy.

    Args:
        cheapest: cost and accuracy of no_vision. ``highest_cost``: of always_full; higher than that.
    """
    low = cheapest[0]
    if not highest_cost > low:
        raise ValueError("always_full must cost more than no_vision")
    hull = concave_hull([*(p for p in points if p[0] <= highest_cost), cheapest])
    places = np.unique(np.concatenate([[low, highest_cost], hull.costs]))
    places = places[(places >= low) & (places <= highest_cost)]
    return float(np.trapezoid(hull.at(places), places) / (highest_cost - low))


def hypervolume(points: Sequence[Point], cheapest: Point, highest_cost: float) -> float:
    """Area under the staircase of the points, no_vision among them, as a mean height over the same range.

    Zitzler and Thiele (1998) with the reference (always_full's cost, accuracy 0). AIQ without mixing of policies.
    """
    front = [p for p in pareto_front([*points, cheapest]) if p[0] <= highest_cost]
    steps = np.array([max(cost, cheapest[0]) for cost, _ in front] + [highest_cost])
    heights = np.array([accuracy for _, accuracy in front])
    return float((heights * np.diff(steps)).sum() / (highest_cost - cheapest[0]))


# How much of the gap between never and always looking a share of the cost recovers.
#
# RouteLLM (Ong et al. 2024, section 4.2 and ``evals/evaluate.py``) with `concave_hull` as the curve.

KEPT = (0.5, 0.8, 0.95)  # shares of the gap that CPT is asked for


@dataclass(frozen=True)
class Recovery:
    """Performance gap recovered over the share of cost between no_vision and always_full.

    Attributes:
        gap: always_full's accuracy less no_vision's; everything here is divided by it, so a small one says little.
        apgr: mean of the recovered share over all shares of cost.
        cpt: the smallest share of cost at which ``KEPT`` of the gap is recovered; None where it never is.
    """

    gap: float
    apgr: float
    cpt: tuple[float | None, ...]


def recovery(points: Sequence[Point], no_vision: Point, always_full: Point) -> Recovery | None:
    """PGR, APGR and CPT of a policy's points; None where always_full is no better than no_vision."""
    gap, span = always_full[1] - no_vision[1], always_full[0] - no_vision[0]
    if gap <= 0 or span <= 0:
        return None
    hull = concave_hull([*points, no_vision])
    apgr = (aiq(points, no_vision, always_full[0]) - no_vision[1]) / gap
    return Recovery(gap, apgr, tuple(_share(hull.costs, hull.accuracies, no_vision, gap, span, x) for x in KEPT))


def _share(
    costs: np.ndarray, accuracies: np.ndarray, no_vision: Point, gap: float, span: float, kept: float
) -> float | None:
    wanted = no_vision[1] + kept * gap
    if accuracies[-1] < wanted:
        return None
    return max(0.0, (float(np.interp(wanted, accuracies, costs)) - no_vision[0]) / span)


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


def budgeted_oracle(scores: np.ndarray, costs: np.ndarray) -> Hull:
    """The best accuracy at every average cost when each branch's score is known.

    The frontier of argmax_a q_a - lambda c_a over all lambda at once: each sample climbs the corners of its own
    concave hull, and money goes first where it buys most (the fractional knapsack; Dantzig 1957).

    Args:
        scores, costs: [N, A], actions from cheap to expensive.
    """
    rows = np.arange(len(scores))
    # The cheapest way to answer; among equals the best.
    at = np.lexsort((-scores, costs), axis=1)[:, 0]
    spent, won = costs[rows, at].astype(np.float64), scores[rows, at].astype(np.float64)
    steps_cost, steps_gain = [], []
    start = float(spent.mean()), float(won.mean())
    for _ in range(scores.shape[1] - 1):
        more, gain = costs - spent[:, None], scores - won[:, None]
        slope = np.full(scores.shape, -np.inf)
        np.divide(gain, more, out=slope, where=(more > 0) & (gain > 0))
        best = slope.argmax(axis=1)
        # Of equally steep corners the farthest, so that a step is never split.
        best = np.where(slope == slope[rows, best][:, None], more, -np.inf).argmax(axis=1)
        climbs = slope[rows, best] > -np.inf
        if not climbs.any():
            break
        steps_cost.append(np.where(climbs, more[rows, best], 0.0))
        steps_gain.append(np.where(climbs, gain[rows, best], 0.0))
        spent, won = spent + steps_cost[-1], won + steps_gain[-1]
    if not steps_cost:
        return Hull(np.array([start[0]]), np.array([start[1]]))
    more, gain = np.concatenate(steps_cost), np.concatenate(steps_gain)
    used = gain > 0
    more, gain = more[used], gain[used]
    order = np.argsort(-gain / more, kind="stable")
    path_cost = start[0] + np.concatenate([[0.0], np.cumsum(more[order])]) / len(scores)
    path_score = start[1] + np.concatenate([[0.0], np.cumsum(gain[order])]) / len(scores)
    return Hull(path_cost, path_score)


def random_score(rates: np.ndarray, scores: np.ndarray) -> float:
    """Expected accuracy when actions are drawn with these rates [A] without looking at the sample; no drawing."""
    return float(rates @ scores.mean(axis=0, dtype=np.float64))


def gap_closed(accuracy: float, cost: float, rates: np.ndarray, scores: np.ndarray, costs: np.ndarray) -> float | None:
    """(Q - Q_random) / (Q_oracle - Q_random) at the policy's own cost.

    Q_random draws actions at the policy's rates, Q_oracle is the budgeted oracle at ``cost``. None where the oracle
    gains nothing over chance. Label noise inflates the oracle, so 1 is out of reach.
    """
    chance = random_score(rates, scores)
    best = float(np.nan_to_num(budgeted_oracle(scores, costs).at(cost), nan=chance))
    return (accuracy - chance) / (best - chance) if best - chance > 1e-9 else None


def mean_gap_closed(policy: Hull, mixing: Hull, oracle: Hull, points: int = 101) -> float | None:
    """The same, averaged over costs between the cheapest and the most expensive fixed policy.

    Args:
        mixing: hull of the fixed policies, which random mixing reaches.
    """
    grid = np.linspace(mixing.costs[0], mixing.costs[-1], points)
    low, high, own = mixing.at(grid), oracle.at(grid), policy.at(grid)
    known = (high - low > 1e-9) & ~np.isnan(own)
    return float(((own - low)[known] / (high - low)[known]).mean()) if known.any() else None


def utility_regret(scores: np.ndarray, costs: np.ndarray, columns: np.ndarray, lambda_cost: float) -> float:
    """mean max_a(q_a - lambda c_a) - mean(q - lambda c of the chosen action); the objective itself, at least 0.

    Args:
        scores, costs: [N, A]; costs normalised.
        columns: chosen actions, [N].
    """
    utility = scores.astype(np.float64) - lambda_cost * costs
    return float((utility.max(axis=1) - utility[np.arange(len(columns)), columns]).mean())
