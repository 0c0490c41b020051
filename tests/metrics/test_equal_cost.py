"""Baselines at somebody else's cost, against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.metrics.equal_cost import drawn, mixture

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 7))
def test_no_mixture_of_two_settings_is_better_at_that_cost(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(0.0, float(rng.random())), *((float(c), float(a)) for c, a in rng.random((count, 2)))]
    cost = float(rng.random())
    weights = mixture(points, cost)
    costs, accuracies = np.array(points).T
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert weights @ costs <= cost + 1e-12
    shares = np.linspace(0, 1, 51)
    reached = [
        s * a2 + (1 - s) * a1 for c1, a1 in points for c2, a2 in points for s in shares if s * c2 + (1 - s) * c1 <= cost
    ]
    assert weights @ accuracies >= max(reached) - 1e-9


def test_a_cost_that_no_setting_stays_within_is_refused() -> None:
    with pytest.raises(ValueError, match="that cheap"):
        mixture([(0.5, 1.0)], 0.2)


@given(SEEDS, st.integers(1, 3))
def test_drawn_actions_yield_what_many_draws_do(seed: int, buckets: int) -> None:
    rng = np.random.default_rng(seed)
    actions, branches = rng.integers(0, 3, 30), rng.random((30, 3))
    strata = rng.integers(0, buckets, 30)
    # Every order of a stratum's own actions is as likely: the mean over all ways to deal them out.
    wanted = [np.mean([branches[i, a] for a in actions[strata == strata[i]]]) for i in range(30)]
    assert np.allclose(drawn(actions, branches, strata), wanted)
