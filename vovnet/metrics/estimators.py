"""How good an estimate is: ranking, calibration, selective prediction."""

from dataclasses import dataclass

import numpy as np

from vovnet.actions import USUAL


def auroc(labels: np.ndarray, estimates: np.ndarray) -> float | None:
    """Area under the ROC curve: P(a positive ranks above a negative), ties half (Mann and Whitney 1947).

    None where all labels are equal.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(estimates, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place]  # mean rank of equals, from 1
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auprc(labels: np.ndarray, estimates: np.ndarray) -> float | None:
    """Average precision, sum over thresholds of (R_n - R_{n-1}) P_n; equal estimates share a threshold.

    None without positives. Compare it with the prevalence, which a random ranking gets.
    """
    if not labels.any():
        return None
    values, place = np.unique(-estimates, return_inverse=True)
    hits = np.cumsum(np.bincount(place, weights=labels, minlength=len(values)))
    seen = np.cumsum(np.bincount(place, minlength=len(values)))
    recall = hits / hits[-1]
    return float((np.diff(recall, prepend=0.0) * hits / seen).sum())


def need_labels(scores: np.ndarray) -> dict[str, np.ndarray]:
    """``vision_helps``: some look scores higher than NO; ``full_needed``: FULL scores higher than all cheaper.

    Args:
        scores: [N, 3], NO, COARSE and FULL.
    """
    no, coarse, full = (scores[:, int(a)] for a in USUAL)
    return {"vision_helps": np.maximum(coarse, full) > no, "full_needed": full > np.maximum(no, coarse)}


def need_estimates(
    values: np.ndarray | None, entropy: np.ndarray, margin: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """What each estimator says about the two needs, higher for more need: estimator -> need -> [N].

    Args:
        values: the policy's value estimates, [N, 3]; None leaves them out.
    """
    named = {"entropy": dict.fromkeys(("vision_helps", "full_needed"), entropy)}
    named["margin"] = dict.fromkeys(("vision_helps", "full_needed"), -margin)
    if values is None:
        return named
    no, coarse, full = (values[:, int(a)] for a in USUAL)
    gains = {"vision_helps": np.maximum(coarse, full) - no, "full_needed": full - np.maximum(no, coarse)}
    return {"value": gains} | named


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


# Answering blind only when sure: risk against coverage.
#
# Samples are accepted by falling confidence; equal confidences are accepted together, in expectation over their order.


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
