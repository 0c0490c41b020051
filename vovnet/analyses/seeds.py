"""Block A2: how much results vary over training seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vovnet.results.columns import CURVE, ResultRow, grouped, record

# What one lambda of one method is, whatever the seed; each seed has a policy file of its own.
BUT_SEED = tuple(name for name in CURVE if name not in ("seed", "checkpoint"))


def seed_rows(rows: Sequence[ResultRow]) -> list[dict[str, Any]]:
    """Mean, sample standard deviation and spread of VoVNet's accuracy and cost per setting and lambda.

    Settings with fewer than two seeds are left out.
    """
    lines = []
    for group in grouped([row for row in rows if not row.baseline_name], (*BUT_SEED, "lambda_cost")):
        group = one_per_seed(group)
        if len(group) < 2:
            continue
        line: dict[str, Any] = record(group[0], (*BUT_SEED, "lambda_cost"))
        line["seeds"] = len(group)
        for name in ("accuracy", "avg_cost"):
            values = np.array([getattr(row, name) for row in group])
            line |= {
                f"{name}_mean": float(values.mean()),
                f"{name}_std": float(values.std(ddof=1)),
                f"{name}_spread": float(np.ptp(values)),
            }
        lines.append(line)
    return lines


def one_per_seed(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Of rows of one setting and lambda, one of each seed: the same training, run twice, says nothing more."""
    found = {row.seed: row for row in sorted(rows, key=lambda row: row.checkpoint or "", reverse=True)}
    return [found[seed] for seed in sorted(found)]
