"""Ranking, calibration and selective answering against scikit-learn and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from vovnet.metrics.estimators import (
    augrc,
    auprc,
    aurc,
    auroc,
    brier_score,
    expected_calibration_error,
    need_estimates,
    need_labels,
    reliability,
)

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, size: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Labels and estimates with many ties."""
    rng = np.random.default_rng(seed)
    return rng.random(size) < rng.random(), rng.integers(0, rng.integers(2, 20), size) / 20


@given(SEEDS)
def test_ranking_equals_scikit_learn(seed: int) -> None:
    labels, estimates = drawn(seed)
    if labels.any() and not labels.all():
        assert auroc(labels, estimates) == pytest.approx(roc_auc_score(labels, estimates))
    if labels.any():
        assert auprc(labels, estimates) == pytest.approx(average_precision_score(labels, estimates))


def test_ranking_without_both_kinds_is_unknown() -> None:
    estimates = np.array([0.1, 0.2])
    assert auroc(np.array([True, True]), estimates) is None
    assert auroc(np.array([False, False]), estimates) is None
    assert auprc(np.array([False, False]), estimates) is None


def test_needs_and_what_estimates_them() -> None:
    scores = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0], [0.3, 0.3, 0.6]], dtype=float)
    labels = need_labels(scores)
    assert labels["vision_helps"].tolist() == [False, True, True, False, True]
    assert labels["full_needed"].tolist() == [False, False, True, False, True]
    entropy, margin = np.arange(5.0), np.linspace(1, 0, 5)
    estimates = need_estimates(scores, entropy, margin)
    for need, wanted in labels.items():
        assert auroc(wanted, estimates["value"][need]) == 1.0  # perfect values rank perfectly
        assert auroc(wanted, estimates["entropy"][need]) == auroc(wanted, estimates["margin"][need])
    assert set(need_estimates(None, entropy, margin)) == {"entropy", "margin"}


@given(SEEDS)
def test_calibration_against_plain_loops(seed: int) -> None:
    labels, estimates = drawn(seed)
    assert brier_score(estimates, labels) == pytest.approx(brier_score_loss(labels, estimates))
    found = reliability(estimates, labels.astype(float), bins=7)
    assert found.count.sum() == len(labels)
    assert len(found.count) <= 7
    assert (np.diff(found.estimate) > 0).all()
    gaps = [n * abs(s - e) for e, s, n in zip(found.estimate, found.score, found.count, strict=True)]
    assert expected_calibration_error(estimates, labels.astype(float), bins=7) == pytest.approx(sum(gaps) / len(labels))


@given(SEEDS, st.integers(1, 60))
def test_different_estimates_fill_bins_of_equal_mass(seed: int, size: int) -> None:
    estimates = np.random.default_rng(seed).permutation(size) / size
    found = reliability(estimates, estimates, bins=7)
    assert found.count.max() - found.count.min() <= 1
    assert len(found.count) == min(7, size)


@given(SEEDS)
def test_the_order_of_rows_changes_no_calibration_error(seed: int) -> None:
    labels, estimates = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    expected = expected_calibration_error(estimates, labels.astype(float))
    assert expected_calibration_error(estimates[order], labels[order].astype(float)) == pytest.approx(expected)


def test_a_constant_estimate_that_is_right_is_calibrated_however_its_rows_are_sorted() -> None:
    scores = np.repeat([0.0, 1.0], [300, 700])
    for rows in (scores, scores[::-1], np.random.default_rng(0).permutation(scores)):
        assert expected_calibration_error(np.full(1000, 0.7), rows) == pytest.approx(0)


def test_equal_estimates_share_a_bin() -> None:
    estimates = np.array([0.1] * 5 + [0.2] + [0.9] * 4)
    found = reliability(estimates, np.arange(10) / 10, bins=3)
    assert found.count.tolist() == [5, 1, 4]
    assert found.estimate == pytest.approx([0.1, 0.2, 0.9])


@given(SEEDS)
def test_selective_areas_are_means_over_all_orders_of_equals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, confidence = rng.integers(0, 3, 6) / 2, rng.integers(0, 3, 6)
    risks, generalised = [], []
    for order in itertools.permutations(range(6)):
        if (np.diff(confidence[list(order)]) <= 0).all():
            errors = np.cumsum(1 - scores[list(order)])
            risks.append((errors / np.arange(1, 7)).mean())
            generalised.append((errors / 6).mean())
    assert aurc(confidence, scores) == pytest.approx(np.mean(risks))
    assert augrc(confidence, scores) == pytest.approx(np.mean(generalised))
