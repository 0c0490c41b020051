"""Student's distribution for any number of degrees of freedom, by quadrature."""

import math

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
