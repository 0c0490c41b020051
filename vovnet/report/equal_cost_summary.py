"""The comparison at equal cost in one line for each method, baseline and data set."""

from collections.abc import Sequence
from functools import partial
from statistics import median

import numpy as np

from vovnet.metrics.curves import CostAtAccuracy, cost_at_accuracy
from vovnet.metrics.equal_cost import Settings, held_out
from vovnet.metrics.inference import crossed_bootstrap
from vovnet.report.analysis import Line
from vovnet.report.equal_cost import (
    DRAWN,
    RESAMPLED,
    baseline_settings,
    drawn_settings,
    fixed_runs,
    own_branches,
    settings_of,
    vovnet_methods,
)
from vovnet.report.labels import Column
from vovnet.report.predictions import Predictions
from vovnet.report.study import Study
from vovnet.report.tables import KEEP
from vovnet.terminal import counted

COLUMNS = (
    "dataset method policies baseline comparisons wins ties losses in_range wins_in_range losses_in_range "
    "corrected_over median_difference share share_low share_high baseline_share baseline_share_low baseline_share_high "
    "resampled reason"
).split()
LEVEL = 0.05  # of the whole table
SHARES = np.linspace(0, 1, 101)  # of always_full's cost
NEVER = "not reached by a mixture up to always_full's cost"
NOT_RUN = "always_full was not run"


def summary_view(lines: Sequence[Line]) -> tuple[Column, ...]:
    """How people see the table; its headings say over how many comparisons Holm's correction is."""
    over = f"Holm over {lines[0]['corrected_over']}" if lines else "Holm"
    reason = [Column("reason", "empty because")] if any(line["reason"] for line in lines) else []
    return (
        Column("dataset", "data set"), Column("method", "policy"), Column("baseline", "baseline"),
        Column("wins", f"wins ({over})", 0), Column("ties", "ties", 0), Column("losses", "losses", 0),
        Column("in_range", "in its range", 0), Column("wins_in_range", "wins there", 0),
        Column("median_difference", "median difference", 3),
        Column("share", f"of FULL's cost at its accuracy less {KEEP:g}", 2), Column("share_low", "from", 2),
        Column("share_high", "to", 2), Column("baseline_share", "baseline", 2),
        Column("baseline_share_low", "from", 2), Column("baseline_share_high", "to", 2),
        Column("resampled", "policy's intervals over"), *reason,
    )  # fmt: skip


def summary_sentences(lines: Sequence[Line]) -> list[str]:
    """One for each data set and method, with the baseline that keeps the accuracy at the least cost."""
    cells: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        cells.setdefault((line["dataset"], line["method"]), []).append(line)
    found = []
    for (dataset, method), cell in cells.items():
        wins, ties, losses = (sum(line[name] for line in cell) for name in ("wins", "ties", "losses"))
        text = (
            f"{dataset}: {method} at the cost of {counted(len(cell), 'baseline')}: "
            f"{counted(wins, 'win')}, {counted(ties, 'tie')}, {counted(losses, 'loss')} "
            f"(p < {LEVEL:g}, Holm over {cell[0]['corrected_over']}; {cell[0]['resampled']})"
        )
        known = [line for line in cell if line["baseline_share"] is not None]
        if cell[0]["share"] is not None and known:
            rival = min(known, key=lambda line: float(line["baseline_share"]))
            text += (
                f"; always_full's accuracy less {KEEP:g} at {_spread(cell[0], 'share')} of its cost, "
                f"{rival['baseline']} at {_spread(rival, 'baseline_share')}"
            )
        found.append(text)
    return found


def summary_lines(grouped: Sequence[Study], lines: Sequence[Line]) -> list[Line]:
    """Wins, ties and losses over lambda, median difference, and what always_full's accuracy less a point costs.

    A win or loss is a difference whose p-value, after Holm's correction over all comparisons of ``lines`` (every data
    set, method, lambda and baseline), is below 0.05. ``in_range`` of them are at costs that the baseline's own settings
    reach; elsewhere it mixes with a fixed policy. ``share`` is the least cost at which the method's frontier
    reaches always_full's accuracy less ``KEEP``, as a share of always_full's cost, with a 95 % interval.

    Args:
        lines: of ``equal_cost.corrected``.
    """
    found = []
    for study in grouped:
        cells: dict[tuple[str, str], list[Line]] = {}
        for line in lines:
            if line["dataset"] == study.name:
                cells.setdefault((line["method"], line["baseline"]), []).append(line)
        shares = _shares(study) if cells else {}
        for (method, baseline), cell in cells.items():
            own, other = shares.get((method, "")), shares.get((method, baseline), shares.get(("", baseline)))
            found.append(
                _counted(cell)
                | {"corrected_over": len(lines), "resampled": RESAMPLED[max(line["policies"] for line in cell) > 1]}
                | _columns("share", own)
                | _columns("baseline_share", other)
                | {"reason": _reason(own, other)}
            )
    return found


def kept_share(seeds: Sequence[Settings], full: Predictions, last: int) -> CostAtAccuracy:
    """Where a method's frontier reaches always_full's accuracy less ``KEEP``, as a share of always_full's cost.

    The frontier is the best mixture at each cost, chosen by other questions than measure it, and goes on towards
    always_full, in which it ends. Its accuracy less always_full's has an interval over seeds and images at each cost;
    those are inverted, which leaves nothing out: at always_full's own cost the difference is about 0.

    Args:
        seeds: what may be mixed, fixed policies included, for each policy that was trained.
        full: always_full's predictions. ``last``: its place among each of ``seeds``.
    """
    budgets = full.cost[:, None] * SHARES
    scores = [held_out(one, budgets, full.group, last).scores for one in seeds]
    found = crossed_bootstrap(np.stack(scores, axis=1) - full.score[:, None, None], full.group)
    return cost_at_accuracy(SHARES, found.mean, found.low, found.high, -KEEP)


def _counted(cell: Sequence[Line]) -> Line:
    there = [line for line in cell if line["in_range"]]
    wins, losses = _decided(cell)
    wins_there, losses_there = _decided(there)
    return {
        **{name: cell[0][name] for name in ("dataset", "method", "baseline")},
        "policies": max(line["policies"] for line in cell),
        "comparisons": len(cell),
        "wins": wins,
        "ties": len(cell) - wins - losses,
        "losses": losses,
        "in_range": len(there),
        "wins_in_range": wins_there,
        "losses_in_range": losses_there,
        "median_difference": median(line["difference"] for line in cell),
    }


def _decided(cell: Sequence[Line]) -> tuple[int, int]:
    """Wins and losses."""
    found = [line["difference"] for line in cell if line["p_holm"] < LEVEL]
    return sum(gap > 0 for gap in found), sum(gap < 0 for gap in found)


def _shares(study: Study) -> dict[tuple[str, str], CostAtAccuracy]:
    """By method, by baseline ("" for none), and by both where a baseline is drawn at the method's rates.

    Empty without an always_full run.
    """
    fixed = fixed_runs(study)
    if "always_full" not in fixed:
        return {}
    open_to_all = settings_of(fixed.values())
    kept = partial(kept_share, full=fixed["always_full"].predictions, last=list(fixed).index("always_full"))
    found = {("", name): kept([settings]) for name, settings in baseline_settings(study, open_to_all).items()}
    for method, compared in vovnet_methods(study).items():
        runs = [run for one in compared for run in one.runs]
        seeds = [[run for run in runs if run.row.seed == seed] for seed in sorted({run.row.seed for run in runs})]
        found[method, ""] = kept([open_to_all.joined(settings_of(part)) for part in seeds])
        if (own := own_branches(study, runs[0], fixed)) is not None:
            for name, buckets in DRAWN.items():
                found[method, name] = kept([open_to_all.joined(drawn_settings(part, own, buckets)) for part in seeds])
    return found


def _columns(name: str, share: CostAtAccuracy | None) -> Line:
    if share is None or share.cost is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: share.cost, f"{name}_low": share.low, f"{name}_high": 1.0 if share.high is None else share.high}


def _reason(own: CostAtAccuracy | None, other: CostAtAccuracy | None) -> str:
    """Why cells are empty."""
    if own is None or other is None:
        return NOT_RUN
    names = [name for name, share in (("VoVNet", own), ("baseline", other)) if share.cost is None]
    return f"{' and '.join(names)}: {NEVER}" if names else ""


def _spread(line: Line, name: str) -> str:
    return f"{line[name]:.2f} ({line[f'{name}_low']:.2f} to {line[f'{name}_high']:.2f})"
