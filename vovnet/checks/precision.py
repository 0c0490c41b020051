"""Half precision acts as float32 on nearly every question."""

from collections.abc import Mapping, Sequence
from typing import Any

from vovnet.checks.check import Check

ALIKE = 0.97  # share of questions that half precision must act on as float32 does


def precision_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """One for each line of ``vovnet.analyses.precision.precision_lines``."""
    return [
        Check(
            f"{line['dataset']}, {line['baseline_name'] or 'VoVNet'}: {line['dtype']} acts as float32",
            line["same_action"] >= ALIKE,
            f"on {line['same_action']:.4f} of {line['num_samples']} questions; the same answer on "
            f"{line['same_answer']:.4f}, accuracy {line['accuracy']:.4f} and {line['accuracy_float32']:.4f}",
        )
        for line in lines
    ]
