"""Differences over seeds and images: intervals that cover, p-values that agree with them, Holm's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.metrics.inference import FEWEST_GROUPS, crossed_bootstrap, holm, paired_bootstrap

NUMBERS = st.integers(0, 2**32 - 1)


def trial(
    rng: np.random.Generator, seeds: int, effects: tuple[float, float, float], images: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Gaps [N, S, 1] of mean 0 from effects of seed, image and both, and the images of the questions."""
    groups = np.repeat(np.arange(images), rng.integers(1, 4, images))
    by_seed, by_image, rest = effects
    gaps = by_seed * rng.normal(size=(1, seeds)) + by_image * rng.normal(size=(images, 1))[groups]
    return (gaps + rest * rng.normal(size=(len(groups), seeds)))[:, :, None], groups


@pytest.mark.parametrize(
    ("seeds", "effects", "covers", "images_alone_cover"),
    [
        (3, (0.25, 1.0, 0.5), (0.91, 0.98), 0.88),  # seeds matter less than images
        (3, (0.5, 1.0, 0.5), (0.90, 0.98), 0.75),  # more
        (3, (0.3, 0.0, 0.5), (0.91, 0.98), 0.75),  # alone
        (5, (0.3, 1.0, 0.5), (0.91, 0.98), 0.88),
        (2, (0.3, 1.0, 0.5), (0.89, 0.98), 0.85),
        (3, (0.0, 1.0, 0.2), (0.93, 0.99), None),  # not at all: images alone would do
        (1, (0.0, 1.0, 0.5), (0.91, 0.98), None),  # given this policy
    ],
)
def test_the_interval_covers_the_truth_with_seeds_in_it(
    seeds: int, effects: tuple[float, float, float], covers: tuple[float, float], images_alone_cover: float | None
) -> None:
    rng, covered, covered_before, trials = np.random.default_rng(seeds), 0, 0, 300
    for number in range(trials):
        gaps, groups = trial(rng, seeds, effects)
        found = crossed_bootstrap(gaps, groups, resamples=300, seed=number)
        covered += found.low[0] <= 0 <= found.high[0]
        if images_alone_cover is not None:
            of_images = paired_bootstrap(gaps[:, :, 0].mean(axis=1), np.zeros(len(gaps)), groups, 200, number)
            covered_before += of_images.low <= 0 <= of_images.high
    assert covers[0] <= covered / trials <= covers[1]
    if images_alone_cover is not None:
        assert covered_before / trials < images_alone_cover


@given(NUMBERS, st.integers(1, 4), st.integers(FEWEST_GROUPS, 30))
def test_the_p_value_agrees_with_the_interval(number: int, seeds: int, images: int) -> None:
    rng = np.random.default_rng(number)
    gaps, groups = trial(rng, seeds, (0.2, 1.0, 0.5), images)
    found = crossed_bootstrap(np.concatenate([gaps + shift for shift in (0, 0.3, 1.0)], axis=2), groups, 100)
    assert ((found.p_value < 0.05) == ((found.low > 0) | (found.high < 0))).all()
    assert found.mean == pytest.approx(gaps.mean() + np.array([0, 0.3, 1.0]))


@given(NUMBERS, st.integers(2, 5))
def test_seeds_that_do_the_same_are_one_policy(number: int, seeds: int) -> None:
    gaps, groups = trial(np.random.default_rng(number), 1, (0.0, 1.0, 0.5))
    alone, alike = crossed_bootstrap(gaps, groups, 4000), crossed_bootstrap(np.tile(gaps, (1, seeds, 1)), groups, 4000)
    assert (alike.high - alike.low)[0] == pytest.approx((alone.high - alone.low)[0], rel=0.1)


def test_seeds_that_differ_widen_the_interval() -> None:
    gaps, groups = trial(np.random.default_rng(0), 3, (0.0, 1.0, 0.0))
    shifted = gaps + np.array([-0.5, 0.0, 0.5])[None, :, None]
    same, differing = crossed_bootstrap(gaps, groups), crossed_bootstrap(shifted, groups)
    assert (differing.high - differing.low)[0] > 3 * (same.high - same.low)[0]


def test_no_difference_is_none_and_dust_is_no_difference() -> None:
    groups = np.arange(20)
    found = crossed_bootstrap(np.stack([np.zeros((20, 3)), np.full((20, 3), 1e-16)], axis=2), groups)
    assert found.p_value.tolist() == [1, 1]
    assert found.low.tolist() == found.high.tolist() == [0, 0]
    always = crossed_bootstrap(np.ones((20, 1, 1)), groups)
    assert always.low[0] == 1
    assert always.p_value[0] == 2.0**-19  # no test over twenty images says more


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6 groups"):
        crossed_bootstrap(np.zeros((5, 3, 1)), np.arange(5))


@given(st.lists(st.floats(0, 0.06), min_size=1, max_size=20))
def test_holm_rejects_what_the_step_down_procedure_does(p_values: list[float]) -> None:
    found, left = holm(np.array(p_values)), len(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for step, place in enumerate(np.argsort(p_values)):
            if p_values[place] * (left - step) > level:
                break
            rejected.add(int(place))
        assert set(np.flatnonzero(found <= level).tolist()) == rejected
