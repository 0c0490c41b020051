"""Methods compared at equal cost."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vovnet.actions import FIXED_POLICIES, USUAL, Action
from vovnet.analyses.paired_runs import BUT_SEED, one_per_seed
from vovnet.metrics.curves import gap_closed
from vovnet.metrics.equal_cost import Settings, drawn, held_out, mixture
from vovnet.metrics.inference import FEWEST_GROUPS, crossed_bootstrap, holm
from vovnet.outcomes.rows import places
from vovnet.policy.random_matched import BUCKETS
from vovnet.report.analysis import Line
from vovnet.report.labels import usual_settings, vovnet_label
from vovnet.report.runs import Run
from vovnet.report.study import Study
from vovnet.results.columns import SETTINGS, grouped, looks_once, rates_of

log = logging.getLogger(__name__)

RANDOM_MIXING = "random mixing"
# Drawn at VoVNet's own rates, exactly in expectation, these stand for their draws.
DRAWN = {"random, matched": 1, "random, matched by entropy": BUCKETS}
BOUNDS = ("oracle", "random_policy_matched")  # knows the answers; is drawn exactly instead


def fixed_runs(study: Study) -> dict[str, Run]:
    """Runs of the fixed policies, from no_vision on; empty without no_vision."""
    fixed = study.fixed
    if "no_vision" not in fixed:
        return {}
    return {name: study.run_of(fixed[name]) for name in ("no_vision", "always_coarse", "always_full") if name in fixed}


def settings_of(runs: Iterable[Run]) -> Settings:
    """Each run as one setting."""
    found = [run.predictions for run in runs]
    return Settings(*(np.stack([getattr(one, name) for one in found], axis=1) for name in ("score", "cost")))


def baseline_settings(study: Study, open_to_all: Settings) -> dict[str, Settings]:
    """Baselines that one could use, by name. Runs that differ in their seed alone are one setting: their mean."""
    found = {RANDOM_MIXING: open_to_all}
    seedless = tuple(name for name in SETTINGS if name != "seed")
    for curve in study.curves:
        if curve.is_vovnet or curve.rows[0].baseline_name in BOUNDS:
            continue
        alike = [settings_of(map(study.run_of, rows)) for rows in grouped(curve.rows, seedless)]
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


COLUMNS = (
    "dataset method policy policies baseline avg_cost accuracy baseline_cost baseline_accuracy in_range difference "
    "ci_low ci_high resampled p_value p_holm policies_above gap_closed"
).split()
RESAMPLED = {True: "seeds and images", False: "images, given this policy"}  # whether there are several seeds


@dataclass(frozen=True)
class Compared:
    """One setting of VoVNet at one lambda, or at several that decide alike: a run for each seed."""

    method: str
    lambdas: tuple[float, ...]
    runs: Sequence[Run]

    @property
    def policy(self) -> str:
        """Method and lambda, for people."""
        return f"{self.method}, \u03bb = {', '.join(f'{one:g}' for one in self.lambdas)}"

    @cached_property
    def own(self) -> Settings:
        """Scores and costs of the policies, [N, S]."""
        return settings_of(self.runs)

    def decides_as(self, other: "Compared") -> bool:
        """Whether every seed's policy does the same on every question."""
        pairs = ((self.own.scores, other.own.scores), (self.own.costs, other.own.costs))
        return all(np.array_equal(one, two) for one, two in pairs)


def vovnet_methods(study: Study) -> dict[str, list[Compared]]:
    """VoVNet's settings by name, over lambda. What differs in lambda and seed alone is one method.

    Lambdas that decide alike are one comparison, as counting them twice would count a win twice.
    """
    rows = [row for row in study.rows if not row.baseline_name]
    usual = usual_settings(rows)
    found: dict[str, list[Compared]] = {}
    for alike in grouped(rows, (*BUT_SEED, "lambda_cost")):
        one = one_per_seed(alike)
        name = vovnet_label(one[0], usual | {"seed": one[0].seed})
        new = Compared(name, (one[0].lambda_cost or 0.0,), [study.run_of(row) for row in one])
        others = found.setdefault(name, [])
        twin = next((place for place, other in enumerate(others) if new.decides_as(other)), None)
        if twin is None:
            others.append(new)
        else:
            others[twin] = replace(others[twin], lambdas=(*others[twin].lambdas, *new.lambdas))
    return found


def equal_cost_lines(study: Study) -> list[Line]:
    """Each VoVNet setting less each baseline at the same average cost, with intervals over seeds and images.

    A baseline is the best mixture at that cost of its settings and all fixed policies, chosen by other questions than
    measure it (``held_out``); the intervals are given these choices. VoVNet's policies are as they were run, without
    mixing or choosing. ``in_range`` tells whether the baseline's own settings reach down and up to that cost, so that
    it need not mix with a fixed policy. ``policies_above`` of VoVNet's seeds beat the baseline with an interval of
    their own that excludes zero. Empty without a no_vision run, and with too few images for an interval.
    """
    fixed, methods = fixed_runs(study), vovnet_methods(study)
    compared = [one for part in methods.values() for one in part if any(run.row.avg_cost > 0 for run in one.runs)]
    if not fixed or not compared:  # one that never looks is no_vision
        return []
    groups = study.runs[0].predictions.group
    if len(set(groups.tolist())) < FEWEST_GROUPS:
        log.warning("%s: too few images to compare at equal cost: give %d at least", study.name, FEWEST_GROUPS)
        return []
    met = _rivals(study, compared, fixed, groups)
    lines, gaps = [], []
    for one, rivals in zip(compared, met, strict=True):
        own, closed = one.own, _gap_closed(study, one.runs, fixed)
        for name, rival in rivals.items():
            lines.append(
                {
                    "dataset": study.name,
                    "method": one.method,
                    "policy": one.policy,
                    "policies": len(one.runs),
                    "baseline": name,
                    "avg_cost": float(own.costs.mean()),
                    "accuracy": float(own.scores.mean()),
                    "baseline_cost": float(rival.costs.mean()),
                    "baseline_accuracy": float(rival.scores.mean()),
                    "in_range": rival.low - 1e-9 <= own.costs.mean() <= rival.high + 1e-9,
                    "gap_closed": closed,
                }
            )
            gaps.append(own.scores - rival.scores)
    return _with_intervals(lines, gaps, groups)


def corrected(lines: Sequence[Line]) -> list[Line]:
    """The lines of all data sets with Holm's p-value over all of them."""
    p_values = holm(np.array([line["p_value"] for line in lines]))
    return [line | {"p_holm": float(p)} for line, p in zip(lines, p_values, strict=True)]


@dataclass(frozen=True)
class Rival:
    """A baseline at the cost of S policies: expected scores and costs [N, S], and the range of its own settings'."""

    scores: np.ndarray
    costs: np.ndarray
    low: float
    high: float


def _rivals(
    study: Study, compared: Sequence[Compared], fixed: Mapping[str, Run], groups: np.ndarray
) -> list[dict[str, Rival]]:
    """Every baseline at the cost of each, by name."""
    found = [_drawn(study, one, fixed) for one in compared]
    budgets, ends = [one.own.costs for one in compared], np.cumsum([len(one.runs) for one in compared])
    for name, settings in baseline_settings(study, settings_of(fixed.values())).items():
        met = held_out(settings, np.hstack(budgets), groups)
        own = settings.costs.mean(axis=0)[len(fixed) if name != RANDOM_MIXING else 0 :]
        parts = zip(*(np.split(part, ends[:-1], axis=1) for part in (met.scores, met.costs)), strict=True)
        for rivals, (scores, costs) in zip(found, parts, strict=True):
            rivals[name] = Rival(scores, costs, float(own.min()), float(own.max()))
    return found


def _drawn(study: Study, one: Compared, fixed: Mapping[str, Run]) -> dict[str, Rival]:
    """Actions drawn at each policy's own rates, which reach any cost; empty where its branches were not run."""
    own = own_branches(study, one.runs[0], fixed)
    if own is None:
        return {}
    drawn = {name: drawn_settings(one.runs, own, buckets) for name, buckets in DRAWN.items()}
    return {name: Rival(each.scores, each.costs, 0.0, np.inf) for name, each in drawn.items()}


def _gap_closed(study: Study, runs: Sequence[Run], fixed: Mapping[str, Run]) -> float | None:
    """Share of the way from random choice to the budgeted oracle of single looks; mean over the policies.

    The random choice has the policy's rates, or, for one that looks twice, is the best at its cost.
    """
    if study.branches is None or not {*runs[0].menu} <= {*study.branches.looks}:
        return None
    own = own_branches(study, runs[0], fixed)
    if own is None and runs[0].row.pruning_ratio is not None:  # its FULL's outcomes are that pruning baseline's
        return None
    looks = study.branches.beside(runs[0].menu)
    scores, costs = study.branches.table(looks)
    if own is not None:
        looks, scores, costs = own.looks, own.scores, own.costs
    points = list(zip(costs.mean(axis=0).tolist(), scores.mean(axis=0).tolist(), strict=True))
    shares = []
    for row in (run.row for run in runs):
        rates = np.array([rates_of(row)[look.label] for look in looks])
        if not looks_once(row):
            rates = mixture(points, row.avg_cost)
        shares.append(gap_closed(row.accuracy, row.avg_cost, rates, scores, costs))
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


def _with_intervals(lines: Sequence[Line], gaps: Sequence[np.ndarray], groups: np.ndarray) -> list[Line]:
    """Intervals of gaps [N, S] over seeds and images, and how many of the S policies are above by themselves."""
    finished: list[Line] = [dict(line) for line in lines]
    for seeds in {gap.shape[1] for gap in gaps}:
        places = [place for place, gap in enumerate(gaps) if gap.shape[1] == seeds]
        stacked = np.stack([gaps[place] for place in places], axis=2)  # [N, S, K]
        together = crossed_bootstrap(stacked, groups)
        alone = crossed_bootstrap(stacked.reshape(len(stacked), 1, -1), groups).low.reshape(seeds, -1)
        above = (alone > 0).sum(axis=0)
        for column, place in enumerate(places):
            finished[place] |= {
                "difference": float(together.mean[column]),
                "ci_low": float(together.low[column]),
                "ci_high": float(together.high[column]),
                "p_value": float(together.p_value[column]),
                "resampled": RESAMPLED[seeds > 1],
                "policies_above": int(above[column]),
            }
    return finished
