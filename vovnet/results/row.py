"""One evaluation as a row of results.csv."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vovnet.actions import USUAL
from vovnet.data import VQADataset
from vovnet.data.sample import SampleRule
from vovnet.metrics.estimators import expected_calibration_error
from vovnet.outcomes.routed import Routed
from vovnet.policy.protocol import Value
from vovnet.results.columns import OF_POLICY, OWN_ENGINE, OWN_RATE, ResultRow, as_family
from vovnet.results.split import SplitColumns
from vovnet.schema import PruningMode, RunConfig
from vovnet.scoring.official import OfficialScores
from vovnet.vlm.facts import generation_flops, prefill_flops, vision_flops

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def clustered_interval(scores: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean score, where the samples of one group (image) count as one observation.

    Wilson's interval at Kish's effective number of groups n^2 / sum of m_g^2: the size that n samples amount to when
    those of a group are always right or wrong together. It is conservative where they are not. The size does not
    depend on the scores: more right answers to the same questions never lower either bound, and the interval has
    width at accuracies 0 and 1. An estimated design effect has neither property: it knows nothing of the dependence
    where all scores are equal, and little where few differ.

    Args:
        scores: in [0, 1], [N]. ``groups``: a label per sample, [N].
    """
    count = len(scores)
    if count == 0:
        return math.nan, math.nan
    mean = float(scores.mean(dtype=np.float64))
    sizes = np.unique(groups, return_counts=True)[1]
    size = count**2 / float((sizes.astype(np.float64) ** 2).sum())
    centre = (mean + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * math.sqrt(mean * (1 - mean) / size + Z95**2 / (4 * size**2))
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def official_scores(dataset: VQADataset, split: SplitColumns, routed: Routed) -> dict[str, OfficialScores]:
    """What each set's own evaluator would say."""
    chosen = routed.chosen
    found = {}
    for name, rows in split.members.items():
        scores = split.sheets[name].scores(chosen.score[rows], chosen.parsed[rows])
        member = dataset.member(int(rows[0]))
        if isinstance(member.scorer, SampleRule):
            samples = [member[dataset.place(row)] for row in rows.tolist()]
            metrics = member.scorer.official(samples, chosen.answer[rows].tolist())
            headline = metrics.get(scores.name)  # a number unless the benchmark cannot aggregate these samples
            value = headline if isinstance(headline, float) else scores.value
            scores = replace(scores, value=value, metrics=metrics)
        found[name] = scores
    return found


def category_rows(split: SplitColumns, routed: Routed) -> list[dict[str, object]]:
    """One line per set and category: score, cost and what was chosen."""
    lines = []
    for (name, category), rows in split.categories.items():
        rates = routed.rates(rows)
        shown = {f"action_rate_{look.label}": rates.pop(look.label) for look in USUAL}
        lines.append(
            {
                "dataset": name,
                "category": category,
                "num_samples": len(rows),
                "score": float(routed.chosen.score[rows].mean(dtype=np.float64)),
                "unparsed_rate": float((~routed.chosen.parsed[rows]).mean()),
                "refusal_rate": float(routed.chosen.refused[rows].mean()),
                "avg_cost": float(routed.cost[rows].mean()),
                **shown,
                **{f"{OWN_RATE}{label}": rate for label, rate in rates.items()},
            }
        )
    return lines


def with_random_fallback(dataset: VQADataset, routed: Routed, seed: int) -> tuple[Routed, int]:
    """MMMU's official treatment of choices that cannot be read: a letter drawn at random; and how many.

    Each sample draws from a stream of its own. Only results are changed: outcomes in the store, and so what
    a policy learns from, never contain luck.
    """
    score, drawn = routed.chosen.score.copy(), 0
    for index in np.flatnonzero(~routed.chosen.parsed).tolist():
        sample = dataset[index]
        if dataset.member(index).scorer == "mmmu" and sample.options:
            letter = chr(ord("A") + int(np.random.default_rng([seed, index]).integers(len(sample.options))))
            score[index] = float(letter in sample.answers)
            drawn += 1
    return replace(routed, chosen=replace(routed.chosen, score=score)), drawn


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
    engine: str  # that has made the outcomes
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
    own = facts.engine == OWN_ENGINE  # of another engine's model no sizes are known
    flops = _prefill_flops(facts, routed) if own else None
    whole = None if flops is None else _all_flops(facts, routed, flops)
    written = chosen.generated_tokens
    vision_tokens, settings = routed.paid("vision_tokens"), policy_columns(config, facts)
    pruned = settings["pruning_ratio"] is not None
    return ResultRow(
        dataset=facts.dataset,
        dataset_label=config.dataset.label,
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
        avg_text_tokens=_mean(routed.text_tokens + branch_tokens - vision_tokens),
        avg_patches=_mean(routed.paid("patches")),
        avg_generated_tokens=_mean(routed.paid("generated_tokens")),
        prefill_gflops=None if flops is None else float(flops.mean()) / 1e9,
        gflops=None if whole is None else float(whole.mean()) / 1e9,
        latency_p50_ms=float(np.percentile(chosen.seconds, 50)) * 1e3 if alone else None,
        latency_p90_ms=float(np.percentile(chosen.seconds, 90)) * 1e3 if alone else None,
        prepare_p50_ms=None if not alone or routed.preparing is None else float(np.median(routed.preparing)) * 1e3,
        mem_peak_mb=facts.memory_mb,
        ece=None if np.isnan(chosen.confidence).any() else expected_calibration_error(chosen.confidence, chosen.score),
        unparsed_rate=float((~chosen.parsed).mean()),
        unparsed_cut_rate=(
            float((~chosen.parsed & (written >= config.eval.max_new_tokens)).mean())
            if own and not np.isnan(written).any()
            else None
        ),
        refusal_rate=float(chosen.refused.mean()),
        scoring_rule=facts.scoring_rule,
        cache_reuse=facts.cache_reuse,
        cost_unit=facts.cost_unit,
        prompt_order=f"{config.backbone.prompt_order}{'+interleaved' * config.dataset.interleaved}" if own else "",
        mode=config.eval.mode,
        backbone=facts.backbone,
        engine=facts.engine,
        dtype=config.backbone.dtype if own else "",
        checkpoint=facts.checkpoint,
        decoding_seed=config.eval.seed if config.eval.do_sample else None,
        config_hash=facts.config_hash,
        metrics=as_family(facts.metrics),
    )


def _mean(values: np.ndarray) -> float | None:
    """None where it is not known of some, as of imported rows."""
    mean = float(values.mean())
    return None if np.isnan(mean) else mean


def _prefill_flops(facts: RunFacts, routed: Routed) -> np.ndarray:
    """Of the prompts of every look that was taken and of the text pass, [N]."""
    chosen = routed.chosen
    flops: np.ndarray = prefill_flops(facts.text_config, routed.text_tokens, routed.text_tokens) + prefill_flops(
        facts.text_config, chosen.prompt_tokens - chosen.reused_tokens, chosen.prompt_tokens
    )
    for one in routed.earlier:
        context = one.outcomes.prompt_tokens
        flops[one.rows] += prefill_flops(facts.text_config, context - one.outcomes.reused_tokens, context)
    return flops


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
