"""One row of results.csv from what was done to each sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.backbone.files import backbone_label
from vovnet.metrics.calibration import expected_calibration_error
from vovnet.outcomes.routed import Routed
from vovnet.outcomes.variants import full_pruning
from vovnet.policy.checkpoint import PolicyCard
from vovnet.results.columns import ResultRow, Value, extra_settings
from vovnet.results.metrics import clustered_interval, prefill_flops
from vovnet.schema import (
    CascadeBaseline,
    OracleBaseline,
    PruningBaseline,
    RandomBaseline,
    ResolutionBaseline,
    RunConfig,
    UncertaintyBaseline,
)
from vovnet.scoring.official import OfficialScores


@dataclass(frozen=True)
class RunFacts:
    """What a row says besides measurements."""

    split: str
    metric: str
    scoring_rule: str | None
    dataset: str
    groups: np.ndarray  # [N]
    text_config: Mapping[str, Any]
    cache_reuse: bool
    checkpoint: str | None
    card: PolicyCard | None  # of the policy file; None for baselines
    config_hash: str
    memory_mb: float | None
    policy: str = ""  # what the policy calls itself
    extra: Mapping[str, Value] = field(default_factory=dict)  # settings that it adds


def make_row(config: RunConfig, facts: RunFacts, routed: Routed, official: OfficialScores | None) -> ResultRow:
    """Aggregate one run; ``official`` is None for a mixture, whose sets are scored apart."""
    chosen, size = routed.chosen, len(routed.actions)
    rates = [float((routed.actions == int(action)).mean()) for action in Action]
    low, high = clustered_interval(chosen.score, facts.groups)
    card = facts.card
    alone = config.eval.mode == "live" and config.eval.batch_size == 1
    # A NO answer after a text pass reads nothing more; every other branch reads what it cannot reuse.
    branch_tokens = routed.paid("prompt_tokens") - routed.paid("reused_tokens")
    flops = prefill_flops(facts.text_config, routed.text_tokens, routed.text_tokens) + prefill_flops(
        facts.text_config, chosen.prompt_tokens - chosen.reused_tokens, chosen.prompt_tokens
    )
    if routed.earlier is not None and routed.repeated is not None:
        first = np.where(routed.repeated, routed.earlier.prompt_tokens, 0)
        flops = flops + prefill_flops(facts.text_config, first, first)
    vision_tokens, settings = routed.paid("vision_tokens"), baseline_columns(config)
    pruned = settings["pruning_ratio"] is not None
    return ResultRow(
        dataset=facts.dataset,
        split=facts.split,
        metric=facts.metric,
        num_samples=size,
        seed=card.seed if card else _seed(config),
        baseline_name=config.policy.baseline.name,
        policy=facts.policy,
        extra=extra_settings(facts.extra),
        objective=card.objective if card else None,
        feature_mode=card.feature_mode if card else None,
        action_space=card.action_space if card else None,
        lambda_cost=config.policy.lambda_cost if card or _reads_lambda(config) else None,
        trained_lambda=card.lambda_cost if card else None,
        use_straight_through=card.straight_through if card else None,
        training=card.training if card else None,
        **settings,
        remaining_vision_tokens=float(vision_tokens.mean()) if pruned else None,
        fallback_mode=config.policy.fallback_mode,
        fallback_entropy_threshold=config.policy.fallback_entropy_threshold,
        fallback_margin_threshold=config.policy.fallback_margin_threshold,
        fallback_trigger_rate=None if routed.fallback is None else float(routed.fallback.mean()),
        action_ratio="[" + ", ".join(f"{rate:.6f}" for rate in rates) + "]",
        action_rate_no=rates[0],
        action_rate_coarse=rates[1],
        action_rate_full=rates[2],
        accuracy=float(chosen.score.mean(dtype=np.float64)),
        accuracy_ci_low=low,
        accuracy_ci_high=high,
        official_metric=official.name if official else None,
        official_score=official.value if official else None,
        avg_cost=float(routed.cost.mean()),
        avg_vision_tokens=float(vision_tokens.mean()),
        avg_text_tokens=float((routed.text_tokens + branch_tokens - vision_tokens).mean()),
        avg_patches=float(routed.paid("patches").mean()),
        avg_generated_tokens=float(routed.paid("generated_tokens").mean()),
        prefill_gflops=float(flops.mean()) / 1e9,
        latency_p50_ms=float(np.percentile(chosen.seconds, 50)) * 1e3 if alone else None,
        latency_p90_ms=float(np.percentile(chosen.seconds, 90)) * 1e3 if alone else None,
        mem_peak_mb=facts.memory_mb,
        ece=expected_calibration_error(chosen.confidence, chosen.score),
        unparsed_rate=float((~chosen.parsed).mean()),
        unparsed_cut_rate=float((~chosen.parsed & (chosen.generated_tokens >= config.eval.max_new_tokens)).mean()),
        refusal_rate=float(chosen.refused.mean()),
        scoring_rule=facts.scoring_rule,
        cache_reuse=facts.cache_reuse,
        prompt_order=config.backbone.prompt_order,
        mode=config.eval.mode,
        backbone=backbone_label(config.backbone),
        dtype=config.backbone.dtype,
        checkpoint=facts.checkpoint,
        decoding_seed=config.eval.seed if config.eval.do_sample else None,
        config_hash=facts.config_hash,
    )


def baseline_columns(config: RunConfig) -> dict[str, Any]:
    """The columns that the policy's own keys fill; None where they do not apply."""
    columns: dict[str, Any] = dict.fromkeys(
        ("threshold", "uncertainty_metric", "vision_mode", "pruning_ratio", "pruning_mode", "long_side", "oracle_rule")
    )
    match config.policy.baseline:
        case UncertaintyBaseline(uncertainty=measure, threshold=threshold, vision=vision):
            columns |= {"threshold": threshold, "uncertainty_metric": measure, "vision_mode": vision}
        case CascadeBaseline(threshold=threshold):
            columns |= {"threshold": threshold, "uncertainty_metric": "confidence", "vision_mode": "full"}
        case RandomBaseline(buckets=buckets, bucket_ratios=ratios) if buckets or ratios:
            columns |= {"uncertainty_metric": "entropy"}  # what its buckets are cut by
        case PruningBaseline(pruning_ratio=ratio, pruning_mode=mode):
            columns |= {"pruning_ratio": ratio, "pruning_mode": mode}  # also where it is 1
        case ResolutionBaseline(long_side=side):
            columns |= {"long_side": side}
        case OracleBaseline(rule=rule):
            columns |= {"oracle_rule": rule}
        case _:
            pass
    if (pruning := full_pruning(config)) is not None:
        columns |= {"pruning_mode": pruning[0], "pruning_ratio": pruning[1]}
    return columns


def _seed(config: RunConfig) -> int:
    """The seed that a baseline's results depend on, if any does."""
    baseline = config.policy.baseline
    return baseline.seed if isinstance(baseline, RandomBaseline) else config.training.seed


def _reads_lambda(config: RunConfig) -> bool:
    """Whether a baseline's choice depends on lambda."""
    return isinstance(config.policy.baseline, OracleBaseline) and config.policy.baseline.rule == "utility"
