"""Block F2: what continuing the text pass's key-value cache saves, from rows with and without it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vovnet.results.columns import SETTINGS, ResultRow, grouped, record
from vovnet.results.read import read_answers

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
