"""The configured policy, and the setting in which it is evaluated.

A setting is made once a session: evaluations that differ in lambda, a threshold or the seed of a draw share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vovnet.actions import named
from vovnet.data import VQADataset, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.asked import Asked
from vovnet.outcomes.keys import imported_rows, reuses_cache
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.looks import full_pruning
from vovnet.outcomes.rows import Outcomes, known
from vovnet.outcomes.units import Unit, paid_each, unit_of
from vovnet.policy.protocol import SAMPLES, TEXT, Context, Policy
from vovnet.policy.uncertainty import Fallback
from vovnet.registry import POLICIES
from vovnet.results.columns import OWN_ENGINE
from vovnet.results.matching import target_of
from vovnet.results.split import SplitColumns, look_for_leaks, rule_of, split_columns
from vovnet.schema import PruningMode, RunConfig, in_order
from vovnet.session import Session
from vovnet.vlm.auto import settled
from vovnet.vlm.files import backbone_label, find_checkpoint
from vovnet.vlm.reading import reading_facts

KEPT = 8  # settings that a session keeps


@dataclass(frozen=True)
class Setting:
    """Questions, and under which model and budget they are answered.

    Attributes:
        backbone: what it is called; ``text_config``, ``vision_config``: sizes of its parts.
        split: the questions column by column; ``count`` of them.
        rule: by which answers are read; metric: by which they are scored.
        engine: what has made the outcomes.
        leaks: the leak guard's verdicts.
        facts: what summary.json says of data and model.
        reuses: whether a vision pass continues a text pass.
        pruning: mode and ratio by which FULL is pruned, if it is.
        unit: of costs.
        outcomes, costs: of the policy's looks, the costs normalised, [N, A]; None in live mode.
        branches: tables that were read; none in live mode.
    """

    backbone: str
    text_config: Mapping[str, Any]
    vision_config: Mapping[str, Any]
    dataset: VQADataset
    count: int
    split: SplitColumns
    rule: str | None
    metric: str
    engine: str
    leaks: list[dict[str, Any]]
    facts: Mapping[str, Any]
    reuses: bool
    pruning: tuple[PruningMode, float] | None
    unit: Unit
    outcomes: Outcomes | None
    costs: np.ndarray | None
    branches: tuple[str, ...]


def make_policy(config: RunConfig, session: Session) -> Policy:
    """The configured policy or baseline, with its fallback where there is one.

    Raises:
        VoVNetError: no fitting policy file, or a baseline that cannot be made.
    """
    options = config.policy
    policy: Policy = options.baseline.make(Context(config, session, target_of))
    if options.fallback_mode is None:
        return policy
    entropy = options.fallback_entropy_threshold
    if options.fallback_entropy_quantile is not None:
        entropy = _entropy_quantile(config, options.fallback_entropy_quantile, session)
    to = named(options.fallback_mode)
    looks = in_order((*policy.looks, to), config.vision_budget)
    return Fallback(policy, to, entropy, options.fallback_margin_threshold, looks)


def _entropy_quantile(config: RunConfig, share: float, session: Session) -> float:
    """The entropy in nats that a share of the training split's questions stays below, in four digits."""
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, "train", session=session)
    most = config.training.max_samples
    count = min(len(dataset), most or len(dataset))
    text = load_outcomes(config, checkpoint, dataset, (), count, session=session).outcomes.text
    return float(f"{np.quantile(known(text.entropy, 'entropy'), share):.4g}")


def setting_of(config: RunConfig, policy: Policy, session: Session) -> tuple[Setting, dict[str, int]]:
    """The setting in which a policy is evaluated, and the outcome rows computed for it now, by branch.

    Raises:
        VoVNetError: among others, an evaluation sample is in the policy's training data.
    """
    options = config.policy
    asked = (
        repr([config.backbone, config.vision_budget, config.dataset, config.eval, config.paths, config.leaks]),
        (options.baseline.full, options.full_pruning_mode, options.full_pruning_ratio),
        (policy.looks, TEXT in policy.needs, policy.states, policy.card, options.cost_unit, options.latency_device),
    )
    computed: dict[str, int] = {}
    setting = session.once("setting", asked, lambda: _setting(config, policy, session, computed), KEPT)
    return setting, computed or (dict.fromkeys(setting.branches, 0))


def _setting(config: RunConfig, policy: Policy, session: Session, computed: dict[str, int]) -> Setting:
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    leaks = look_for_leaks(config, checkpoint, policy.card, dataset, session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    unit = unit_of(config, checkpoint, policy.looks)
    outcomes, costs = None, None
    if config.eval.mode != "live":
        loaded = load_outcomes(
            config,
            checkpoint,
            dataset,
            policy.looks,
            count,
            TEXT in policy.needs,
            session,
            states=policy.states,
            others=lambda: _others(config, session),
        )
        outcomes = loaded.outcomes
        computed |= loaded.computed
        costs = paid_each(unit, outcomes, policy.looks)
    imported = imported_rows(checkpoint, dataset)
    given = imported is not None and imported.record.get("scores") == "given"
    return Setting(
        backbone=backbone_label(config.backbone),
        text_config=checkpoint.text_config,
        vision_config=checkpoint.vision_config,
        dataset=dataset,
        count=count,
        split=split_columns(dataset, count, session),
        rule=None if given else rule_of(dataset),
        metric=f"given by {checkpoint.engine}" if given else dataset.metric,
        engine=checkpoint.engine or OWN_ENGINE,
        leaks=leaks,
        facts={
            "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
            "backbone": {
                "folder": str(checkpoint.folder),
                "fingerprint": checkpoint.fingerprint,
                "engine": checkpoint.engine or OWN_ENGINE,
                **({} if imported is None else {"rows": imported.record}),
            },
            "reading": reading_facts(config.backbone, checkpoint),
            "rows_skipped": list(dataset.skipped),
            **({"tasks": tasks} if (tasks := {one.name: one.facts for one in dataset.members if one.facts}) else {}),
        },
        reuses=reuses_cache(config),
        pruning=full_pruning(config),
        unit=unit,
        outcomes=outcomes,
        costs=costs,
        branches=tuple(computed),
    )


def asked_of(config: RunConfig, session: Session) -> Asked:
    """What a configuration asks of the store, before any policy is trained: VoVNet's menu, or a baseline's looks.

    Raises:
        VoVNetError: a baseline that cannot be made.
    """
    if not config.policy.baseline.name:
        states = config.menu[1:-1] if config.policy.procedure == "sequential" else ()
        return Asked(config, config.menu, with_nll=config.policy.objective.reads_nll, states=states)
    policy = make_policy(config, session)
    return Asked(config, policy.looks, TEXT in policy.needs, states=policy.states)


def _others(config: RunConfig, session: Session) -> list[Asked]:
    """What the jobs of the same sweep ask about the same questions; code of the user's own waits for its job."""

    def questions(one: RunConfig) -> Any:
        return one.backbone, one.vision_budget, one.dataset, one.eval, one.paths, one.leaks

    found = []
    for given in session.jobs:
        if given.policy.baseline.name not in POLICIES:
            continue
        try:
            other = settled(given, session)
            if questions(other) == questions(config):
                found.append(replace(asked_of(other, session), with_nll=False))
        except VoVNetError:
            continue  # its job says so
    return found


def needed_samples(setting: Setting, policy: Policy) -> list[Any]:
    """The questions, where a policy reads them."""
    return [setting.dataset[i] for i in range(setting.count)] if SAMPLES in policy.needs else []
