"""A baseline at somebody else's cost: a mixture of its settings, or actions drawn at somebody else's rates."""

from collections.abc import Sequence

import numpy as np

from vovnet.metrics.frontier import Point, concave_hull


def mixture(points: Sequence[Point], cost: float) -> np.ndarray:
    """Weights [len(points)] of the settings whose random mixture is best at an average cost of at most ``cost``.

    Two neighbours on the concave hull, or its dearest corner where that costs less.

    Raises:
        ValueError: every setting costs more.
    """
    hull = concave_hull(points)
    if cost < hull.costs[0]:
        raise ValueError("no setting is that cheap")
    corners = [points.index((c, a)) for c, a in zip(hull.costs.tolist(), hull.accuracies.tolist(), strict=True)]
    weights = np.zeros(len(points))
    after = int(np.searchsorted(hull.costs, cost, side="right"))
    if after == len(corners):
        weights[corners[-1]] = 1.0
        return weights
    share = (cost - hull.costs[after - 1]) / (hull.costs[after] - hull.costs[after - 1])
    weights[corners[after - 1]], weights[corners[after]] = 1 - share, share
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
