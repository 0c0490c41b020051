"""Intervals and calibration against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.metrics.curves import upper_hull
from vovnet.metrics.estimators import expected_calibration_error
from vovnet.results.row import clustered_interval


def test_the_interval_covers_the_truth_in_clustered_data() -> None:
    """Groups of ten that are right or wrong together: an interval that ignored them would cover about half."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        groups = np.repeat(np.arange(100), 10)
        scores = (rng.random(100) < 0.8).astype(float)[groups]
        low, high = clustered_interval(scores, groups)
        covered += low <= 0.8 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_independent_samples_give_wilsons_interval() -> None:
    scores = np.array([1.0] * 80 + [0.0] * 20)
    low, high = clustered_interval(scores, np.arange(100))
    assert (low, high) == (pytest.approx(0.7112, abs=2e-4), pytest.approx(0.8666, abs=2e-4))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_stays_in_range(rows: list[tuple[float, int]]) -> None:
    scores, groups = (np.array(column) for column in zip(*rows, strict=True))
    low, high = clustered_interval(scores, groups)
    assert 0 <= low <= scores.mean() + 1e-12
    assert scores.mean() - 1e-12 <= high <= 1
    assert low < high


def test_one_group_counts_as_one_sample() -> None:
    low, high = clustered_interval(np.array([1.0, 0.0] * 20), np.zeros(40))
    assert high - low > 0.85


def test_few_groups_widen_the_interval() -> None:
    scores = np.array([1.0, 0.0, 1.0, 1.0] * 10)
    few, many = (clustered_interval(scores, np.arange(40) % count) for count in (4, 40))
    assert few[1] - few[0] > many[1] - many[0]


def test_a_perfect_score_still_has_an_interval() -> None:
    low, high = clustered_interval(np.ones(50), np.arange(50))
    assert 0.9 < low < 1
    assert high == 1


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.1, 0.1, 0.9, 0.9])
    assert expected_calibration_error(confidence, np.array([0, 0, 1, 1]), bins=2) == pytest.approx(0.1)
    assert expected_calibration_error(confidence, np.array([1, 1, 0, 0]), bins=2) == pytest.approx(0.9)
    assert expected_calibration_error(confidence, confidence) == pytest.approx(0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_hull_lies_on_or_above_every_point(points: list[tuple[float, float]]) -> None:
    hull = upper_hull(sorted(points))
    assert set(hull) <= set(points)
    costs, scores = zip(*hull, strict=True)
    for cost, score in points:
        if len(set(costs)) == len(costs):
            assert np.interp(cost, costs, scores) >= score - 1e-9


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40), st.data())
def test_one_more_right_answer_lowers_no_bound(rows: list[tuple[bool, int]], data: st.DataObject) -> None:
    scores, groups = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    better = scores.copy()
    better[data.draw(st.integers(0, len(rows) - 1))] = 1
    before, after = clustered_interval(scores, groups), clustered_interval(better, groups)
    assert after[0] >= before[0]
    assert after[1] >= before[1]


def test_all_of_forty_right_bounds_as_much_as_all_but_one() -> None:
    """Ten questions about each of four images."""
    groups, scores = np.arange(40) % 4, np.ones(40)
    perfect = clustered_interval(scores, groups)
    scores[0] = 0
    one_wrong = clustered_interval(scores, groups)
    assert perfect == (pytest.approx(0.5101, abs=1e-4), 1)
    assert one_wrong == (pytest.approx(0.4852, abs=1e-4), pytest.approx(0.9994, abs=1e-4))


@pytest.mark.parametrize(
    ("sizes", "effective"), [([1] * 9, 9), ([5] * 9, 9), ([9, 1], 100 / 82), ([2, 2, 1, 1], 36 / 10), ([7], 1)]
)
def test_the_interval_by_hand(sizes: list[int], effective: float) -> None:
    """Wilson's interval at Kish's effective number of groups."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.linspace(0, 1, len(groups)) ** 2
    z, mean = 1.959963984540054, float(scores.mean())
    low, high = clustered_interval(scores, groups)
    for bound in (low, high):  # where (mean - p)^2 = z^2 p (1 - p) / n
        assert (mean - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / effective)
