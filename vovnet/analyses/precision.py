"""Half precision beside float32: how often the same policy acts and answers alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.results.columns import SETTINGS, ResultRow, grouped
from vovnet.results.read import read_answers

BUT_DTYPE = tuple(name for name in SETTINGS if name != "dtype")


def precision_lines(results: Sequence[tuple[ResultRow, Path]]) -> list[dict[str, Any]]:
    """A line for each result in half precision that was also run in float32, from their predictions.

    Results that other keys than the table's columns tell apart are left out.

    Args:
        results: rows and the folders that hold their predictions.

    Raises:
        VoVNetError: predictions are missing, damaged or of other questions.
    """
    folders = {id(row): folder for row, folder in results}
    lines = []
    for group in grouped([row for row, _ in results], BUT_DTYPE):
        exact = [row for row in group if row.dtype == "float32"]
        if len({row.dtype for row in group}) < len(group):
            continue
        for half in (row for row in group if row.dtype != "float32") if exact else ():
            wanted, found = (read_answers(folders[id(row)]) for row in (exact[0], half))
            if wanted.keys() != found.keys():
                raise VoVNetError(f"{folders[id(half)]} answers other questions than {folders[id(exact[0])]}.")
            both = [(wanted[name], found[name]) for name in wanted]
            lines.append(
                {
                    **{name: getattr(half, name) for name in ("dataset", "split", "baseline_name", "lambda_cost")},
                    "dtype": half.dtype,
                    "num_samples": len(both),
                    "same_action": sum(a[0] == b[0] for a, b in both) / len(both),
                    "same_answer": sum(a[1] == b[1] for a, b in both) / len(both),
                    "accuracy": half.accuracy,
                    "accuracy_float32": exact[0].accuracy,
                    "avg_cost": half.avg_cost,
                    "avg_cost_float32": exact[0].avg_cost,
                }
            )
    return lines
