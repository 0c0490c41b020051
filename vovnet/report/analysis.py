"""The numbers of a report: one line per method, per run and per estimator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vovnet.actions import USUAL, Action, named
from vovnet.analyses.slices import KINDS, error_kinds
from vovnet.metrics.curves import (
    KEPT,
    Hull,
    Point,
    aiq,
    budgeted_oracle,
    concave_hull,
    gap_closed,
    hypervolume,
    mean_gap_closed,
    recovery,
    utility_regret,
)
from vovnet.metrics.estimators import (
    augrc,
    auprc,
    aurc,
    auroc,
    brier_score,
    expected_calibration_error,
    need_estimates,
    need_labels,
)
from vovnet.outcomes.rows import places
from vovnet.report.frontier import Curve
from vovnet.report.runs import Run
from vovnet.report.study import Study
from vovnet.results.columns import ResultRow, rates_of

Line = dict[str, Any]
METHOD_COLUMNS = (
    "dataset method points aiq delta_aiq hypervolume gap apgr cpt_50 cpt_80 cpt_95 oracle_gap_closed".split()
)
DECISION_COLUMNS = (
    ["dataset", "policy", "accuracy", "avg_cost", *KINDS, "gap_closed_at_cost", "regret_lambda", "utility_regret"]
)  # fmt: skip
ESTIMATE_COLUMNS = "dataset policy estimator need prevalence auroc auprc".split()
CALIBRATION_COLUMNS = "dataset policy estimate brier ece".split()
SELECTIVE_COLUMNS = "dataset confidence error aurc augrc".split()


def point(row: ResultRow) -> Point:
    """A row's place in the plane."""
    return row.avg_cost, row.accuracy


def method_lines(study: Study) -> list[Line]:
    """Metrics of every curve over the range from no_vision to always_full; empty where one of these was not run.

    ``delta_aiq`` is against random mixing of the fixed policies.
    """
    if study.ends is None:
        return []
    low, high = (point(row) for row in study.ends)
    if high[0] <= low[0]:
        return []
    fixed = [point(row) for row in study.fixed.values()]
    mixing = aiq(fixed, low, high[0])
    oracles = dict[str, Hull]()  # each of the looks that a curve's runs chose among, and the usual ones
    if (branches := study.branches) is not None:
        menus = {curve.label: branches.beside(study.run_of(curve.rows[0]).menu) for curve in known_curves(study)}
        hulls = {menu: budgeted_oracle(*branches.table(menu)) for menu in {*menus.values()}}
        oracles = {label: hulls[menu] for label, menu in menus.items()}
    lines = []
    for name, points in [("random mixing", fixed), *((c.label, [point(r) for r in c.rows]) for c in study.curves)]:
        found, area = recovery(points, low, high), aiq(points, low, high[0])
        closed = None
        if name in oracles:  # the oracle looks once, at whole images
            closed = mean_gap_closed(concave_hull([*points, low]), concave_hull(fixed), oracles[name])
        shares = (None,) * len(KEPT) if found is None else found.cpt
        lines.append(
            {
                "dataset": study.name,
                "method": name,
                "points": len(points),
                "aiq": area,
                "delta_aiq": area - mixing,
                "hypervolume": hypervolume(points, low, high[0]),
                "gap": high[1] - low[1],
                "apgr": None if found is None else found.apgr,
                **{f"cpt_{round(100 * kept)}": share for kept, share in zip(KEPT, shares, strict=True)},
                "oracle_gap_closed": closed,
            }
        )
    return lines


def decision_lines(study: Study) -> list[Line]:
    """What each replayed run's choices lose against knowing the outcomes; empty without the branches.

    Runs whose FULL is another one (pruned, scaled) and those that look twice choose among other branches and are
    left out.
    """
    if study.branches is None:
        return []
    lines = []
    for run in study.runs:
        row = run.row
        if not study.sees(run):
            continue
        looks, shares = study.branches.beside(run.menu), rates_of(row)
        scores, costs = study.branches.table(looks)
        columns = places(looks, run.predictions.action)
        kinds = error_kinds(scores, columns)
        rates = np.array([shares[look.label] for look in looks])
        price = row.lambda_cost if row.lambda_cost is not None else 0.0
        lines.append(
            {
                "dataset": study.name,
                "policy": study.label_of(run),
                "accuracy": row.accuracy,
                "avg_cost": row.avg_cost,
                **{name: float((kinds == code).mean()) for code, name in enumerate(KINDS)},
                "gap_closed_at_cost": gap_closed(row.accuracy, row.avg_cost, rates, scores, costs),
                "regret_lambda": price,
                "utility_regret": utility_regret(scores, costs, columns, price),
            }
        )
    return lines


def known_curves(study: Study) -> list[Curve]:
    """Curves of runs that choose among branches that are known."""
    return [curve for curve in study.curves if all(study.sees(study.run_of(row)) for row in curve.rows)]


def value_runs(study: Study) -> list[tuple[Curve, Run]]:
    """One run of every VoVNet curve: its value estimates are the same at every lambda.

    Without those whose FULL is pruned.
    """
    return [(curve, study.run_of(curve.rows[0])) for curve in known_curves(study) if curve.is_vovnet]


def estimate_lines(study: Study) -> list[Line]:
    """How well values, entropy and margin rank the samples that need to look."""
    if study.branches is None:
        return []
    labels = need_labels(study.branches.scores)
    text = study.branches.outcomes.text
    needs_of: dict[str, Mapping[str, Mapping[str, np.ndarray]]] = {}
    for curve, run in value_runs(study):
        values = run.predictions.values
        valued = [run.predictions.valued.index(look.label) for look in USUAL if look.label in run.predictions.valued]
        if values is not None and len(valued) == len(USUAL):
            needs_of[curve.label] = {"value": need_estimates(values[:, valued], text.entropy, text.margin)["value"]}
    needs_of[""] = {name: of for name, of in need_estimates(None, text.entropy, text.margin).items() if _all_known(of)}
    return [
        {
            "dataset": study.name,
            "policy": policy,
            "estimator": estimator,
            "need": need,
            "prevalence": float(labels[need].mean()),
            "auroc": auroc(labels[need], estimate),
            "auprc": auprc(labels[need], estimate),
        }
        for policy, estimators in needs_of.items()
        for estimator, needs in estimators.items()
        for need, estimate in needs.items()
    ]


def _all_known(estimates: Mapping[str, np.ndarray]) -> bool:
    """Whether no estimate is NaN, as those of imported rows without entropy or margin are."""
    return not any(np.isnan(values).any() for values in estimates.values())


def calibration_lines(study: Study) -> list[Line]:
    """Brier score and ECE of the value estimates of each action (objective ``value``: expected scores)."""
    if study.branches is None:
        return []
    lines = []
    for curve, run in value_runs(study):
        values = run.predictions.values
        if values is None or run.row.objective != "value":
            continue
        for column, label in enumerate(run.predictions.valued):
            scores = study.branches.outcomes.branches[named(label, study.branches.looks)].score
            lines.append(
                {
                    "dataset": study.name,
                    "policy": curve.label,
                    "estimate": f"value of {label}",
                    "brier": brier_score(values[:, column], scores),
                    "ece": expected_calibration_error(values[:, column], scores),
                }
            )
    return lines


def selective_lines(study: Study) -> list[Line]:
    """Accepting blind answers by confidence: what the answer's probability, entropy, margin and value are worth."""
    if study.branches is None:
        return []
    outcomes, scores = study.branches.outcomes, study.branches.scores[:, int(Action.NO)]
    measures = {
        "answer probability": outcomes.branches[Action.NO].confidence,
        "entropy": -outcomes.text.entropy,
        "margin": outcomes.text.margin,
    }
    for curve, run in value_runs(study):
        if run.predictions.values is not None:
            measures[f"value of no, {curve.label}"] = run.predictions.values[:, 0]
    error = float(1 - scores.mean())
    return [
        {"dataset": study.name, "confidence": name, "error": error, "aurc": aurc(m, scores), "augrc": augrc(m, scores)}
        for name, m in measures.items()
        if not np.isnan(m).any()  # imported without it
    ]


def all_lines(studies: Sequence[Study]) -> dict[str, tuple[Sequence[str], list[Line]]]:
    """Every table of numbers by its file name: columns and lines."""
    made = {
        "methods": (METHOD_COLUMNS, method_lines),
        "decisions": (DECISION_COLUMNS, decision_lines),
        "estimates": (ESTIMATE_COLUMNS, estimate_lines),
        "calibration": (CALIBRATION_COLUMNS, calibration_lines),
        "selective": (SELECTIVE_COLUMNS, selective_lines),
    }
    return {name: (columns, [line for s in studies for line in make(s)]) for name, (columns, make) in made.items()}
