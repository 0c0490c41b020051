"""The cost of an accuracy: monotone by construction, and right where the frontier is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from vovnet.metrics.curves import cost_at_accuracy, rising

CURVE = st.lists(st.floats(0, 1), min_size=1, max_size=25)
NUMBERS = st.integers(0, 2**32 - 1)


@given(CURVE)
def test_the_rising_curve_is_isotonic_regressions(values: list[float]) -> None:
    found = rising(np.array(values))
    assert found == pytest.approx(IsotonicRegression().fit_transform(np.arange(len(values)), values), abs=1e-9)
    assert (np.diff(found) >= 0).all()


@given(NUMBERS, st.integers(1, 25))
def test_neither_cost_nor_interval_falls_as_accuracy_rises(number: int, count: int) -> None:
    """However the frontier wiggles; what is never reached counts as more than any cost."""
    rng = np.random.default_rng(number)
    costs, mean = np.sort(rng.random(count)), rng.random(count)
    low, high = mean - rng.random(count), mean + rng.random(count)
    found = [cost_at_accuracy(costs, mean, low, high, asked) for asked in np.linspace(-1, 2, 40)]
    for name in ("cost", "low", "high"):
        curve = [np.inf if (value := getattr(one, name)) is None else value for one in found]
        assert curve == sorted(curve)
    for one in found:
        ends = [np.inf if end is None else end for end in (one.low, one.cost, one.high)]
        assert ends == sorted(ends)


def test_a_known_frontier_is_inverted() -> None:
    costs, line = np.linspace(0, 1, 11), np.linspace(0.5, 0.9, 11)
    found = cost_at_accuracy(costs, line, line - 0.1, line + 0.1, 0.78)
    assert (found.cost, found.low, found.high) == (pytest.approx(0.7), pytest.approx(0.45), pytest.approx(0.95))
    beyond = cost_at_accuracy(costs, line, line - 0.1, line + 0.1, 0.95)
    assert (beyond.cost, beyond.low, beyond.high) == (None, pytest.approx(0.875), None)
    assert cost_at_accuracy(costs, line, line, line, 0.1).cost == 0


def test_a_lucky_point_is_averaged_with_its_unlucky_neighbour() -> None:
    costs, wiggle = np.linspace(0, 1, 5), np.array([0.0, 0.8, 0.6, 0.8, 1.0])  # rises as 0, 0.7, 0.7, 0.8, 1
    assert cost_at_accuracy(costs, wiggle, wiggle, wiggle, 0.75).cost == pytest.approx(0.625)
    assert cost_at_accuracy(costs, wiggle, wiggle, wiggle, 0.7).cost == pytest.approx(0.25)
