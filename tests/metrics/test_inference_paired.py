"""Differences between runs: intervals that cover, tests that keep their level."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from vovnet.metrics.inference import FEWEST_GROUPS, mcnemar_p, paired_bootstrap, sign_flip_p, tail


@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_mcnemar_equals_the_exact_binomial_test(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, size), rng.integers(0, 2, size)
    wins, losses = int((first > second).sum()), int((first < second).sum())
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar_p(first, second) == pytest.approx(expected)


def test_the_smallest_p_value_is_one_of_all_flips_and_is_not_doubled() -> None:
    """Both directions count as extreme already; scipy 1.17 doubles the smaller tail, 0 of 999 gives 0.002 there."""
    assert sign_flip_p(np.ones(60), 999, np.random.default_rng(0)) == pytest.approx(1 / 1000)


def test_mcnemar_wants_right_or_wrong() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        mcnemar_p(np.array([0.3]), np.array([1.0]))


def clustered(rng: np.random.Generator, effect: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right-or-wrong scores of 60 images with one to five questions that hang together."""
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    easy = rng.random(60)[groups]
    second = (rng.random(len(groups)) < easy).astype(float)
    better = rng.random(60)[groups] < effect
    return np.where(better, 1.0, second), second, groups


def test_the_interval_covers_the_truth_and_the_p_value_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    effect, covered, rejected, trials = 0.2, 0, 0, 300
    truth = effect / 2  # a better image is right where it would have been wrong half of the time
    for trial in range(trials):
        found = paired_bootstrap(*clustered(rng, effect), resamples=500, seed=trial)
        covered += found.low <= truth <= found.high
        first, second, groups = clustered(rng, 0.0)
        noise = np.where(rng.random(60)[groups] < 0.5, first, 1 - first)
        other = np.where(rng.random(60)[groups] < 0.5, second, 1 - second)
        rejected += paired_bootstrap(noise, other, groups, resamples=500, seed=trial).p_value < 0.05
    assert 0.90 <= covered / trials <= 0.985
    assert rejected / trials <= 0.085


@pytest.mark.parametrize("groups", [6, 10, 30])
def test_the_interval_covers_the_truth_of_few_images_too(groups: int) -> None:
    """The plain percentile interval covers 0.84 to 0.87, 0.88 to 0.90 and 0.93 here."""
    rng, covered, trials = np.random.default_rng(groups), 0, 1000
    for trial in range(trials):
        sizes = rng.integers(1, 6, groups)
        image = np.repeat(np.arange(groups), sizes)
        first = 0.1 + rng.normal(size=groups)[image] + rng.normal(size=len(image))
        found = paired_bootstrap(first, np.zeros(len(image)), image, resamples=1000, seed=trial)
        covered += found.low <= 0.1 <= found.high
    assert 0.91 <= covered / trials <= 0.97


@pytest.mark.parametrize("groups", [6, 7, 10, 30, 1000])
def test_the_expansion_is_by_students_quantile(groups: int) -> None:
    expected = norm.cdf(-t.ppf(0.975, groups - 1) * np.sqrt(groups / (groups - 1)))
    assert tail(groups) == pytest.approx(expected, rel=1e-5)


def test_equal_runs_differ_by_nothing() -> None:
    scores = np.array([1.0, 0.0, 0.3, 1.0, 1.0, 0.0])
    found = paired_bootstrap(scores, scores, np.arange(6), resamples=100)
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="same samples"):
        paired_bootstrap(scores, scores[:2], np.arange(6))


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_few_images_have_no_interval_and_many_one_that_agrees_with_the_test(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(images), 3)
    found = paired_bootstrap(rng.random(3 * images) + 0.5, np.zeros(3 * images), groups, resamples=2000)
    assert (found.low is None) == (found.high is None) == (images < FEWEST_GROUPS)
    assert (found.low is not None and found.low > 0) == (
        found.p_value < 0.05
    )  # every difference is above 0: as significant as can be


def test_ten_thousand_resamples_of_ten_thousand_samples_take_seconds() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 2, 10_000), rng.integers(0, 2, 10_000)
    begun = time.monotonic()
    found = paired_bootstrap(first, second, np.arange(10_000))
    assert time.monotonic() - begun < 20  # 2 to 4 s on an idle core
    assert found.low < found.mean < found.high
