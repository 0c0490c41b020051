"""Check points of block C1: the same policy on benchmarks that need vision to different degrees."""

from collections.abc import Sequence

from vovnet.checks.check import Check
from vovnet.results.columns import CURVE, ResultRow, grouped

# One policy at one lambda, whatever the benchmark.
POLICY = tuple(name for name in CURVE if name not in ("dataset", "split", "num_samples"))
FEW_NO = 0.2  # "TextVQA's NO share is low", in numbers


def generalization_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """C1: MMMU looks in full more often than MMBench; TextVQA is seldom answered blind.

    The mini sets count as the benchmarks they stand for. Where one policy has several lambdas, its smallest
    positive one is judged: at 0 looking is free, and at a large lambda nobody looks.
    """
    checks = []
    for group in grouped([row for row in rows if not row.baseline_name and row.lambda_cost], POLICY):
        smallest = min(row.lambda_cost or 0.0 for row in group)
        found = {row.dataset.removeprefix("mini_"): row for row in group if row.lambda_cost == smallest}
        at = f"at lambda {smallest:g}"
        if {"mmmu", "mmbench"} <= set(found):
            mmmu, mmbench = (found[name].action_rate_full for name in ("mmmu", "mmbench"))
            name = f"{found['mmmu'].dataset} chooses FULL more often than {found['mmbench'].dataset} {at}"
            checks.append(Check(name, mmmu > mmbench, f"{mmmu:.3f} against {mmbench:.3f}"))
        if "textvqa" in found and len(found) > 1:
            row = found["textvqa"]
            name = f"{row.dataset} chooses NO for at most {FEW_NO:g} {at}"
            checks.append(Check(name, row.action_rate_no <= FEW_NO, f"{row.action_rate_no:.3f}"))
    return checks
