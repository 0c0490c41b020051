"""Runs of a sweep that differ in one setting: seeds (A2), cache reuse (F2), precision (F3)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.errors import VoVNetError
from vovnet.results.columns import CURVE, SETTINGS, ResultRow, grouped, record
from vovnet.results.read import read_answers

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


# What two rows share that differ in cache reuse alone.
BUT_REUSE = tuple(name for name in SETTINGS if name != "cache_reuse")
SAVED = ("avg_text_tokens", "prefill_gflops", "latency_p50_ms", "latency_p90_ms")
ANSWERED = ("accuracy", "avg_cost", "action_ratio", "action_rate_no")

Pair = tuple[ResultRow, ResultRow]  # with reuse, without


def reuse_pairs(rows: Sequence[ResultRow]) -> list[Pair]:
    """Rows that differ in cache reuse alone."""
    pairs = []
    for group in grouped(rows, BUT_REUSE):
        by_reuse = {row.cache_reuse: row for row in group}
        if len(by_reuse) == 2:
            pairs.append((by_reuse[True], by_reuse[False]))
    return pairs


def reuse_rows(rows: Sequence[ResultRow]) -> list[dict[str, Any]]:
    """Both values of everything that reuse may save, and their ratio (with over without), a line per setting.

    Latencies (milliseconds a question) are empty in replay, where nothing runs.
    """
    lines = []
    for reused, anew in reuse_pairs(rows):
        line: dict[str, Any] = record(reused, (*BUT_REUSE, *ANSWERED))
        for name in SAVED:
            with_it, without = getattr(reused, name), getattr(anew, name)
            line |= {f"{name}_with": with_it, f"{name}_without": without}
            line[f"{name}_ratio"] = with_it / without if with_it is not None and without else None
        lines.append(line)
    return lines


def changed_answers(results: Sequence[tuple[ResultRow, Path]]) -> list[dict[str, Any]]:
    """How many questions there are, and the ids of those that reuse answers or looks at otherwise; a line per setting.

    Args:
        results: rows and the folders that hold their predictions.

    Raises:
        VoVNetError: predictions are missing or damaged.
    """
    folders = {id(row): folder for row, folder in results}
    lines = []
    for pair in reuse_pairs([row for row, _ in results]):
        reused, anew = (read_answers(folders[id(row)]) for row in pair)
        questions = reused.keys() | anew.keys()
        changed = [name for name in questions if reused.get(name) != anew.get(name)]
        facts = {"questions": len(questions), "changed": changed}
        lines.append(record(pair[0], ("dataset", "baseline_name")) | facts)
    return lines


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
