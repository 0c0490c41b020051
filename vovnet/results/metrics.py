"""Accuracy with its interval."""

import math

import numpy as np

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def clustered_interval(scores: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean score, where the samples of one group (image) count as one observation.

    Wilson's interval at Kish's effective number of groups n^2 / sum of m_g^2: the size that n samples amount to when
    those of a group are always right or wrong together. It is conservative where they are not. The size does not
    depend on the scores: more right answers to the same questions never lower either bound, and the interval has
    width at accuracies 0 and 1. An estimated design effect has neither property: it knows nothing of the dependence
    where all scores are equal, and little where few differ.

    Args:
        scores: in [0, 1], [N]. ``groups``: a label per sample, [N].
    """
    count = len(scores)
    if count == 0:
        return math.nan, math.nan
    mean = float(scores.mean(dtype=np.float64))
    sizes = np.unique(groups, return_counts=True)[1]
    size = count**2 / float((sizes.astype(np.float64) ** 2).sum())
    centre = (mean + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * math.sqrt(mean * (1 - mean) / size + Z95**2 / (4 * size**2))
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))
