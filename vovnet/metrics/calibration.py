"""Are estimates of correctness as high as the scores turn out?"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bins:
    """Equal-mass bins by rising estimate: mean estimate, mean score and samples of each, all [B]."""

    estimate: np.ndarray
    score: np.ndarray
    count: np.ndarray


def reliability(estimates: np.ndarray, scores: np.ndarray, bins: int = 15) -> Bins:
    """Mean estimate against mean score in equal-mass bins (Nguyen and O'Connor 2015).

    Equal estimates share the bin of their middle rank, so the order of rows changes nothing. Where many are equal,
    bins differ in size, and there are fewer of them.
    """
    _, place, count = np.unique(estimates, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2  # rank from 0
    bin_of = (middle * min(bins, len(estimates)) // len(estimates)).astype(np.int64)[place]
    mass = np.bincount(bin_of)
    used = mass > 0
    totals = [np.bincount(bin_of, weights=values.astype(np.float64))[used] for values in (estimates, scores)]
    return Bins(totals[0] / mass[used], totals[1] / mass[used], mass[used])


def expected_calibration_error(estimates: np.ndarray, scores: np.ndarray, bins: int = 15) -> float:
    """ECE over equal-mass bins: sum_b n_b/N |mean score_b - mean estimate_b|."""
    found = reliability(estimates, scores, bins)
    return float((found.count * np.abs(found.score - found.estimate)).sum() / len(estimates))


def brier_score(estimates: np.ndarray, scores: np.ndarray) -> float:
    """Mean squared difference (Brier 1950)."""
    return float(((estimates.astype(np.float64) - scores) ** 2).mean())
