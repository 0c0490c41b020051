"""How much of the gap between never and always looking a share of the cost recovers.

RouteLLM (Ong et al. 2024, section 4.2 and ``evals/evaluate.py``) with the hull of ``frontier`` as the curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.metrics.frontier import Point, aiq, concave_hull

KEPT = (0.5, 0.8, 0.95)  # shares of the gap that CPT is asked for


@dataclass(frozen=True)
class Recovery:
    """Performance gap recovered over the share of cost between no_vision and always_full.

    Attributes:
        gap: always_full's accuracy less no_vision's; everything here is divided by it, so a small one says little.
        apgr: mean of the recovered share over all shares of cost.
        cpt: the smallest share of cost at which ``KEPT`` of the gap is recovered; None where it never is.
    """

    gap: float
    apgr: float
    cpt: tuple[float | None, ...]


def recovery(points: Sequence[Point], no_vision: Point, always_full: Point) -> Recovery | None:
    """PGR, APGR and CPT of a policy's points; None where always_full is no better than no_vision."""
    gap, span = always_full[1] - no_vision[1], always_full[0] - no_vision[0]
    if gap <= 0 or span <= 0:
        return None
    hull = concave_hull([*points, no_vision])
    apgr = (aiq(points, no_vision, always_full[0]) - no_vision[1]) / gap
    return Recovery(gap, apgr, tuple(_share(hull.costs, hull.accuracies, no_vision, gap, span, x) for x in KEPT))


def _share(
    costs: np.ndarray, accuracies: np.ndarray, no_vision: Point, gap: float, span: float, kept: float
) -> float | None:
    wanted = no_vision[1] + kept * gap
    if accuracies[-1] < wanted:
        return None
    return max(0.0, (float(np.interp(wanted, accuracies, costs)) - no_vision[0]) / span)
