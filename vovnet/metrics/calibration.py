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
    """Mean estimate against mean score in equal-mass bins (Nguyen and O'Connor 2015)."""
    order = np.argsort(estimates, kind="stable")
    parts = [p for p in np.array_split(order, min(bins, len(order))) if len(p)]
    return Bins(
        np.array([estimates[p].mean(dtype=np.float64) for p in parts]),
        np.array([scores[p].mean(dtype=np.float64) for p in parts]),
        np.array([len(p) for p in parts]),
    )


def expected_calibration_error(estimates: np.ndarray, scores: np.ndarray, bins: int = 15) -> float:
    """ECE over equal-mass bins: sum_b n_b/N |mean score_b - mean estimate_b|."""
    found = reliability(estimates, scores, bins)
    return float((found.count * np.abs(found.score - found.estimate)).sum() / len(estimates))


def brier_score(estimates: np.ndarray, scores: np.ndarray) -> float:
    """Mean squared difference (Brier 1950)."""
    return float(((estimates.astype(np.float64) - scores) ** 2).mean())
