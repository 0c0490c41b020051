"""Differences and their uncertainty: bootstraps clustered by image, tests, corrections."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)


def two_sided_p(statistic: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Chance that Student's |t| is at least this much, same shape.

    With t = sqrt(free) tan(angle) the density is proportional to cos(angle)^(free - 1).

    Args:
        statistic: at least 0, infinity included. ``free``: degrees of freedom, at least 1.
    """
    found: np.ndarray = _beyond(np.arctan(statistic / np.sqrt(free)), free) / _beyond(np.zeros_like(free), free)
    return found


def critical(free: np.ndarray, level: float = 0.95) -> np.ndarray:
    """What Student's |t| exceeds with a chance of 1 - ``level``; by bisection."""
    low, high = np.zeros_like(free), np.full_like(free, math.tan(math.pi / 2 * level) + 1)  # at 1 degree it is the most
    for _ in range(50):
        middle = (low + high) / 2
        above = two_sided_p(middle, free) > 1 - level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found: np.ndarray = (low + high) / 2
    return found


def _beyond(angle: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Integral of cos^(free - 1) from an angle to where nothing is left of it."""
    end = np.minimum(np.pi / 2, angle + 12 / np.sqrt(free))
    half = (end - angle) / 2
    places = angle[..., None] + half[..., None] * (NODES + 1)
    found: np.ndarray = half * (np.cos(places) ** (free[..., None] - 1) @ WEIGHTS)
    return found


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
    gaps = first.astype(np.float64) - second
    _, place = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(place, weights=gaps), np.bincount(place).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.concatenate([_resampled(sums, sizes, count, rng) for count in _blocks(resamples, len(sums))])
    outside = tail(len(sums))
    low, high = map(float, np.quantile(means, [outside, 1 - outside]))
    p_value = sign_flip_p(sums, resamples, rng)
    if len(sums) < FEWEST_GROUPS:
        return Difference(float(gaps.mean()), None, None, p_value)
    return Difference(float(gaps.mean()), low, high, p_value)


def tail(groups: int, level: float = 0.95) -> float:
    """Share of resampled means on either side of an expanded percentile interval (Hesterberg 2015, section 5.3).

    The plain percentile interval is too narrow by about sqrt(1 - 1/G) and takes the normal distribution for
    Student's: it covers 0.84 to 0.87 at 6 groups and 0.93 at 30. The expanded one covers 0.93 and 0.94
    (``tests/metrics/test_inference_paired.py``).
    """
    if groups < 2:
        return (1 - level) / 2
    student = float(critical(np.array(groups - 1.0), level))
    return NormalDist().cdf(-student * math.sqrt(groups / (groups - 1)))


def sign_flip_p(sums: np.ndarray, flips: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of a randomisation test: under no difference each group's sum could as well be negative.

    (extreme + 1) / (flips + 1), which never is 0 (Phipson and Smyth 2010).

    Args:
        sums: of every group's differences, [G].
    """
    seen, extreme = abs(sums.sum()), 0
    for count in _blocks(flips, len(sums)):
        signs = rng.integers(0, 2, size=(count, len(sums)), dtype=np.int8)
        flipped = np.abs(2.0 * (signs.astype(np.float64) @ sums) - sums.sum())
        extreme += int((flipped >= seen * (1 - 1e-9)).sum())
    return (extreme + 1) / (flips + 1)


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
    """Means of ``count`` resamples, [count]."""
    drawn = rng.integers(0, len(sums), size=(count, len(sums)), dtype=np.int32)
    means: np.ndarray = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def _blocks(total: int, width: int) -> list[int]:
    """Resamples per block so that a block fits into memory."""
    size = max(1, min(total, BLOCK // max(1, width)))
    return [size] * (total // size) + ([total % size] if total % size else [])


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
    (``tests/metrics/test_inference_crossed.py``) it covers 0.91 to 0.96 with two to five seeds, where an interval
    over images alone covers 0.2 to 0.85. What a seed and an image do together is counted up to three times (Owen
    2007): where that is all there is, the interval is too wide and covers 0.99. With one seed nothing is known of
    others: the interval is that of the images, given this policy.

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
