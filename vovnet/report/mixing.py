"""What each method can be run at: its settings and the fixed policies, question by question."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.actions import FIXED_POLICIES, USUAL, Action
from vovnet.metrics.equal_cost import Settings, drawn
from vovnet.outcomes.rows import places
from vovnet.policy.random_matched import BUCKETS
from vovnet.report.runs import Run
from vovnet.report.study import Study
from vovnet.results.columns import SETTINGS, grouped, looks_once

RANDOM_MIXING = "random mixing"
# Drawn at VoVNet's own rates, exactly in expectation, these stand for their draws.
DRAWN = {"random, matched": 1, "random, matched by entropy": BUCKETS}
BOUNDS = ("oracle", "random_policy_matched")  # knows the answers; is drawn exactly instead


def fixed_runs(study: Study) -> dict[str, Run]:
    """Runs of the fixed policies, from no_vision on; empty without no_vision."""
    fixed = study.fixed
    if "no_vision" not in fixed:
        return {}
    by_row = {id(run.row): run for run in study.runs}
    return {name: by_row[id(fixed[name])] for name in ("no_vision", "always_coarse", "always_full") if name in fixed}


def settings_of(runs: Iterable[Run]) -> Settings:
    """Each run as one setting."""
    found = [run.predictions for run in runs]
    return Settings(*(np.stack([getattr(one, name) for one in found], axis=1) for name in ("score", "cost")))


def baseline_settings(study: Study, open_to_all: Settings) -> dict[str, Settings]:
    """Baselines that one could use, by name. Runs that differ in their seed alone are one setting: their mean."""
    found = {RANDOM_MIXING: open_to_all}
    by_row = {id(run.row): run for run in study.runs}
    seedless = tuple(name for name in SETTINGS if name != "seed")
    for curve in study.curves:
        if curve.is_vovnet or curve.rows[0].baseline_name in BOUNDS:
            continue
        alike = [settings_of([by_row[id(row)] for row in rows]) for rows in grouped(curve.rows, seedless)]
        scores, costs = ([getattr(one, name).mean(axis=1) for one in alike] for name in ("scores", "costs"))
        found[curve.label] = open_to_all.joined(Settings(np.column_stack(scores), np.column_stack(costs)))
    return found


@dataclass(frozen=True)
class OwnBranches(Settings):
    """What every question comes to after each of the looks that a policy chooses among."""

    looks: tuple[Action, ...]


def own_branches(study: Study, run: Run, fixed: Mapping[str, Run]) -> OwnBranches | None:
    """What a policy chooses among, as it looks: NO, COARSE, FULL and its menu's own looks.

    None where one of them was not run, and for a policy that may look twice: single looks at its rates cost less.
    """
    if len(fixed) < len(FIXED_POLICIES) or not looks_once(run.row):
        return None
    if {*run.menu} - {*USUAL}:
        if study.branches is None or not study.sees(run):
            return None
        looks = study.branches.beside(run.menu)
        return OwnBranches(*study.branches.table(looks), looks)
    full = [fixed["always_full"]]
    if run.row.pruning_ratio is not None:
        asked = ("vision_token_pruning_proxy", run.row.pruning_mode, run.row.pruning_ratio)
        full = [r for r in study.runs if (r.row.baseline_name, r.row.pruning_mode, r.row.pruning_ratio) == asked]
    if not full:
        return None
    found = settings_of([fixed["no_vision"], fixed["always_coarse"], full[0]])
    return OwnBranches(found.scores, found.costs, USUAL)


def drawn_settings(runs: Sequence[Run], own: OwnBranches, buckets: int) -> Settings:
    """Actions drawn at each run's rates within buckets of entropy: what they yield in expectation."""
    scores, costs = [], []
    for run in runs:
        entropy, actions = run.predictions.entropy, places(own.looks, run.predictions.action)
        strata = np.searchsorted(np.quantile(entropy, np.arange(1, buckets) / buckets), entropy, side="right")
        scores.append(drawn(actions, own.scores, strata))
        costs.append(drawn(actions, own.costs, strata))
    return Settings(np.column_stack(scores), np.column_stack(costs))
