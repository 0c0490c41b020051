"""Check points of the baselines' sweeps (blocks B2 to B4)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vovnet.checks.check import Check
from vovnet.results.columns import ResultRow, grouped, rates_of

SMOOTH = 0.02  # an accuracy may rise by this much although fewer tokens are kept
DEVIATIONS = 5  # standard deviations of a draw that its ratios and its cost may be away


def threshold_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """B2: the lower the bar for uncertainty, the more is looked at and paid."""
    checks = []
    chosen = [row for row in rows if row.baseline_name == "uncertainty_threshold"]
    for group in grouped(chosen, ("uncertainty_metric", "vision_mode", "pruning_mode", "pruning_ratio")):
        # A low entropy threshold looks often; a low margin threshold seldom.
        eager = sorted(group, key=lambda r: r.threshold or 0.0, reverse=group[0].uncertainty_metric == "margin")
        if len(eager) < 2:
            continue
        looks = [1.0 - row.action_rate_no for row in eager]
        costs = [row.avg_cost for row in eager]
        label = f"{eager[0].dataset}, {eager[0].uncertainty_metric} to {eager[0].vision_mode}"
        checks.append(
            Check(
                f"{label}: a threshold that more questions reach looks more often and costs more",
                _falls(looks) and _falls(costs),
                " ".join(
                    f"t={r.threshold:g}: {look:.3f} at {r.avg_cost:.4f}" for r, look in zip(eager, looks, strict=True)
                ),
            )
        )
    return checks


def pruning_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """B4: fewer tokens remain, and accuracy goes down smoothly."""
    checks = []
    chosen = [row for row in rows if row.baseline_name == "vision_token_pruning_proxy"]
    for group in grouped(chosen, ("pruning_mode",)):
        if len(group) < 2:
            continue
        ordered = sorted(group, key=lambda r: r.pruning_ratio or 0.0, reverse=True)
        label = f"{ordered[0].dataset}, {ordered[0].pruning_mode}"
        tokens = [row.remaining_vision_tokens or 0.0 for row in ordered]
        scores = [row.accuracy for row in ordered]
        checks += [
            Check(
                f"{label}: remaining_vision_tokens falls with pruning_ratio",
                all(b < a for a, b in itertools.pairwise(tokens)),
                " ".join(f"{t:.1f}" for t in tokens),
            ),
            Check(
                f"{label}: accuracy falls with pruning_ratio, at no step rising by more than {SMOOTH}",
                all(b <= a + SMOOTH for a, b in itertools.pairwise(scores)),
                " ".join(f"{s:.4f}" for s in scores),
            ),
        ]
    return checks


def draw_checks(row: ResultRow, expected: Mapping[str, Any]) -> list[Check]:
    """B3: what was drawn is what was meant, and costs what VoVNet did, within some standard deviations of a draw.

    Args:
        expected: of ``Policy.expectation``.
    """
    matched_cost = expected.get("matched_cost")
    rates = rates_of(row)
    drawn = tuple(rates.get(label, 0.0) for label in expected["looks"])
    near = [
        abs(rate - share) <= DEVIATIONS * math.sqrt(share * (1 - share) / row.num_samples) + 1e-9
        for rate, share in zip(drawn, expected["action_ratio"], strict=True)
    ]
    off = DEVIATIONS * expected["avg_cost_sd"] + 1e-9
    near.append(abs(row.avg_cost - expected["avg_cost"]) <= off)
    ratios = f"{list(drawn)} for {[round(share, 4) for share in expected['action_ratio']]}"
    costs = f"cost {row.avg_cost:.4f} for {expected['avg_cost']:.4f}"
    unmatched = "; the ratios were given, so no VoVNet run's cost is known" if matched_cost is None else ""
    checks = [
        Check(
            f"{row.baseline_name}: action_ratio and avg_cost are near the target's",
            all(near),
            f"{ratios}, {costs}{unmatched}",
        )
    ]
    if matched_cost is not None:
        checks.append(
            Check(
                f"{row.baseline_name}: avg_cost is near the matched VoVNet run's",
                abs(row.avg_cost - matched_cost) <= off,
                f"{row.avg_cost:.4f} for {matched_cost:.4f}, at most {off:.4f} away",
            )
        )
    return checks


def _falls(values: Sequence[float]) -> bool:
    return all(b <= a for a, b in itertools.pairwise(values))
