"""One evaluation: outcomes, decisions, results, files."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.checks.baselines import draw_checks
from vovnet.checks.blocks import run_checks
from vovnet.checks.check import unread_sets, warn_of_unreadable
from vovnet.compose import config_hash
from vovnet.data import load_dataset
from vovnet.files import write_json
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.routed import Routed, route
from vovnet.outcomes.rows import Outcomes
from vovnet.outcomes.units import paid_each, unit_of
from vovnet.policy.protocol import TEXT, Policy
from vovnet.policy.steps import first_view, follow
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.columns import ESSENTIAL, ResultRow, record
from vovnet.results.existing import existing_summary, inputs_key
from vovnet.results.own_metrics import own_metrics
from vovnet.results.read import read_results
from vovnet.results.row import RunFacts, category_rows, make_row, official_scores, with_random_fallback
from vovnet.results.setting import Setting, make_policy, needed_samples, setting_of
from vovnet.results.split import SplitColumns
from vovnet.results.write import (
    CATEGORIES,
    RESULTS,
    retract,
    without_formulas,
    write_predictions,
    write_results,
    write_rows,
)
from vovnet.schema import RunConfig
from vovnet.scoring.official import OfficialScores
from vovnet.session import Session
from vovnet.vlm.facts import vlm_facts
from vovnet.vlm.files import find_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        row: its line of results.csv.
        routed: what was done to each sample.
        computed: outcome rows computed for it, per branch; empty in live mode.
        scores: what each set's own evaluator would say.
        notes: further facts for summary.json.
        split: the questions column by column.
    """

    row: ResultRow
    routed: Routed
    computed: dict[str, int]
    scores: Mapping[str, OfficialScores]
    notes: Mapping[str, Any]
    split: SplitColumns


def evaluate(config: RunConfig, folder: Path, session: Session | None = None) -> Evaluation:
    """Evaluate the configured policy or baseline and write its files into ``folder``.

    Args:
        session: keeps what the jobs of a sweep share.
    """
    begun, session = time.monotonic(), session or Session()
    load_dataset(config.dataset, config.eval.split, session=session)  # what is wrong with it is said first
    policy = make_policy(config, session)
    found = measure(config, policy, folder, session)
    write_evaluation(config, policy, found, folder, begun, session)
    return found


def measure(config: RunConfig, policy: Policy, folder: Path, session: Session) -> Evaluation:
    """Run a policy over the configured questions; writes no result.

    Args:
        folder: where live runs on several devices keep what they exchange.

    Raises:
        VoVNetError: among others, an evaluation sample is in the policy's training data.
    """
    setting, computed = setting_of(config, policy, session)
    dataset, split = setting.dataset, setting.split
    notes: dict[str, Any] = {"rows_computed": computed}
    memory = None
    if config.eval.mode == "live":
        from vovnet.results.live import route_live  # imports torch and Lightning

        routed, memory, facts_of_live = route_live(config, dataset, policy, setting.count, folder, session)
        notes |= facts_of_live
    else:
        routed = _replay(setting, policy, notes)
    checkpoint = find_checkpoint(config.backbone, session=session)
    vlm = vlm_facts(config.backbone, config.vision_budget, checkpoint, session)  # after what may load it
    reuses = setting.reuses and (vlm["capabilities"] is None or "reuse" in vlm["capabilities"])
    drawn = 0
    if config.eval.random_fallback:
        routed, drawn = with_random_fallback(dataset, routed, config.eval.seed)
    facts = RunFacts(
        split=dataset.split,
        metric=setting.metric,
        engine=setting.engine,
        scoring_rule=setting.rule,
        dataset=dataset.name,
        groups=split.groups,
        backbone=setting.backbone,
        text_config=setting.text_config,
        vision_config=setting.vision_config,
        cache_reuse=reuses and TEXT in policy.needs,
        checkpoint=str(policy.file) if policy.file else None,
        baseline_name=policy.name,
        policy=policy.label(),
        settings=policy.columns(),
        pruning=setting.pruning,
        cost_unit=setting.unit.name,
        config_hash=config_hash(config, policy.file),
        memory_mb=memory,
        metrics=own_metrics(config.eval.metrics, routed, dataset) if config.eval.metrics else {},
    )
    scores = official_scores(dataset, split, routed)
    row = make_row(config, facts, routed, next(iter(scores.values())) if len(scores) == 1 else None)
    notes |= {**setting.facts, "vlm": vlm, "random_fallback_draws": drawn, "leak_guard": setting.leaks}
    return Evaluation(row, routed, notes["rows_computed"], scores, notes, split)


def write_evaluation(
    config: RunConfig, policy: Policy, found: Evaluation, folder: Path, begun: float, session: Session
) -> None:
    """Write the files of an evaluation, its summary last.

    Args:
        begun: reading of ``time.monotonic`` when it began.
    """
    row = found.row
    retract(folder, row)
    questions = write_predictions(folder, found.split, found.routed, policy.valued, session)
    write_results(folder / RESULTS, [row])
    lines = category_rows(found.split, found.routed)
    write_rows(folder / CATEGORIES, without_formulas(lines), list(lines[0]))
    checks = [*run_checks(row)]
    if "expected" in found.notes:
        checks += draw_checks(row, found.notes["expected"])
    summary = {
        "config": asdict(config),
        "config_hash": row.config_hash,
        "menu": {look.label: look.content for look in policy.looks},
        "seed": row.seed,
        "policy_file": row.checkpoint,
        "result": record(row),
        "checks": [check.as_json() for check in (*checks, *unread_sets(found.scores))],
        "scores": {name: asdict(score) for name, score in found.scores.items()},
        "questions": questions,
        **found.notes,
        **provenance(session),
    }
    if config.eval.mode == "live":
        dataset = load_dataset(config.dataset, config.eval.split, session=session)
        summary["inputs"] = inputs_key(config, dataset, policy.file, session)
    write_json(folder / SUMMARY, summary | {"wall_seconds": round(time.monotonic() - begun, 3)})
    warn_of_unreadable([row])


def existing_row(config: RunConfig, folder: Path, session: Session | None = None) -> ResultRow | None:
    """The result of a live run with the same inputs that ``folder`` already holds, if it does."""
    if config.eval.mode != "live":
        return None
    session = session or Session()
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    policy = make_policy(config, session)
    found = existing_summary(folder, inputs_key(config, dataset, policy.file, session), config.dataset.label)
    if found is None or not found.get("result", {}).keys() >= ESSENTIAL:
        return None
    row = read_results(folder / RESULTS)[0]
    warn_of_unreadable([row])
    return row


def _replay(setting: Setting, policy: Policy, notes: dict[str, Any]) -> Routed:
    """Decide on stored outcomes; notes what a policy that draws comes to on average."""
    outcomes, costs = setting.outcomes, setting.costs
    assert outcomes is not None
    assert costs is not None
    view = first_view(policy, np.arange(setting.count), outcomes, costs, needed_samples(setting, policy))
    course = follow(policy, view, lambda asked: {a: outcomes.branches[a].take(rows) for a, rows in asked.items()})
    expected = policy.expectation(view, outcomes.stacked("score", policy.looks), costs)
    if expected is not None:
        notes["expected"] = expected
    return route(course, outcomes.text, setting.unit, TEXT in policy.needs)


def read_outcomes(
    config: RunConfig, actions: tuple[Action, ...], session: Session | None = None
) -> tuple[Outcomes, np.ndarray]:
    """Every sample's outcomes under ``actions``, and the normalised costs [N, A]; for analyses."""
    session = session or Session()
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    outcomes = load_outcomes(config, checkpoint, dataset, actions, count, False, session).outcomes
    return outcomes, paid_each(unit_of(config, checkpoint, actions), outcomes, actions)
