"""The tables of block G1 as CSV, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import FIXED_POLICIES
from vovnet.files import write_text
from vovnet.metrics.curves import pareto_front
from vovnet.outcomes.judge import MOST_UNREAD
from vovnet.report.analysis import Line, method_lines, point
from vovnet.report.frontier import SeedCurve, over_seeds
from vovnet.report.labels import Column, cell, described, point_label, rounded
from vovnet.report.study import Study
from vovnet.results.columns import OWN_RATE, RATES, ResultRow, record
from vovnet.results.write import write_rows
from vovnet.terminal import counted

KEEP = 0.01  # accuracy that the main table's rows may lose against always_full
MAIN = ("dataset", "method", "setting", "accuracy", "accuracy_ci_low", "accuracy_ci_high", "avg_cost", "cost_of_full",
        "avg_vision_tokens", *RATES, "delta_aiq", "num_samples", "unparsed_rate", "refusal_rate", "seeds",
        "accuracy_sd", "avg_cost_sd")  # fmt: skip
AVERAGED = {"accuracy", "avg_cost", "avg_vision_tokens", *RATES, "unparsed_rate", "refusal_rate"}
SUMMARY = ("dataset", "method", "setting", "accuracy", "accuracy_sd", "avg_cost", "cost_of_full", "looks")
PARETO = ("dataset", "method", "setting", "lambda_cost", "accuracy", "accuracy_ci_low", "accuracy_ci_high",
          "avg_cost", "avg_vision_tokens", "avg_text_tokens", "prefill_gflops", "gflops", "on_front",
          "unparsed_rate")  # fmt: skip
RATIOS = ("dataset", "baseline_name", "lambda_cost", "setting", *RATES, "avg_cost", "accuracy")


MAIN_VIEW = (
    Column("dataset", "data set"), Column("setting", "policy"), described("accuracy", 3, "high"),
    Column("interval", "95 % interval"), described("avg_cost", 3), Column("cost_of_full", "of FULL", 2),
    *(described(name, 2) for name in RATES), Column("delta_aiq", "ΔAIQ", 3, "high"),
)  # fmt: skip
SUMMARY_VIEW = (
    Column("dataset", "data set"), Column("setting", "policy"), described("accuracy", 3, "high"),
    Column("accuracy_sd", "±", 3), Column("cost_of_full", "of FULL", 2), Column("looks", "NO/COARSE/FULL (%)"),
)  # fmt: skip
UNREADABLE = described("unparsed_rate", 2)  # shown where it matters
PARETO_VIEW = (
    Column("dataset", "data set"), Column("setting", "policy"), described("accuracy", 3, "high"),
    Column("interval", "95 % interval"), described("avg_cost", 3), described("avg_vision_tokens"),
    described("gflops"), Column("on_front", "on the front"),
)  # fmt: skip
RATIO_VIEW = (
    Column("dataset", "data set"), Column("setting", "policy"), *map(described, RATES), described("avg_cost", 3),
    described("accuracy", 3),
)  # fmt: skip
EQUAL_COST_VIEW = (
    Column("dataset", "data set"), Column("policy", "policy"), Column("baseline", "baseline at equal cost"),
    Column("avg_cost", "cost", 3), Column("accuracy", "accuracy", 3), Column("baseline_accuracy", "baseline", 3),
    Column("difference", "difference", 3), Column("ci_low", "from", 3), Column("ci_high", "to", 3),
    Column("p_holm", "p (Holm)", 3), Column("gap_closed", "gap closed", 2), Column("resampled", "resampled"),
)  # fmt: skip


def main_lines(study: Study) -> list[Line]:
    """The fixed policies, and every other method at its cheapest setting that keeps always_full's accuracy less
    ``KEEP``; at its most accurate one where none does. Of several seeds, means."""
    gains = {line["method"]: line["delta_aiq"] for line in method_lines(study)}
    full = study.fixed.get("always_full")
    lines = [_line(study, n, n, study.fixed[n], full) for n in reversed(FIXED_POLICIES) if n in study.fixed]
    for curve in over_seeds(study.curves):
        accuracies, costs = curve.mean("accuracy"), curve.mean("avg_cost")
        keeping = [] if full is None else np.flatnonzero(accuracies >= full.accuracy - KEEP).tolist()
        best = np.lexsort((costs, -accuracies))[0]
        place = int(min(keeping, key=lambda at: costs[at])) if keeping else int(best)
        rows, known = curve.points[place], [gains[label] for label in curve.labels if label in gains]
        line = _line(study, curve.label, point_label(curve.label, rows[0]), rows[0], full)
        gain = {"delta_aiq": sum(known) / len(known) if known else None}
        lines.append(line | _over_seeds(curve, place, full) | gain)
    return lines


def _over_seeds(curve: SeedCurve, place: int, full: ResultRow | None) -> Line:
    """Means over the seeds of a point, and the standard deviation in place of an interval."""
    rows = curve.points[place]
    if len(rows) == 1:
        return {}
    lines = [record(row) for row in rows]
    found: Line = {
        name: sum(float(line[name] or 0) for line in lines) / len(lines)
        for name in lines[0]
        if name in AVERAGED or name.startswith(OWN_RATE)
    }
    spread = {f"{name}_sd": float(curve.deviation(name)[place]) for name in ("accuracy", "avg_cost")}
    seeds = {"seeds": len(rows), "interval": f"±{spread['accuracy_sd']:.3f} over {counted(len(rows), 'seed')}"}
    share = None if full is None or not full.avg_cost else found["avg_cost"] / full.avg_cost
    return found | spread | seeds | {"accuracy_ci_low": None, "accuracy_ci_high": None, "cost_of_full": share}


def summary_view(lines: Sequence[Line]) -> tuple[Column, ...]:
    """Its columns; a deviation over seeds where some line has one."""
    several = any(line.get("accuracy_sd") is not None for line in lines)
    return tuple(column for column in SUMMARY_VIEW if several or column.name != "accuracy_sd")


def summary_lines(lines: Sequence[Line]) -> list[Line]:
    """The main table's lines, the looks in one cell."""
    own = [name for line in lines for name in line if name.startswith(OWN_RATE)]
    return [
        line | {"looks": "/".join(f"{100 * line[name]:.0f}" for name in (*RATES, *dict.fromkeys(own)) if name in line)}
        for line in lines
    ]


def pareto_lines(study: Study) -> list[Line]:
    """Every setting by cost, and whether none beats it."""
    front = set(pareto_front([point(row) for row in study.rows if row.baseline_name != "oracle"]))
    lines = [
        line | {"on_front": "yes" if point(row) in front and row.baseline_name != "oracle" else ""}
        for line, row in _every_line(study)
    ]
    return sorted(lines, key=lambda line: (line["avg_cost"], -line["accuracy"], line["setting"]))


def ratio_lines(study: Study) -> list[Line]:
    """How often each setting takes each action."""
    return [line for line, _ in _every_line(study)]


def _every_line(study: Study) -> list[tuple[Line, ResultRow]]:
    """The fixed policies, then every point of every curve."""
    fixed = [(_line(study, name, name, row, None), row) for name, row in sorted(study.fixed.items())]
    points = [(curve, row) for curve in study.curves for row in curve.rows]
    return fixed + [(_line(study, c.label, point_label(c.label, row), row, None), row) for c, row in points]


def _line(study: Study, method: str, name: str, row: ResultRow, full: ResultRow | None) -> Line:
    return {
        **record(row),
        "dataset": study.name,
        "method": method,
        "setting": name,
        "interval": f"{rounded(row.accuracy_ci_low, 3)}–{rounded(row.accuracy_ci_high, 3)}",
        "cost_of_full": None if full is None or not full.avg_cost else row.avg_cost / full.avg_cost,
    }


def write_table(
    folder: Path, name: str, lines: Sequence[Line], columns: Sequence[str], view: Sequence[Column], tex: str
) -> None:
    """``name``.csv with every digit, ``name``.md as people read it, and ``name``.tex for a paper."""
    write_rows(folder / f"{name}.csv", lines, columns)
    write_text(folder / f"{name}.md", markdown(lines, view))
    write_text(folder / f"{name}.tex", tex)


def with_unreadable(view: Sequence[Column], lines: Sequence[Line]) -> tuple[Column, ...]:
    """A view with the share of unreadable answers, where some line's says that it measured little."""
    unread = any(line["unparsed_rate"] > MOST_UNREAD for line in lines)
    return (*view, UNREADABLE) if unread else tuple(view)


def plain_view(columns: Sequence[str]) -> tuple[Column, ...]:
    """A view of a table of numbers, three digits each."""
    return tuple(Column(name, name.replace("_", " "), 3) for name in columns)


def markdown(lines: Sequence[Line], view: Sequence[Column]) -> str:
    """A Markdown table, numbers to the right, the best of each data set in bold."""
    head = "| " + " | ".join(column.heading for column in view) + " |"
    rule = "|" + "|".join("---" if column.digits is None else "---:" for column in view) + "|"
    rows = [[f"**{text}**" if bold else text for text, bold in row] for row in marked_cells(lines, view)]
    body = ["| " + " | ".join(text.replace("|", "\\|").replace("<", "&lt;") for text in row) + " |" for row in rows]
    return "\n".join([head, rule, *body]) + "\n"


def marked_cells(lines: Sequence[Line], view: Sequence[Column]) -> list[list[tuple[str, bool]]]:
    """Text of every cell, and whether it is the best of its data set."""
    groups: dict[Any, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.get("dataset"), []).append(line)
    best = {(key, c.name): _best(group, c) for key, group in groups.items() for c in view if c.best}
    return [
        [(cell(line.get(c.name), c), _is_best(line, c, best.get((line.get("dataset"), c.name)))) for c in view]
        for line in lines
    ]


def _best(lines: Sequence[Mapping[str, Any]], column: Column) -> float | None:
    """The best value of the methods that one could use: the oracle's, which knows the answers, is none."""
    known = [line[column.name] for line in lines if line.get(column.name) is not None and not _is_oracle(line)]
    if len(known) < 2:
        return None
    return float(max(known) if column.best == "high" else min(known))


def _is_best(line: Line, column: Column, best: float | None) -> bool:
    value = line.get(column.name)
    return best is not None and value == best and not _is_oracle(line)


def _is_oracle(line: Mapping[str, Any]) -> bool:
    return str(line.get("setting", "")).startswith("oracle")
