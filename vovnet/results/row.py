"""One row of results.csv from what was done to each sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vovnet.actions import USUAL
from vovnet.metrics.calibration import expected_calibration_error
from vovnet.outcomes.routed import Routed
from vovnet.policy.protocol import Value
from vovnet.results.columns import OF_POLICY, ResultRow, as_family
from vovnet.results.metrics import clustered_interval
from vovnet.schema import PruningMode, RunConfig
from vovnet.scoring.official import OfficialScores
from vovnet.vlm.flops import generation_flops, prefill_flops, vision_flops


@dataclass(frozen=True)
class RunFacts:
    """What a row says besides measurements."""

    split: str
    metric: str
    scoring_rule: str | None
    dataset: str
    groups: np.ndarray  # [N]
    backbone: str  # what it is called
    text_config: Mapping[str, Any]
    vision_config: Mapping[str, Any]
    cache_reuse: bool
    checkpoint: str | None
    baseline_name: str  # of the policy; empty for VoVNet
    policy: str  # what it calls itself, see ``Policy.label``
    settings: Mapping[str, Value]  # of the policy, see ``Policy.columns``
    pruning: tuple[PruningMode, float] | None  # of FULL
    cost_unit: str  # its name
    config_hash: str
    memory_mb: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)


def make_row(config: RunConfig, facts: RunFacts, routed: Routed, official: OfficialScores | None) -> ResultRow:
    """Aggregate one run; ``official`` is None for a mixture, whose sets are scored apart."""
    chosen, size = routed.chosen, len(routed.actions)
    rates = routed.rates()
    usual: dict[str, Any] = {f"action_rate_{look.label}": rates.pop(look.label) for look in USUAL}
    low, high = clustered_interval(chosen.score, facts.groups)
    alone = config.eval.mode == "live" and config.eval.batch_size == 1
    # A NO answer after a text pass reads nothing more; every other branch reads what it cannot reuse.
    branch_tokens = routed.paid("prompt_tokens") - routed.paid("reused_tokens")
    flops = prefill_flops(facts.text_config, routed.text_tokens, routed.text_tokens) + prefill_flops(
        facts.text_config, chosen.prompt_tokens - chosen.reused_tokens, chosen.prompt_tokens
    )
    for one in routed.earlier:
        context = one.outcomes.prompt_tokens
        flops[one.rows] += prefill_flops(facts.text_config, context - one.outcomes.reused_tokens, context)
    whole = _all_flops(facts, routed, flops)
    vision_tokens, settings = routed.paid("vision_tokens"), policy_columns(config, facts)
    pruned = settings["pruning_ratio"] is not None
    return ResultRow(
        dataset=facts.dataset,
        split=facts.split,
        metric=facts.metric,
        num_samples=size,
        baseline_name=facts.baseline_name,
        policy=facts.policy,
        **settings,
        remaining_vision_tokens=float(vision_tokens.mean()) if pruned else None,
        fallback_trigger_rate=None if routed.fallback is None else float(routed.fallback.mean()),
        action_ratio="[" + ", ".join(f"{rate:.6f}" for rate in (*usual.values(), *rates.values())) + "]",
        **usual,
        rates=as_family(rates),
        accuracy=float(chosen.score.mean(dtype=np.float64)),
        accuracy_ci_low=low,
        accuracy_ci_high=high,
        official_metric=official.name if official else None,
        official_score=official.value if official else None,
        avg_cost=float(routed.cost.mean()),
        avg_looks=float(routed.looks.mean()),
        avg_vision_tokens=float(vision_tokens.mean()),
        avg_text_tokens=float((routed.text_tokens + branch_tokens - vision_tokens).mean()),
        avg_patches=float(routed.paid("patches").mean()),
        avg_generated_tokens=float(routed.paid("generated_tokens").mean()),
        prefill_gflops=float(flops.mean()) / 1e9,
        gflops=None if whole is None else float(whole.mean()) / 1e9,
        latency_p50_ms=float(np.percentile(chosen.seconds, 50)) * 1e3 if alone else None,
        latency_p90_ms=float(np.percentile(chosen.seconds, 90)) * 1e3 if alone else None,
        prepare_p50_ms=None if not alone or routed.preparing is None else float(np.median(routed.preparing)) * 1e3,
        mem_peak_mb=facts.memory_mb,
        ece=None if np.isnan(chosen.confidence).any() else expected_calibration_error(chosen.confidence, chosen.score),
        unparsed_rate=float((~chosen.parsed).mean()),
        unparsed_cut_rate=float((~chosen.parsed & (chosen.generated_tokens >= config.eval.max_new_tokens)).mean()),
        refusal_rate=float(chosen.refused.mean()),
        scoring_rule=facts.scoring_rule,
        cache_reuse=facts.cache_reuse,
        cost_unit=facts.cost_unit,
        prompt_order=config.backbone.prompt_order,
        mode=config.eval.mode,
        backbone=facts.backbone,
        dtype=config.backbone.dtype,
        checkpoint=facts.checkpoint,
        decoding_seed=config.eval.seed if config.eval.do_sample else None,
        config_hash=facts.config_hash,
        metrics=as_family(facts.metrics),
    )


def _all_flops(facts: RunFacts, routed: Routed, prefill: np.ndarray) -> np.ndarray | None:
    """Prompts, answers and vision tower of every look that was taken, [N]; None where the tower's is not known."""
    total = prefill.copy()
    everyone = np.arange(len(total))
    for rows, outcomes in ((everyone, routed.chosen), *((one.rows, one.outcomes) for one in routed.earlier)):
        tower = vision_flops(facts.vision_config, outcomes.patches)
        if tower is None:
            return None
        total[rows] += tower + generation_flops(facts.text_config, outcomes.prompt_tokens, outcomes.generated_tokens)
    return total


def policy_columns(config: RunConfig, facts: RunFacts) -> dict[str, Any]:
    """The columns that a policy's settings fill, None where they do not apply; ``extra`` takes those of other names."""
    columns: dict[str, Any] = dict.fromkeys(OF_POLICY) | {"seed": config.training.seed}
    if facts.pruning is not None:
        columns |= {"pruning_mode": facts.pruning[0], "pruning_ratio": facts.pruning[1]}
    columns |= {name: value for name, value in facts.settings.items() if name in columns}
    return columns | {"extra": as_family({n: value for n, value in facts.settings.items() if n not in columns})}
