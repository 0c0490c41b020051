"""What evaluations share that differ in lambda, a threshold or the seed of a draw only: made once a session."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vovnet.data import VQADataset, load_dataset
from vovnet.outcomes.keys import reuses_cache
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.rows import Outcomes
from vovnet.policy.protocol import SAMPLES, TEXT, Policy
from vovnet.results.leaks import look_for_leaks
from vovnet.results.split import SplitColumns, rule_of, split_columns
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.budget import budget_of
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.reading import reading_facts

KEPT = 8  # settings that a session keeps


@dataclass(frozen=True)
class Setting:
    """Questions, and under which model and budget they are answered.

    Attributes:
        split: the questions column by column; ``count`` of them.
        rule: by which answers are read.
        leaks: the leak guard's verdicts.
        facts: what summary.json says of data and model.
        reuses: whether a vision pass continues a text pass.
        max_tokens: of a maximal FULL image; costs are shares of it.
        outcomes, costs: of the policy's looks, the costs normalised, [N, A]; None in live mode.
        branches: tables that were read; none in live mode.
    """

    checkpoint: Checkpoint
    dataset: VQADataset
    count: int
    split: SplitColumns
    rule: str | None
    leaks: list[dict[str, Any]]
    facts: Mapping[str, Any]
    reuses: bool
    max_tokens: int
    outcomes: Outcomes | None
    costs: np.ndarray | None
    branches: tuple[str, ...]


def setting_of(
    config: RunConfig, checkpoint: Checkpoint, policy: Policy, session: Session
) -> tuple[Setting, dict[str, int]]:
    """The setting in which a policy is evaluated, and the outcome rows computed for it now, by branch.

    Raises:
        VoVNetError: among others, an evaluation sample is in the policy's training data.
    """
    options = config.policy
    asked = (
        repr([config.backbone, config.vision_budget, config.dataset, config.eval, config.paths, config.leaks]),
        (options.baseline.full, options.full_pruning_mode, options.full_pruning_ratio),
        (policy.looks, TEXT in policy.needs, policy.card),
    )
    computed: dict[str, int] = {}
    setting = session.once("setting", asked, lambda: _setting(config, checkpoint, policy, session, computed), KEPT)
    return setting, computed or (dict.fromkeys(setting.branches, 0))


def _setting(
    config: RunConfig, checkpoint: Checkpoint, policy: Policy, session: Session, computed: dict[str, int]
) -> Setting:
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    leaks = look_for_leaks(config, checkpoint, policy.card, dataset, session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    limit = budget_of(config.vision_budget, checkpoint).max_tokens
    outcomes, costs = None, None
    if config.eval.mode != "live":
        loaded = load_outcomes(config, checkpoint, dataset, policy.looks, count, TEXT in policy.needs, session)
        outcomes = loaded.outcomes
        computed |= loaded.computed
        costs = outcomes.stacked("vision_tokens", policy.looks) / limit
    return Setting(
        checkpoint=checkpoint,
        dataset=dataset,
        count=count,
        split=split_columns(dataset, count, session),
        rule=rule_of(dataset),
        leaks=leaks,
        facts={
            "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
            "backbone": {"folder": str(checkpoint.folder), "fingerprint": checkpoint.fingerprint},
            "reading": reading_facts(config.backbone, checkpoint),
            "rows_skipped": list(dataset.skipped),
        },
        reuses=reuses_cache(config),
        max_tokens=limit,
        outcomes=outcomes,
        costs=costs,
        branches=tuple(computed),
    )


def needed_samples(setting: Setting, policy: Policy) -> list[Any]:
    """The questions, where a policy reads them."""
    return [setting.dataset[i] for i in range(setting.count)] if SAMPLES in policy.needs else []
