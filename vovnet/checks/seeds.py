"""Check point of block A2: accuracy at one lambda varies little over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from vovnet.checks.check import Check

SMALL = 0.02  # standard deviation of accuracy over seeds that the specification calls small


def seed_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """One for each line of ``vovnet.analyses.seeds.seed_rows``."""
    return [
        Check(
            f"{line['dataset']}, lambda {line['lambda_cost']:g}: accuracy deviates little over {line['seeds']} seeds",
            line["accuracy_std"] <= SMALL,
            f"{line['accuracy_mean']:.4f} +- {line['accuracy_std']:.4f}, spread {line['accuracy_spread']:.4f}",
        )
        for line in lines
    ]
