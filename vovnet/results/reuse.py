"""Block F2: what continuing the text pass's key-value cache saves, from rows with and without it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vovnet.results.check import Check
from vovnet.results.columns import SETTINGS, ResultRow, grouped, record
from vovnet.results.read import read_answers

# What two rows share that differ in cache reuse alone.
SETTING = tuple(name for name in SETTINGS if name != "cache_reuse")
SAVED = ("avg_text_tokens", "prefill_gflops", "latency_p50_ms", "latency_p90_ms")
ANSWERED = ("accuracy", "avg_cost", "action_ratio")

Pair = tuple[ResultRow, ResultRow]  # with reuse, without


def reuse_pairs(rows: Sequence[ResultRow]) -> list[Pair]:
    """Rows that differ in cache reuse alone."""
    pairs = []
    for group in grouped(rows, SETTING):
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
        line: dict[str, Any] = record(reused, (*SETTING, *ANSWERED))
        for name in SAVED:
            with_it, without = getattr(reused, name), getattr(anew, name)
            line |= {f"{name}_with": with_it, f"{name}_without": without}
            line[f"{name}_ratio"] = with_it / without if with_it is not None and without else None
        lines.append(line)
    return lines


def reuse_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """F2: reuse reads fewer tokens (as many, where no question is looked at)."""
    checks = []
    for reused, anew in reuse_pairs(rows):
        if reused.avg_text_tokens is None or anew.avg_text_tokens is None:
            continue
        looks = reused.action_rate_no < 1
        fewer = reused.avg_text_tokens < anew.avg_text_tokens
        tokens = f"{reused.avg_text_tokens:.1f} with, {anew.avg_text_tokens:.1f} without"
        checks.append(Check(f"{_label(reused)}: fewer text tokens read", fewer or not looks, tokens))
    return checks


def answer_checks(results: Sequence[tuple[ResultRow, Path]]) -> list[Check]:
    """F2: reuse changes no action and no answer, question by question.

    Args:
        results: rows and the folders that hold their predictions.

    Raises:
        VoVNetError: predictions are missing or damaged.
    """
    folders = {id(row): folder for row, folder in results}
    checks = []
    for pair in reuse_pairs([row for row, _ in results]):
        reused, anew = (read_answers(folders[id(row)]) for row in pair)
        questions = reused.keys() | anew.keys()
        changed = [name for name in questions if reused.get(name) != anew.get(name)]
        seen = f"{len(questions) - len(changed)} of {len(questions)} questions alike"
        if changed:
            seen += f", not {min(changed)}"
        checks.append(Check(f"{_label(pair[0])}: no action and no answer changes", not changed, seen))
    return checks


def _label(row: ResultRow) -> str:
    return f"{row.dataset}, {row.baseline_name or 'VoVNet'}, cache reuse"
