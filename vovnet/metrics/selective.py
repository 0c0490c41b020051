"""Answering blind only when sure: risk against coverage.

Samples are accepted by falling confidence; equal confidences are accepted together, in expectation over their order.
"""

import numpy as np


def _accepted_errors(confidence: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Expected error mass among the k most confident samples, k = 1..N, [N]."""
    values, place, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=1.0 - scores.astype(np.float64), minlength=len(values))
    return np.cumsum(np.repeat(wrong / counts, counts))


def aurc(confidence: np.ndarray, scores: np.ndarray) -> float:
    """Area under the risk-coverage curve: mean over k of the error rate among the k most confident.

    Geifman and El-Yaniv (2017).
    """
    errors = _accepted_errors(confidence, scores)
    return float((errors / np.arange(1, len(errors) + 1)).mean())


def augrc(confidence: np.ndarray, scores: np.ndarray) -> float:
    """Area under the generalised curve: mean over k of P(accepted and wrong).

    Traub et al. (2024), "Overcoming common flaws in the evaluation of selective classification", where AURC is
    shown to weigh a few early errors too much.
    """
    errors = _accepted_errors(confidence, scores)
    return float(errors.mean() / len(errors))
