"""The figures of a report, one function each; a figure whose data were not run is left out."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vovnet.actions import USUAL, named
from vovnet.metrics.curves import budgeted_oracle, concave_hull, utility_regret
from vovnet.metrics.estimators import reliability
from vovnet.policy.decide import Choices
from vovnet.report.analysis import point, value_runs
from vovnet.report.frontier import Curve, SeedCurve, first_seeds, interval_arms, over_seeds, prominent
from vovnet.report.study import Study
from vovnet.report.style import (
    ACTION_COLORS,
    PAGE,
    action_color,
    draw_mixing,
    legend_below,
    looks,
    name_fixed,
    panel,
    plain,
    save,
)
from vovnet.results.columns import ResultRow, rates_of
from vovnet.schema import ReportConfig

COST = "average cost (1: a maximal FULL image's tokens)"
APPENDIX = "more_methods"
LONGEST = 80  # letters of a study's name in a file's name
MOST = 6  # names under a figure
LINES = 2  # of these, in the frontier: random mixing and the oracle
MARKERS_OF_LOOKS = "ovsD^P*X"
LAMBDAS = np.concatenate([[0.0], np.geomspace(0.003, 1.0, 60)])


def frontier(study: Study) -> Figure | None:
    """Accuracy against cost: the main methods, the fixed policies, random mixing and the oracle."""
    if not study.curves and len(study.fixed) < 2:
        return None
    drawn = prominent(over_seeds(study.curves), MOST - LINES)
    return _frontier(study, drawn, _title(study, drawn))


def further(study: Study) -> list[Figure]:
    """For an appendix: the methods that the frontier leaves out, a few in each figure."""
    every = over_seeds(study.curves)
    drawn, size = prominent(every, MOST - LINES), MOST - LINES
    left = [curve for curve in every if curve not in drawn]
    parts = [left[at : at + size] for at in range(0, len(left), size)]
    return [_frontier(study, part, f"{study.name}: more methods") for part in parts]


def _frontier(study: Study, drawn: Sequence[SeedCurve], title: str) -> Figure:
    figure, axis = panel(title, COST, "accuracy", height=2.9)
    for curve, (color, marker) in zip(drawn, looks(), strict=False):
        costs, scores, spread = curve.mean("avg_cost"), curve.mean("accuracy"), curve.deviation("accuracy")
        # Intervals of VoVNet alone: those of a dozen baselines would hide the points; the tables hold them all.
        alone = curve.is_vovnet and curve.seeds == 1
        errors = interval_arms([row for (row,) in curve.points]) if alone else None
        axis.errorbar(
            costs, scores, yerr=errors, color=color, marker=marker, ms=3.5, mew=0, elinewidth=0.6, label=curve.label,
            ls="-" if curve.is_vovnet else ":", zorder=3 if curve.is_vovnet else 2,
        )  # fmt: skip
        if curve.seeds > 1:
            axis.fill_between(costs, scores - spread, scores + spread, color=color, alpha=0.2, lw=0)
    name_fixed(axis, study.fixed)
    draw_mixing(axis, study.fixed)
    if study.branches is not None:
        oracle = budgeted_oracle(*study.branches.table(study.branches.looks))
        axis.plot(oracle.costs, oracle.accuracies, "-.", color="grey", lw=0.9, label="oracle at every budget", zorder=1)
    legend_below(axis)
    return figure


def _title(study: Study, drawn: Sequence[Curve | SeedCurve], own: bool = False) -> str:
    """The data set, and how many curves (VoVNet's alone with ``own``) are left to the tables."""
    left = sum(curve.is_vovnet or not own for curve in over_seeds(study.curves)) - len(drawn)
    return f"{study.name} (the tables hold {left} more curves)" if left else study.name


def action_ratios(study: Study) -> Figure | None:
    """Share of each action over lambda, for the first VoVNet curve with more than one lambda."""
    curve = next((c for c in study.curves if c.is_vovnet and len(c.rows) > 1), None)
    if curve is None:
        return None
    figure, axis = panel(f"{study.name}: {curve.label}", "λ (accuracy worth one whole image)", "share of questions")
    places = np.arange(len(curve.rows))
    base = np.zeros(len(curve.rows))
    shares, labels = [rates_of(row) for row in curve.rows], [look.label for look in study.looks]
    for label in (label for label in labels if label in shares[0]):
        rates = np.array([share.get(label, 0.0) for share in shares])
        axis.bar(places, rates, bottom=base, width=0.8, color=action_color(label, labels), label=label.upper())
        base += rates
    axis.set_ylim(0, 1)
    axis.set_xticks(places, [f"{row.lambda_cost:g}" for row in curve.rows], rotation=45 if len(places) > 6 else 0)
    axis.grid(visible=False)
    legend_below(axis, columns=3)
    return figure


def kept_accuracy(study: Study) -> Figure | None:
    """Accuracy kept, as a share of always_full's, against a budget as a share of its cost."""
    if study.ends is None or not study.curves:
        return None
    low, high = (point(row) for row in study.ends)
    if not high[1] or high[0] <= low[0]:
        return None
    drawn = prominent(first_seeds(study.curves), MOST - 1)
    title = _title(study, drawn)
    figure, axis = panel(title, "budget (share of always_full's cost)", "accuracy kept (1: always_full's)")
    shares = np.linspace(0, 1, 201)
    budgets = low[0] + shares * (high[0] - low[0])
    for curve, (color, marker) in zip(drawn, looks(), strict=False):
        if curve.rows[0].baseline_name == "oracle":  # so far above that the others would lie on one line
            continue
        hull = concave_hull([*map(point, curve.rows), low])
        axis.plot(
            shares, hull.at(budgets) / high[1], color=color, ls="-" if curve.is_vovnet else ":", label=curve.label,
            marker=marker, markevery=40, ms=3.5, mew=0,
        )  # fmt: skip
    hull = concave_hull([point(row) for row in study.fixed.values()])
    axis.plot(shares, hull.at(budgets) / high[1], "--", color="grey", lw=0.9, label="random mixing")
    axis.axhline(1, color="black", lw=0.5)
    legend_below(axis)
    return figure


def calibration(study: Study) -> Figure | None:
    """Value estimates against the scores that came of each action, in equal-mass bins."""
    runs = [(c, r) for c, r in value_runs(study) if r.row.objective == "value" and r.predictions.values is not None]
    if study.branches is None or not runs:
        return None
    curve, run = runs[0]
    figure, axis = panel(f"{study.name}: {curve.label}", "value estimate (mean of a bin)", "score (mean of a bin)")
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, label="calibrated")
    labels = [look.label for look in study.looks]
    for column, label in enumerate(run.predictions.valued):
        values, scores = run.predictions.values, study.branches.outcomes.branches[named(label, study.looks)].score
        assert values is not None
        bins = reliability(values[:, column], scores, 10)
        color, marker = action_color(label, labels), MARKERS_OF_LOOKS[column % len(MARKERS_OF_LOOKS)]
        axis.plot(bins.estimate, bins.score, color=color, marker=marker, ms=3.5, label=f"value of {label.upper()}")
    axis.set_aspect("equal")
    legend_below(axis)
    return figure


def regret(study: Study) -> Figure | None:
    """Utility regret over lambda against the best of all looks: the policy at each lambda, and the fixed actions."""
    if study.branches is None:
        return None
    looks_of_all = study.branches.looks
    scores, costs = study.branches.table(looks_of_all)
    drawn = prominent([c for c in first_seeds(study.curves) if c.is_vovnet], MOST - len(USUAL))
    figure, axis = panel(
        _title(study, drawn, own=True), "λ (accuracy worth one whole image)", "utility regret (accuracy)"
    )
    known = [(curve, run) for curve, run in value_runs(study) if curve in drawn]
    for (curve, run), (color, _) in zip(known, looks(), strict=False):
        values = run.predictions.values
        if values is None:
            continue
        own = np.array([looks_of_all.index(named(label, looks_of_all)) for label in run.predictions.valued])
        choices = Choices(values, costs[:, own])
        lost = [utility_regret(scores, costs, own[choices.at(p)], p) for p in LAMBDAS]
        axis.plot(LAMBDAS, lost, color=color, label=curve.label)
    for action, style in zip(USUAL, ("--", "-.", ":"), strict=True):
        columns = np.full(len(scores), looks_of_all.index(action))
        lost = [utility_regret(scores, costs, columns, p) for p in LAMBDAS]
        axis.plot(LAMBDAS, lost, color="grey", ls=style, lw=0.9, label=f"always {action.label.upper()}")
    axis.set_xscale("symlog", linthresh=0.003)
    axis.set_xlim(0, LAMBDAS[-1])
    axis.set_ylim(bottom=0)
    legend_below(axis)
    return figure


def compute(study: Study) -> Figure | None:
    """Accuracy against all floating-point operations of a question: text pass, vision tower, prompts and answers."""
    counted = [row for row in study.rows if row.gflops is not None]
    if not counted:
        return None
    figure, axis = panel(study.name, "GFLOPs per question, everything included", "accuracy", height=2.9)
    named = prominent(_by_label(study, counted), MOST)
    for curve, (color, marker) in zip(named, looks(), strict=False):
        style = "-" if curve.is_vovnet else ":"
        points = sorted((row.gflops or 0.0, row.accuracy) for row in curve.rows)
        axis.plot(*zip(*points, strict=True), color=color, marker=marker, ms=3.5, ls=style, label=curve.label)
    axis.set_xlim(left=0)
    legend_below(axis)
    return figure


def latency(study: Study) -> Figure | None:
    """Median latency of live runs, question by question, against cost."""
    timed = [row for row in study.rows if row.latency_p50_ms is not None]
    if not timed:
        return None
    figure, axis = panel(study.name, COST, "latency, median to 90th percentile (ms)")
    for curve, (color, marker) in zip(prominent(_by_label(study, timed), MOST), looks(), strict=False):
        middle = [row.latency_p50_ms or 0.0 for row in curve.rows]
        spread = [(row.latency_p90_ms or 0.0) - (row.latency_p50_ms or 0.0) for row in curve.rows]
        costs = [row.avg_cost for row in curve.rows]
        zero = [0.0] * len(spread)
        axis.errorbar(
            costs, middle, yerr=(zero, spread), color=color, marker=marker, ms=4, capsize=2, label=curve.label
        )
    axis.set_ylim(bottom=0)
    legend_below(axis)
    return figure


def categories(study: Study, most: int = 12) -> Figure | None:
    """Accuracy of every action by category, and VoVNet's at the middle of its lambdas."""
    if study.branches is None:
        return None
    names = np.array([study.branches.dataset[i].category for i in range(len(study.branches.scores))])
    found, counts = np.unique(names, return_counts=True)
    if len(found) < 2:
        return None
    shown = found[np.argsort(-counts, kind="stable")][:most]
    bars = [(a.label.upper(), study.branches.scores[:, int(a)], ACTION_COLORS[a.label]) for a in USUAL]
    curve = next((c for c in study.curves if c.is_vovnet), None)
    if curve is not None:
        row = curve.rows[len(curve.rows) // 2]
        bars.append((f"VoVNet, λ = {row.lambda_cost:g}", study.run_of(row).predictions.score, "#D55E00"))
    more = f" (the {most} largest of {len(found)})" if len(found) > most else ""
    figure, axis = panel(f"{study.name}: categories{more}", "accuracy", "", height=0.5 + 0.32 * len(shown))
    places, thick = np.arange(len(shown)), 0.8 / len(bars)
    for i, (label, scores, color) in enumerate(bars):
        means = [scores[names == name].mean() for name in shown]
        axis.barh(places + (i - (len(bars) - 1) / 2) * thick, means, thick, color=color, label=label)
    axis.set_yticks(places, [plain(name) for name in shown])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.grid(visible=False, axis="y")
    legend_below(axis, columns=4)
    return figure


FIGURES: dict[str, Callable[[Study], Figure | None]] = {
    "frontier": frontier,
    "action_ratio": action_ratios,
    "kept_accuracy": kept_accuracy,
    "calibration": calibration,
    "utility_regret": regret,
    "compute": compute,
    "latency": latency,
    "categories": categories,
}


def draw_figures(studies: Sequence[Study], folder: Path, limits: ReportConfig) -> list[Path]:
    """Draw what can be drawn into ``folder``; returns a file of each figure, of the first ``limits.format``."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [
        path for name in (*FIGURES, APPENDIX) for path in folder.glob(f"{name}_*")
    ]:  # an earlier report's, of other runs
        path.unlink()
    written = []
    for study, ending in zip(studies, slugs([study.name for study in studies]), strict=True):
        drawn = {name: figure for name, draw in FIGURES.items() if (figure := draw(study)) is not None}
        drawn |= {f"{APPENDIX}_{place}": figure for place, figure in enumerate(further(study), start=1)}
        for name, figure in drawn.items():
            if limits.width == "page":
                figure.set_figwidth(PAGE)
            written.append(save(figure, folder / f"{name}_{ending}", limits.format)[0])
    return written


def slugs(names: Sequence[str]) -> list[str]:
    """File names of studies' names; a long one is cut, and one that is another's too gets a hash of its own."""
    plain = [re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") for name in names]
    return [
        short if len(short) <= LONGEST and plain.count(short) == 1 else f"{short[:LONGEST]}_{_hash(name)}"
        for name, short in zip(names, plain, strict=True)
    ]


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _by_label(study: Study, rows: Sequence[ResultRow]) -> list[Curve]:
    """Timed rows by curve; the fixed policies as curves of one point."""
    chosen = {id(row) for row in rows}
    kept = [Curve(c.label, tuple(r for r in c.rows if id(r) in chosen)) for c in study.curves]
    fixed = [Curve(name, (row,)) for name, row in study.fixed.items() if id(row) in chosen]
    return [curve for curve in kept if curve.rows] + fixed
