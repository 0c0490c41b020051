"""Does an estimate rank the samples that need to look above those that do not?"""

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
