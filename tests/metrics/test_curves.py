"""Hulls, AIQ, recovery and the oracle against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.metrics.curves import (
    aiq,
    budgeted_oracle,
    concave_hull,
    gap_closed,
    hypervolume,
    mean_gap_closed,
    pareto_front,
    random_score,
    recovery,
    utility_regret,
)
from vovnet.policy.decide import choose

SEEDS = st.integers(0, 2**32 - 1)
NO, FULL = (0.0, 0.3), (1.0, 0.9)


def some_points(seed: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return [(float(c), float(q)) for c, q in rng.random((rng.integers(1, 9), 2)).round(2)]


def best_mixture(points: list[tuple[float, float]], cost: float) -> float:
    """Best accuracy of any coin between two points at this cost or less."""
    best = max((q for c, q in points if c <= cost), default=np.nan)
    for c1, q1 in points:
        for c2, q2 in points:
            if c1 < cost < c2:
                best = np.nanmax([best, q1 + (q2 - q1) * (cost - c1) / (c2 - c1)])
    return float(best)


@given(SEEDS)
def test_the_hull_is_the_best_mixture_of_two_points(seed: int) -> None:
    points = some_points(seed)
    hull = concave_hull(points)
    assert (np.diff(hull.costs) > 0).all()
    assert (np.diff(hull.accuracies) > 0).all()
    for cost in np.linspace(0, 1.1, 23):
        assert hull.at(cost) == pytest.approx(best_mixture(points, cost), nan_ok=True)


@given(SEEDS)
def test_no_point_of_the_front_is_dominated_and_all_others_are(seed: int) -> None:
    points = some_points(seed)
    front = set(pareto_front(points))
    for p in points:
        beaten = any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)
        assert (p not in front) == beaten


@given(SEEDS)
def test_aiq_and_hypervolume_are_areas(seed: int) -> None:
    points = [p for p in some_points(seed) if p[1] >= NO[1]]
    grid = np.linspace(0, 1, 4001)
    hull = np.array([best_mixture([*points, NO], c) for c in grid[::20]])
    assert aiq(points, NO, 1.0) == pytest.approx(np.trapezoid(hull, grid[::20]), abs=2e-3)
    stairs = np.array([max(q for c, q in [*points, NO] if c <= x) for x in grid])
    assert hypervolume(points, NO, 1.0) == pytest.approx(stairs.mean(), abs=2e-3)
    assert hypervolume(points, NO, 1.0) <= aiq(points, NO, 1.0) + 1e-12


def test_aiq_of_the_fixed_policies_alone() -> None:
    assert aiq([NO, FULL], NO, 1.0) == pytest.approx(0.6)  # a straight line from 0.3 to 0.9
    assert aiq([NO, (0.1, 0.9), FULL], NO, 1.0) == pytest.approx(0.1 * 0.6 + 0.9 * 0.9)
    assert aiq([(2.0, 1.0)], NO, 1.0) == pytest.approx(0.3)  # what costs more than FULL counts for nothing
    with pytest.raises(ValueError, match="must cost more"):
        aiq([NO], NO, 0.0)
    with pytest.raises(ValueError, match="at least one point"):
        concave_hull([])


def test_recovery_of_a_straight_line_is_the_share_of_cost() -> None:
    found = recovery([NO, FULL], NO, FULL)
    assert found is not None
    assert found.gap == pytest.approx(0.6)
    assert found.apgr == pytest.approx(0.5)
    assert found.cpt == pytest.approx((0.5, 0.8, 0.95))
    early = recovery([NO, (0.2, 0.9), FULL], NO, FULL)
    assert early is not None
    assert early.cpt == pytest.approx((0.1, 0.16, 0.19))
    assert recovery([(0.2, 0.7)], NO, FULL).cpt[1:] == (None, None)  # type: ignore[union-attr]
    assert recovery([NO], (0.0, 0.9), FULL) is None


def outcomes(seed: int, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.choice([0.0, 0.3, 0.6, 1.0], size=(size, 3))
    costs = np.cumsum(rng.integers(0, 4, (size, 3)) / 10 * np.array([0, 1, 2]), axis=1)
    return scores, costs


@given(SEEDS, st.floats(0, 8))
def test_the_budgeted_oracle_meets_the_best_choice_at_every_lambda(seed: int, price: float) -> None:
    scores, costs = outcomes(seed)
    oracle = budgeted_oracle(scores, costs)
    columns = choose(scores, costs, price)
    rows = np.arange(len(scores))
    cost, score = costs[rows, columns].mean(), scores[rows, columns].mean()
    assert oracle.at(cost) == pytest.approx(score)
    assert (np.diff(oracle.costs) > 0).all()
    slopes = np.diff(oracle.accuracies) / np.diff(oracle.costs)
    assert (np.diff(slopes) < 1e-6 * np.abs(slopes[1:]).clip(1)).all()  # concave
    assert oracle.accuracies[-1] == pytest.approx(scores.max(axis=1).mean())


@given(SEEDS)
def test_nothing_beats_the_oracle_at_its_cost(seed: int) -> None:
    scores, costs = outcomes(seed)
    rng = np.random.default_rng(seed + 1)
    columns = rng.integers(0, 3, len(scores))
    rows = np.arange(len(scores))
    cost, score = float(costs[rows, columns].mean()), float(scores[rows, columns].mean())
    assert budgeted_oracle(scores, costs).at(cost) >= score - 1e-9
    rates = np.bincount(columns, minlength=3) / len(columns)
    assert random_score(rates, scores) == pytest.approx(float((rates * scores.mean(axis=0)).sum()))
    closed = gap_closed(score, cost, rates, scores, costs)
    assert closed is None or closed <= 1 + 1e-9
    assert utility_regret(scores, costs, columns, 0.4) >= 0
    assert utility_regret(scores, costs, choose(scores, costs, 0.4), 0.4) == pytest.approx(0)


def test_the_oracle_closes_its_own_gap_and_mixing_none() -> None:
    scores, costs = outcomes(3, 200)
    fixed = [(float(costs[:, a].mean()), float(scores[:, a].mean())) for a in range(3)]
    mixing, oracle = concave_hull(fixed), budgeted_oracle(scores, costs)
    assert mean_gap_closed(oracle, mixing, oracle) == pytest.approx(1)
    assert mean_gap_closed(mixing, mixing, oracle) == pytest.approx(0)
