"""Two runs on the same samples: how far apart, and could that be chance?"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

BLOCK = 2_000_000  # random numbers held at once
FEWEST_GROUPS = 6  # with fewer no sign-flip test reaches 5 %: its smallest p-value is 2 / 2^groups


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95 % bootstrap interval and two-sided p-value.

    There is no interval over fewer than ``FEWEST_GROUPS`` groups: resampling them knows of no value but theirs, and
    would exclude zero where the test cannot.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float

    def above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low is not None and self.low > 0


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray, groups: np.ndarray, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Mean of ``first - second`` with the expanded percentile interval of a bootstrap over groups.

    Samples of one group (an image, a circular group) are drawn together (Davison and Hinkley 1997, section 3.8);
    the p-value is that of a sign-flip test over the groups. See ``tail`` for the expansion.

    Args:
        first, second: scores of the same samples, [N]. ``groups``: what they hang together by, [N].
    """
    if not len(first) == len(second) == len(groups) > 0:
        raise ValueError("both runs and the groups must have the same samples, and one at least")
    (found,) = paired_bootstraps((first.astype(np.float64) - second)[:, None], groups, resamples, seed)
    return found


def paired_bootstraps(gaps: np.ndarray, groups: np.ndarray, resamples: int = 10_000, seed: int = 0) -> list[Difference]:
    """The same for many pairs of runs over the same samples at once, which share the resamples.

    Args:
        gaps: differences of the pairs' scores, [N, K].
    """
    _, place = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(place, weights=column) for column in gaps.T], axis=1)  # [G, K]
    sizes = np.bincount(place).astype(np.float64)
    rng = np.random.default_rng(seed)
    blocks = _blocks(resamples, len(sums))
    means = np.concatenate([_resampled(sums, sizes, count, rng) for count in blocks])
    outside = tail(len(sums))
    low, high = np.quantile(means, [outside, 1 - outside], axis=0)
    p_values = sign_flip_p(sums, resamples, rng)
    found = [Difference(*map(float, one)) for one in zip(gaps.mean(axis=0), low, high, p_values, strict=True)]
    return found if len(sums) >= FEWEST_GROUPS else [replace(one, low=None, high=None) for one in found]


def tail(groups: int, level: float = 0.95) -> float:
    """Share of resampled means on either side of an expanded percentile interval (Hesterberg 2015, section 5.3).

    The plain percentile interval is too narrow by about sqrt(1 - 1/G) and takes the normal distribution for
    Student's: it covers 0.84 to 0.87 at 6 groups and 0.93 at 30. The expanded one covers 0.93 and 0.94
    (``tests/metrics/test_paired.py``).
    """
    if groups < 2:
        return (1 - level) / 2
    normal, free = NormalDist(), groups - 1
    z = normal.inv_cdf((1 + level) / 2)
    # Student's quantile by its expansion around the normal one (Abramowitz and Stegun 1964, 26.7.5).
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return normal.cdf(-t * math.sqrt(groups / free))


def sign_flip_p(sums: np.ndarray, flips: int, rng: np.random.Generator) -> np.ndarray:
    """Two-sided p-values [K] of a randomisation test: under no difference each group's sum could as well be negative.

    (extreme + 1) / (flips + 1), which never is 0 (Phipson and Smyth 2010).

    Args:
        sums: of every group's differences, [G, K].
    """
    seen = np.abs(sums.sum(axis=0))
    extreme = np.zeros(sums.shape[1], dtype=np.int64)
    for count in _blocks(flips, len(sums)):
        signs = rng.integers(0, 2, size=(count, len(sums)), dtype=np.int8)
        flipped = np.abs(2.0 * (signs.astype(np.float64) @ sums) - sums.sum(axis=0))
        extreme += (flipped >= seen * (1 - 1e-9)).sum(axis=0)
    p_values: np.ndarray = (extreme + 1) / (flips + 1)
    return p_values


def mcnemar_p(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided p-value for right-or-wrong scores: discordant pairs are a fair coin (McNemar 1947).

    Raises:
        ValueError: a score is neither 0 nor 1.
    """
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise ValueError("McNemar's test wants scores of 0 and 1; use the sign-flip test")
    wins, losses = int((first > second).sum()), int((first < second).sum())
    total, fewer = wins + losses, min(wins, losses)
    if total == 0:
        return 1.0
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(value - total * math.log(2)) for value in logs)
    return min(1.0, 2 * tail)


def _resampled(sums: np.ndarray, sizes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means of ``count`` resamples, [count, K]."""
    groups = len(sums)
    drawn = rng.integers(0, groups, size=(count, groups), dtype=np.int32)
    if sums.shape[1] == 1:  # adding up what was drawn is faster than counting it
        total, drawn_samples = sums[:, 0][drawn].sum(axis=1, keepdims=True), sizes[drawn].sum(axis=1)
    else:
        places = drawn + groups * np.arange(count, dtype=np.int64)[:, None]
        times = np.bincount(places.ravel(), minlength=count * groups).reshape(count, groups).astype(np.float64)
        total, drawn_samples = times @ sums, times @ sizes
    means: np.ndarray = total / drawn_samples[:, None]
    return means


def _blocks(total: int, width: int) -> list[int]:
    """Resamples per block so that a block fits into memory."""
    size = max(1, min(total, BLOCK // max(1, width)))
    return [size] * (total // size) + ([total % size] if total % size else [])
