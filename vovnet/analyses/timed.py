"""Block F1's rows of results.csv: the policy and the fixed policies, as they were timed question by question."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vovnet.actions import FIXED_POLICIES
from vovnet.analyses.profile import ProfileRow, measured
from vovnet.compose import config_hash
from vovnet.data import VQADataset
from vovnet.outcomes.keys import reuses_cache
from vovnet.outcomes.looks import looks_of
from vovnet.outcomes.routed import Routed
from vovnet.outcomes.units import unit_of
from vovnet.outcomes.variants import full_pruning
from vovnet.policy.fixed import Fixed
from vovnet.policy.protocol import TEXT, Policy
from vovnet.results.columns import OWN_ENGINE, ResultRow
from vovnet.results.row import RunFacts, make_row
from vovnet.results.split import rule_of, split_columns
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.files import Checkpoint, backbone_label


def timed_rows(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    policy: Policy,
    profile: Sequence[ProfileRow],
    answered: Mapping[str, Routed],
    session: Session | None = None,
) -> list[ResultRow]:
    """A row of mode ``profile`` for the configured policy, and for each fixed policy whose branch was timed.

    Where FULL is pruned or scaled, its branch alone is not always_full, which looks at whole images.

    Args:
        profile: the lines of profile.csv.
        answered: what was done to the measured questions, by the action of the end-to-end lines.
    """
    whole = {line.action: line for line in profile if line.stage == "end_to_end"}
    asked = config.profile
    assert asked is not None
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    places = measured(count, asked.warmup, asked.batch_size)
    groups = split_columns(dataset, places.stop, session or Session()).groups[places.start :]
    rows = [_row(config, checkpoint, dataset, policy, whole["routed"], answered["routed"], groups)]
    for name, action in sorted(FIXED_POLICIES.items(), key=lambda pair: pair[1]):
        baseline = Fixed(name)  # type: ignore[arg-type]  # a key of the one is a name of the other
        fixed = _always(config, baseline)
        if config.policy.baseline != baseline and looks_of(config, [action]) == looks_of(fixed, [action]):
            label = action.label
            rows.append(_row(fixed, checkpoint, dataset, baseline, whole[label], answered[label], groups))
    return rows


def _always(config: RunConfig, baseline: Fixed) -> RunConfig:
    bare = replace(
        config.policy,
        fallback_mode=None,
        fallback_entropy_threshold=None,
        fallback_entropy_quantile=None,
        fallback_margin_threshold=None,
    )
    return replace(config, policy=replace(bare, baseline=baseline))


def _row(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    policy: Policy,
    line: ProfileRow,
    routed: Routed,
    groups: np.ndarray,
) -> ResultRow:
    """One row. No official score: the warm-up's questions are missing."""
    facts = RunFacts(
        split=dataset.split,
        metric=dataset.metric,
        scoring_rule=rule_of(dataset),
        dataset=dataset.name,
        groups=groups,
        backbone=backbone_label(config.backbone),
        text_config=checkpoint.text_config,
        vision_config=checkpoint.vision_config,
        engine=OWN_ENGINE,
        cache_reuse=reuses_cache(config) and TEXT in policy.needs,
        checkpoint=str(policy.file) if policy.file else None,
        baseline_name=policy.name,
        policy=policy.label(),
        settings=policy.columns(),
        pruning=full_pruning(config),
        cost_unit=unit_of(config, checkpoint, policy.looks).name,
        config_hash=config_hash(config, policy.file),
        memory_mb=line.mem_peak_mb,
    )
    row = make_row(config, facts, routed, None)
    row = replace(row, mode="profile")
    if line.batch_size > 1:  # a latency in results is that of one question by itself
        return row
    return replace(row, latency_p50_ms=line.latency_p50_ms, latency_p90_ms=line.latency_p90_ms)
