"""Baselines at somebody else's cost, against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.metrics.equal_cost import Settings, drawn, held_out, mixture

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


def noisy(rng: np.random.Generator, size: int, settings: int) -> Settings:
    """no_vision, right half of the time, and settings of one cost that are all right with a chance of 0.7."""
    scores = np.column_stack([rng.random(size) < 0.5, rng.random((size, settings)) < 0.7]).astype(float)
    return Settings(scores, np.tile([0.0, *[1.0] * settings], (size, 1)))


def test_a_method_gains_nothing_by_having_many_settings() -> None:
    """The best of twenty equal settings looks better on the questions that chose it, and is not on others."""
    rng, best, found = np.random.default_rng(0), [], []
    for _ in range(60):
        settings = noisy(rng, 200, 20)
        best.append(settings.scores.mean(axis=0).max())
        measured = held_out(settings, np.ones((200, 1)), np.arange(200), splits=3)
        found.append(measured.scores.mean())
    assert np.mean(best) > 0.75
    assert np.mean(found) == pytest.approx(0.7, abs=0.01)


@given(SEEDS, st.integers(1, 6), st.integers(2, 30))
def test_held_out_mixtures_keep_to_every_budget(seed: int, settings: int, images: int) -> None:
    """And spend all of it where any setting costs more; a dearer setting is never forced on anyone."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(images), 3))
    costs = np.tile([0.0, *(0.2 + rng.random(settings))], (len(groups), 1))
    scores = np.column_stack([np.zeros(len(groups)), 0.1 + rng.random((len(groups), settings))])
    budgets = np.outer(rng.random(len(groups)), np.array([0, 0.1, 0.2, 0.5, 1, 2]))
    found = held_out(Settings(scores, costs), budgets, groups)
    spent, allowed = found.costs.mean(axis=0), budgets.mean(axis=0)
    assert (spent <= allowed + 1e-9).all()
    assert (np.diff(spent) >= -1e-9).all()
    assert spent[:3] == pytest.approx(allowed[:3])
    assert spent.max() <= costs.max() + 1e-9


def test_other_images_choose_than_are_measured() -> None:
    """Two settings, each right on the images where the other is wrong: who chooses by the rest is always wrong."""
    scores = np.array([[0.0, 1, 0], [0, 0, 1]] * 4)
    costs = np.tile([0.0, 1, 1], (8, 1))
    groups = np.array([0, 1] * 4)
    found = held_out(Settings(scores, costs), np.ones((8, 1)), groups, splits=2)
    assert found.scores.max() == 0
    assert found.costs.min() == 1


def test_a_mixture_goes_on_towards_the_last_setting_where_one_is_named() -> None:
    scores, costs = np.tile([0.0, 0.9, 0.8], (8, 1)), np.tile([0.0, 0.5, 1.0], (8, 1))
    budgets = np.tile([0.25, 0.5, 0.75, 1.0], (8, 1))
    alone = held_out(Settings(scores, costs), budgets, np.arange(8))
    further = held_out(Settings(scores, costs), budgets, np.arange(8), last=2)
    assert alone.scores.mean(axis=0) == pytest.approx([0.45, 0.9, 0.9, 0.9])
    assert further.scores.mean(axis=0) == pytest.approx([0.45, 0.9, 0.85, 0.8])
    assert alone.costs.mean(axis=0) == pytest.approx([0.25, 0.5, 0.5, 0.5])


def test_one_image_cannot_choose_and_measure() -> None:
    with pytest.raises(ValueError, match="two groups"):
        held_out(Settings(np.ones((3, 1)), np.zeros((3, 1))), np.ones((3, 1)), np.zeros(3))
