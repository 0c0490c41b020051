"""VoVNet against every baseline at equal cost, sample by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.actions import FIXED_POLICIES
from vovnet.analyses.seeds import SETTING, one_per_seed
from vovnet.metrics.equal_cost import drawn, mixture
from vovnet.metrics.oracle_gap import gap_closed
from vovnet.metrics.paired import paired_bootstraps
from vovnet.policy.random_matched import BUCKETS
from vovnet.report.analysis import Line, point
from vovnet.report.labels import usual_settings, vovnet_label
from vovnet.report.runs import Run
from vovnet.report.study import Study
from vovnet.results.columns import grouped

COLUMNS = (
    "dataset policy policies baseline avg_cost accuracy baseline_cost baseline_accuracy difference ci_low ci_high "
    "p_value policies_above gap_closed"
).split()
RESAMPLES = 2_000
# Drawn at VoVNet's own rates, exactly in expectation, these stand for their draws.
DRAWN = {"random, matched": 1, "random, matched by entropy": BUCKETS}


@dataclass(frozen=True)
class Rival:
    """A baseline at one policy's cost: expected score [N] and average cost."""

    scores: np.ndarray
    cost: float


def equal_cost_lines(study: Study) -> list[Line]:
    """Each VoVNet setting less each baseline at the same average cost, with intervals clustered by image.

    A baseline is the best mixture of its settings and no_vision at that cost; above its dearest setting it stays
    there. Policies of several seeds count together, sample by sample; ``policies_above`` of them beat the baseline
    with an interval of their own that excludes zero. Empty without a no_vision run.
    """
    by_row = {id(run.row): run for run in study.runs}
    fixed = {name: by_row[id(row)] for name, row in study.fixed.items()}
    if "no_vision" not in fixed:
        return []
    families = _families(study, by_row, fixed)
    own = [row for row in study.rows if not row.baseline_name]
    usual = usual_settings(own)
    lines, gaps = [], []
    for rows in grouped(own, (*SETTING, "lambda_cost")):
        if not any(row.avg_cost > 0 for row in rows):  # it never looks, as no_vision
            continue
        rows = one_per_seed(rows)
        runs = [by_row[id(row)] for row in rows]
        label = vovnet_label(rows[0], usual | {"seed": rows[0].seed}) + f", λ = {rows[0].lambda_cost:g}"
        met = [_rivals(run, families, _own_branches(study, run, fixed)) for run in runs]
        for name in met[0]:
            rivals = [of_one[name] for of_one in met]
            each = np.stack([run.predictions.score - r.scores for run, r in zip(runs, rivals, strict=True)], axis=1)
            lines.append(
                {
                    "dataset": study.name,
                    "policy": label,
                    "policies": len(runs),
                    "baseline": name,
                    "avg_cost": float(np.mean([row.avg_cost for row in rows])),
                    "accuracy": float(np.mean([run.predictions.score.mean() for run in runs])),
                    "baseline_cost": float(np.mean([rival.cost for rival in rivals])),
                    "baseline_accuracy": float(np.mean([rival.scores.mean() for rival in rivals])),
                    "gap_closed": _gap_closed(study, runs, fixed),
                }
            )
            gaps.append(np.column_stack([each.mean(axis=1), each]))
    return _with_intervals(lines, gaps, study.runs[0].predictions.group)


def _families(study: Study, by_row: Mapping[int, Run], fixed: Mapping[str, Run]) -> dict[str, list[Run]]:
    """Baselines that one could use, by name: their runs, and no_vision, which is open to everyone."""
    found = {"random mixing": list(fixed.values())}
    for curve in study.curves:
        name = curve.rows[0].baseline_name
        if name and name not in ("oracle", "random_policy_matched"):
            found[curve.label] = [fixed["no_vision"], *(by_row[id(row)] for row in curve.rows)]
    return found


def _own_branches(study: Study, run: Run, fixed: Mapping[str, Run]) -> list[Run]:
    """What a policy chooses among, NO, COARSE and FULL as it looks; nothing where one of them was not run."""
    if len(fixed) < len(FIXED_POLICIES):
        return []
    full = [fixed["always_full"]]
    if run.row.pruning_ratio is not None:
        asked = ("vision_token_pruning_proxy", run.row.pruning_mode, run.row.pruning_ratio)
        full = [r for r in study.runs if (r.row.baseline_name, r.row.pruning_mode, r.row.pruning_ratio) == asked]
    return [fixed["no_vision"], fixed["always_coarse"], full[0]] if full else []


def _rivals(run: Run, families: Mapping[str, Sequence[Run]], own: Sequence[Run]) -> dict[str, Rival]:
    """Every baseline at a run's cost; ``own`` are the branches that it chooses among."""
    found = {}
    if own:
        branches = [branch.predictions for branch in own]
        scores, costs = (np.stack([getattr(b, name) for b in branches], axis=1) for name in ("score", "cost"))
        entropy, actions = run.predictions.entropy, run.predictions.action
        for name, buckets in DRAWN.items():
            strata = np.searchsorted(np.quantile(entropy, np.arange(1, buckets) / buckets), entropy, side="right")
            found[name] = Rival(drawn(actions, scores, strata), float(drawn(actions, costs, strata).mean()))
    for name, runs in families.items():
        weights = mixture([point(other.row) for other in runs], run.row.avg_cost)
        mixed = sum(weight * other.predictions.score for weight, other in zip(weights, runs, strict=True))
        cost = sum(weight * other.row.avg_cost for weight, other in zip(weights, runs, strict=True))
        found[name] = Rival(np.asarray(mixed), float(cost))
    return found


def _gap_closed(study: Study, runs: Sequence[Run], fixed: Mapping[str, Run]) -> float | None:
    """Share of the way from random, matched, to the budgeted oracle; mean over the policies."""
    if study.branches is None:
        return None
    scores, costs = study.branches.scores, study.branches.costs
    if runs[0].row.pruning_ratio is not None:  # what its own FULL comes to stands in that pruning baseline's run
        own = [branch.predictions for branch in _own_branches(study, runs[0], fixed)]
        if not own:
            return None
        scores, costs = (np.stack([getattr(branch, name) for branch in own], axis=1) for name in ("score", "cost"))
    shares = []
    for row in (run.row for run in runs):
        rates = np.array([row.action_rate_no, row.action_rate_coarse, row.action_rate_full])
        shares.append(gap_closed(row.accuracy, row.avg_cost, rates, scores, costs))
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


def _with_intervals(lines: Sequence[Line], gaps: Sequence[np.ndarray], groups: np.ndarray) -> list[Line]:
    """All intervals from one set of resamples; a line's first column is the mean over its policies."""
    if not lines:
        return []
    found = iter(paired_bootstraps(np.concatenate(gaps, axis=1), groups, RESAMPLES))
    finished = []
    for line, columns in zip(lines, gaps, strict=True):
        together, *each = (next(found) for _ in range(columns.shape[1]))
        intervals = {"difference": together.mean, "ci_low": together.low, "ci_high": together.high}
        above = sum(one.above_zero() for one in each)
        finished.append(line | intervals | {"p_value": together.p_value, "policies_above": above})
    return finished
