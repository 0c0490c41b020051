"""Metrics of the user's own: ``eval.metrics`` names functions of what was done to each question."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from vovnet.data import Sample, VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.routed import Routed
from vovnet.schema.code import Code


@dataclass(frozen=True)
class Measured:
    """What a metric sees, all [N].

    Attributes:
        samples: the questions.
        actions: the look that each was answered from, as ``Action`` values.
        score: correctness in [0, 1].
        cost: normalised cost of all looks that were taken.
        confidence: probability of the answer's tokens.
        prediction: the decoded answers.
        routed: everything else.
    """

    samples: tuple[Sample, ...]
    actions: np.ndarray
    score: np.ndarray
    cost: np.ndarray
    confidence: np.ndarray
    prediction: np.ndarray
    routed: Routed


def own_metrics(metrics: Mapping[str, Code], routed: Routed, dataset: VQADataset) -> dict[str, float]:
    """The value of each metric, which takes a ``Measured`` and its options.

    Raises:
        VoVNetError: one of them gives no finite number.
    """
    if not metrics:
        return {}
    samples = tuple(dataset[row] for row in range(len(routed.actions)))
    chosen = routed.chosen
    measured = Measured(
        samples, routed.actions, chosen.score, routed.cost, chosen.confidence, chosen.prediction, routed
    )
    found = {}
    for name, metric in metrics.items():
        value = metric(measured)
        if not isinstance(value, Real) or not math.isfinite(value):
            raise VoVNetError(f"eval.metrics.{name} ({metric.target}) gives {value!r}; it must give a finite number.")
        found[name] = float(value)
    return found
