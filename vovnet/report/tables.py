"""The tables of block G1 as CSV, Markdown and LaTeX."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vovnet.actions import FIXED_POLICIES
from vovnet.files import write_text
from vovnet.metrics.curves import pareto_front
from vovnet.outcomes.judge import MOST_UNREAD
from vovnet.report.analysis import Line, method_lines, point
from vovnet.report.labels import Column, cell, described, point_label
from vovnet.report.study import Study
from vovnet.results.columns import RATES, ResultRow, record
from vovnet.results.write import write_rows

KEEP = 0.01  # accuracy that the main table's rows may lose against always_full
MAIN = ("dataset", "method", "setting", "accuracy", "accuracy_ci_low", "accuracy_ci_high", "avg_cost", "cost_of_full",
        "avg_vision_tokens", *RATES, "delta_aiq", "num_samples", "unparsed_rate", "refusal_rate")  # fmt: skip
PARETO = ("dataset", "method", "setting", "lambda_cost", "accuracy", "accuracy_ci_low", "accuracy_ci_high",
          "avg_cost", "avg_vision_tokens", "avg_text_tokens", "prefill_gflops", "gflops", "on_front",
          "unparsed_rate")  # fmt: skip
RATIOS = ("dataset", "baseline_name", "lambda_cost", "setting", *RATES, "avg_cost", "accuracy")


MAIN_VIEW = (
    Column("dataset", "data set"), Column("setting", "policy"), described("accuracy", 3, "high"),
    Column("interval", "95 % interval"), described("avg_cost", 3), Column("cost_of_full", "of FULL", 2),
    *(described(name, 2) for name in RATES), Column("delta_aiq", "ΔAIQ", 3, "high"),
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
    ``KEEP``; at its most accurate one where none does."""
    gains = {line["method"]: line["delta_aiq"] for line in method_lines(study)}
    full = study.fixed.get("always_full")
    lines = [_line(study, n, n, study.fixed[n], full) for n in reversed(FIXED_POLICIES) if n in study.fixed]
    for curve in study.curves:
        keeping = [r for r in curve.rows if full is not None and r.accuracy >= full.accuracy - KEEP]
        best = max(curve.rows, key=lambda r: (r.accuracy, -r.avg_cost))
        row = min(keeping, key=lambda r: r.avg_cost) if keeping else best
        gain = {"delta_aiq": gains.get(curve.label)}
        lines.append(_line(study, curve.label, point_label(curve.label, row), row, full) | gain)
    return lines


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
        "interval": f"{row.accuracy_ci_low:.3f}–{row.accuracy_ci_high:.3f}",
        "cost_of_full": None if full is None or not full.avg_cost else row.avg_cost / full.avg_cost,
    }


def write_table(folder: Path, name: str, lines: Sequence[Line], columns: Sequence[str], view: Sequence[Column]) -> None:
    """``name``.csv with every digit, and ``name``.md and .tex as people read them."""
    write_rows(folder / f"{name}.csv", lines, columns)
    write_text(folder / f"{name}.md", markdown(lines, view))
    write_text(folder / f"{name}.tex", latex(lines, view))


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
    rows = [[f"**{text}**" if bold else text for text, bold in row] for row in _cells(lines, view)]
    body = ["| " + " | ".join(text.replace("|", "\\|").replace("<", "&lt;") for text in row) + " |" for row in rows]
    return "\n".join([head, rule, *body]) + "\n"


def latex(lines: Sequence[Line], view: Sequence[Column]) -> str:
    """A booktabs table (``\\usepackage{booktabs}``), a rule between data sets."""
    shape = "".join("l" if column.digits is None else "r" for column in view)
    out = [f"\\begin{{tabular}}{{{shape}}}", "\\toprule"]
    out += [" & ".join(escape(column.heading) for column in view) + " \\\\", "\\midrule"]
    before = None
    for line, row in zip(lines, _cells(lines, view), strict=True):
        if before is not None and line.get("dataset") != before:
            out.append("\\midrule")
        before = line.get("dataset")
        cells = [f"\\textbf{{{escape(text)}}}" if bold else escape(text) for text, bold in row]
        out.append(" & ".join(cells) + " \\\\")
    return "\n".join([*out, "\\bottomrule", "\\end{tabular}"]) + "\n"


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "λ": r"$\lambda$",
           "Δ": r"$\Delta$", "–": "--"} | {c: f"\\{c}" for c in "&%$#_{}"}  # fmt: skip


def escape(text: str) -> str:
    """Text that LaTeX takes as it is."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], text)


def _cells(lines: Sequence[Line], view: Sequence[Column]) -> list[list[tuple[str, bool]]]:
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
