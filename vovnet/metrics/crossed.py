"""Differences between methods that were trained with several seeds and tried on the same images."""

from dataclasses import dataclass

import numpy as np

from vovnet.metrics.paired import BLOCK, FEWEST_GROUPS
from vovnet.metrics.student import critical, two_sided_p


@dataclass(frozen=True)
class Intervals:
    """Mean differences with their 95 % intervals and two-sided p-values, all [K].

    The p-value is below 0.05 just where the interval excludes zero: both are of one standard error and one Student's
    distribution.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def crossed_bootstrap(gaps: np.ndarray, groups: np.ndarray, resamples: int = 2_000, seed: int = 0) -> Intervals:
    """Mean over questions and seeds, mean +- t * error; error is a bootstrap's over seeds and images at once.

    Every seed sees every image, so seeds and groups are drawn independently and each resample holds the questions of
    the drawn groups under the drawn seeds (the pigeonhole bootstrap; Owen 2007). One fewer of each is drawn than there
    are, without which the variance of S seeds would come out too small by (S - 1) / S (McCarthy and Snowden 1985). The
    degrees of freedom are Satterthwaite's (1946) for the two components of variance.

    What few seeds allow: no crossed bootstrap is exact (McCullagh 2000). Three seeds are two degrees of freedom: where
    they make most of the difference the interval is 4.3 standard errors to either side and hardly anything is
    significant, and that it covers rests on seeds' effects being about normal, which three cannot show. In simulations
    (``tests/metrics/test_crossed.py``) it covers 0.91 to 0.96 with two to five seeds, where an interval over images
    alone covers 0.2 to 0.85. What a seed and an image do together is counted up to three times (Owen 2007): where that
    is all there is, the interval is too wide and covers 0.99. With one seed nothing is known of others: the interval is
    that of the images, given this policy.

    Args:
        gaps: differences of scores, [N, S, K]: questions, seeds, comparisons, which share the resamples. They are
            rounded to 1e-12, so that the dust of adding up a mixture is no difference.
        groups: what questions hang together by, [N].

    Raises:
        ValueError: there are fewer than ``FEWEST_GROUPS`` groups.
    """
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < FEWEST_GROUPS:
        raise ValueError(f"an interval needs at least {FEWEST_GROUPS} groups of questions")
    gaps = gaps.round(12)
    count, seeds, pairs = gaps.shape
    order = np.argsort(place, kind="stable")
    sums = np.add.reduceat(gaps[order], np.cumsum(sizes) - sizes, axis=0)  # [G, S, K]
    mean = gaps.mean(axis=(0, 1))
    error = _resampled_cells(sums, sizes.astype(np.float64), resamples, np.random.default_rng(seed)).std(axis=0, ddof=1)
    by_seed = gaps.mean(axis=0).var(axis=0, ddof=1) / seeds if seeds > 1 else np.zeros(pairs)
    rest = sums.mean(axis=1) - sizes[:, None] * mean
    by_group = (rest**2).sum(axis=0) * len(sizes) / (len(sizes) - 1) / count**2
    parts = by_seed**2 / max(1, seeds - 1) + by_group**2 / (len(sizes) - 1)
    free = np.full(pairs, len(sizes) - 1.0)
    np.divide((by_seed + by_group) ** 2, parts, out=free, where=parts > 0)
    arm = critical(free) * error
    statistic = np.full(pairs, np.inf)
    np.divide(np.abs(mean), error, out=statistic, where=error > 0)
    p_value = np.where(mean == 0, 1.0, np.maximum(two_sided_p(statistic, free), 2.0 ** (1 - min(len(sizes), 1000))))
    return Intervals(mean, mean - arm, mean + arm, p_value)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values [M] corrected for all M comparisons: below 5 % with a chance of 5 % at most if nothing differs.

    Holm (1979); the comparisons need not be independent.
    """
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return corrected


def _resampled_cells(sums: np.ndarray, sizes: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of resamples of seeds and groups, [resamples, K]."""
    groups, seeds, pairs = sums.shape
    found = []
    for begin in range(0, resamples, block := max(1, BLOCK // groups)):
        size = min(block, resamples - begin)
        times = rng.multinomial(groups - 1, np.full(groups, 1 / groups), size=size).astype(np.float64)
        means = (times @ sums.reshape(groups, -1)).reshape(size, seeds, pairs) / (times @ sizes)[:, None, None]
        drawn = rng.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size=size) / max(1, seeds - 1)
        found.append(np.einsum("rs,rsk->rk", drawn, means))
    return np.concatenate(found)
