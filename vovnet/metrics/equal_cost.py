"""A method at somebody else's cost: a mixture of its settings that other questions chose, or actions drawn at rates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.metrics.curves import Point, concave_hull

SPLITS = 10  # ways to halve the images, averaged over


@dataclass(frozen=True)
class Settings:
    """Scores and costs of N questions under M settings of a method, both [N, M]."""

    scores: np.ndarray
    costs: np.ndarray

    def joined(self, other: "Settings") -> "Settings":
        """These settings and others."""
        return Settings(np.hstack([self.scores, other.scores]), np.hstack([self.costs, other.costs]))


def corners(points: Sequence[Point]) -> list[int]:
    """Places of the settings on the concave hull, by rising cost."""
    hull = concave_hull(points)
    return [points.index((c, a)) for c, a in zip(hull.costs.tolist(), hull.accuracies.tolist(), strict=True)]


def mixture(points: Sequence[Point], cost: float) -> np.ndarray:
    """Weights [len(points)] of the settings whose random mixture is best at an average cost of at most ``cost``.

    Two neighbours on the concave hull, or its most expensive corner where that costs less.

    Raises:
        ValueError: every setting costs more.
    """
    chosen = corners(points)
    weights = np.zeros(len(points))
    weights[chosen] = _weights(np.array([points[place][0] for place in chosen]), np.array([cost]))[0]
    return weights


def held_out(
    settings: Settings, budgets: np.ndarray, groups: np.ndarray, last: int | None = None, splits: int = SPLITS
) -> Settings:
    """What the best mixture of settings yields, at Q budgets, on questions that did not choose it, [N, Q].

    Cross-fitting: the corners of the concave hull are those of one half of the groups, the mixture of two neighbours
    among them is measured on the other half, at the budgets' cost there, and the other way round; the mean over
    ``splits`` ways to halve. Costs need no answer key, so that a budget is met exactly. Above the last corner a mixture
    stays there. No setting is thus chosen by the scores that it is judged by, which would favour the method
    with most settings; half of the questions choose a little worse than all of them would.

    Args:
        settings: M of them; the first must fit every budget, as no_vision does.
        budgets: whose average over a half may be spent there, [N, Q].
        groups: what questions hang together by, [N]; two at least.
        last: a setting towards which mixtures go on above the most expensive corner, where it is more expensive yet.

    Raises:
        ValueError: there is one group only, or the first setting costs more than a budget.
    """
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    if count < 2:
        raise ValueError("questions that choose and questions that measure need two groups")
    rng = np.random.default_rng(0)
    found = Settings(np.zeros(budgets.shape), np.zeros(budgets.shape))
    for _ in range(splits):
        half = rng.permutation(count)[place] < count // 2
        for choosing, measured in ((half, ~half), (~half, half)):
            chosen = _path(settings.costs[choosing].mean(axis=0), settings.scores[choosing].mean(axis=0), last)
            costs = settings.costs[measured].mean(axis=0)
            chosen = chosen[np.argsort(costs[chosen], kind="stable")]
            weights = _weights(costs[chosen], budgets[measured].mean(axis=0)).T
            found.scores[measured] += settings.scores[measured][:, chosen] @ weights / splits
            found.costs[measured] += settings.costs[measured][:, chosen] @ weights / splits
    return found


def _path(costs: np.ndarray, scores: np.ndarray, last: int | None) -> np.ndarray:
    """Settings that are worth mixing: the first, the corners of the hull, and the last."""
    chosen = corners(list(zip(costs.tolist(), scores.tolist(), strict=True)))
    end = [] if last is None or costs[last] <= costs[chosen[-1]] else [last]
    return np.array(list(dict.fromkeys([0, *chosen, *end])))


def _weights(costs: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Shares of settings of rising cost whose mixture costs each budget, or of the most expensive, [Q, C]."""
    if (budgets < costs[0] - 1e-12).any():
        raise ValueError("no setting is that cheap")
    below = np.searchsorted(costs, budgets, side="right").clip(1) - 1
    above = np.minimum(below + 1, len(costs) - 1)
    share = np.zeros(len(budgets))
    np.divide(budgets - costs[below], costs[above] - costs[below], out=share, where=above > below)
    weights, rows = np.zeros((len(budgets), len(costs))), np.arange(len(budgets))
    weights[rows, below] += 1 - share
    weights[rows, above] += share
    return weights


def drawn(actions: np.ndarray, branches: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """What each sample yields on average when its action is drawn at the rates of ``actions`` in its stratum, [N].

    Args:
        actions: chosen actions [N]. ``branches``: scores or costs [N, A] of every action. ``strata``: labels [N];
            all alike for one set of rates.
    """
    expected = np.empty(len(actions))
    for stratum in np.unique(strata):
        members = strata == stratum
        rates = np.bincount(actions[members], minlength=branches.shape[1]) / members.sum()
        expected[members] = branches[members] @ rates
    return expected
