"""The check points of the specification, block by block, evaluated on results."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from vovnet.actions import FIXED_POLICIES, USUAL
from vovnet.checks.baselines import pruning_checks, threshold_checks
from vovnet.checks.check import Check, readable_check, readable_checks, telling, told
from vovnet.metrics.curves import concave_hull
from vovnet.results.columns import CURVE, PROTOCOL, ResultRow, grouped
from vovnet.terminal import counted


def run_checks(row: ResultRow) -> list[Check]:
    """Check points of a single run: whether its answers could be read, and block B1."""
    readable = readable_check(row)
    if row.baseline_name not in FIXED_POLICIES:
        return [readable]
    expected = tuple(float(action is FIXED_POLICIES[row.baseline_name]) for action in USUAL)
    seen = (row.action_rate_no, row.action_rate_coarse, row.action_rate_full)
    checks = [Check(f"{row.baseline_name}: action_ratio is {list(expected)}", seen == expected, str(list(seen)))]
    if row.baseline_name == "no_vision":
        checks.append(Check("no_vision: avg_cost is 0", row.avg_cost == 0, f"{row.avg_cost:.4f}"))
    return [*checks, readable]


# What may tell VoVNet's check points of one data set apart, beside what each of them names.
TOLD = tuple(
    name
    for name in CURVE
    if name not in "dataset split num_samples objective procedure training checkpoint extra scoring_rule engine".split()
)


def sweep_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """Check points over a sweep (blocks A1 and B1), per data set and otherwise equal settings."""
    checks, names = readable_checks(rows), telling([vars(row) for row in rows if not row.baseline_name], TOLD)
    for group in grouped(rows, CURVE):
        over_lambda = sorted((r for r in group if not r.baseline_name), key=lambda r: r.lambda_cost or 0.0)
        if len(over_lambda) > 1:
            checks += _lambda_checks(over_lambda, names)
    checks += adaptation_checks(rows) + generalization_checks(rows)
    for group in grouped(rows, PROTOCOL):
        checks += threshold_checks(group) + pruning_checks(group)
        for policy in grouped([r for r in group if not r.baseline_name], CURVE):
            checks += _routing_checks([*policy, *(r for r in group if r.baseline_name)], names)
        fixed = {r.baseline_name: r.avg_cost for r in group if r.baseline_name in FIXED_POLICIES}
        if len(fixed) == len(FIXED_POLICIES):
            ordered = fixed["no_vision"] < fixed["always_coarse"] < fixed["always_full"]
            seen = ", ".join(f"{name} {cost:.4f}" for name, cost in fixed.items())
            checks.append(Check(f"{group[0].dataset}: avg_cost no < coarse < full", ordered, seen))
    return checks


def adaptation_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """Stage 1 of block A0: the adapted backbone answers better under FULL than the one below it."""
    full = {(row.dataset, row.backbone): row.accuracy for row in rows if row.baseline_name == "always_full"}
    checks = []
    for (dataset, backbone), after in full.items():
        below, _, adapter = backbone.partition(" + ")
        if adapter and (dataset, below) in full:
            before = full[dataset, below]
            seen = f"{before:.4f} before, {after:.4f} after"
            checks.append(Check(f"{dataset}: stage 1 raises always_full's accuracy", after > before, seen))
    return checks


def _lambda_checks(rows: Sequence[ResultRow], names: Sequence[str]) -> list[Check]:
    label = _kind(rows[0], names)
    costs = [r.avg_cost for r in rows]
    full = [r.action_rate_full for r in rows]
    cheaper = Check(
        f"{label}: avg_cost never rises with lambda",
        all(b <= a for a, b in itertools.pairwise(costs)),
        " ".join(f"{c:.4f}" for c in costs),
    )
    if rows[0].rates:  # of other looks, which may do as well as FULL at any lambda
        return [cheaper]
    return [
        cheaper,
        Check(
            f"{label}: actions move from FULL towards NO and COARSE as lambda grows",
            full[-1] < full[0],
            " ".join(f"{f:.3f}" for f in full),
        ),
    ]


def _routing_checks(rows: Sequence[ResultRow], names: Sequence[str]) -> list[Check]:
    """What routing must be good for, where a set holds both a lambda sweep and the fixed policies."""
    fixed = {row.baseline_name: row for row in rows if row.baseline_name in FIXED_POLICIES}
    routed = [row for row in rows if not row.baseline_name and row.fallback_mode is None]
    # One point is no sweep: nobody chose its lambda for these goals.
    if len(fixed) < len(FIXED_POLICIES) or len({row.lambda_cost for row in routed}) < 2:
        return []
    full = fixed["always_full"]
    mixing = concave_hull([(row.avg_cost, row.accuracy) for row in fixed.values()])
    gains = [row.accuracy - float(mixing.at(row.avg_cost)) for row in routed]
    best = max(range(len(routed)), key=lambda i: gains[i])
    free = min(routed, key=lambda row: row.lambda_cost or 0.0)
    kept = [row.avg_cost / full.avg_cost for row in routed if row.accuracy >= full.accuracy - 0.01]
    label = _kind(routed[0], names)
    return [
        Check(
            f"{label}: VoVNet at its smallest lambda is within one point of always_full",
            free.accuracy >= full.accuracy - 0.01,
            f"{free.accuracy:.4f} at lambda {free.lambda_cost:g} against {full.accuracy:.4f}",
        ),
        Check(
            f"{label}: VoVNet keeps always_full's accuracy less one point at 60 % of its cost or less",
            bool(kept) and min(kept) <= 0.6,
            f"{min(kept):.3f} of its cost" if kept else "at no lambda",
        ),
        Check(
            f"{label}: VoVNet lies above random mixing of the fixed policies, at no lambda more than a point below",
            gains[best] > 0 and min(gains) > -0.01,
            f"{gains[best]:+.4f} at lambda {routed[best].lambda_cost:g}, never below {min(gains):+.4f}",
        ),
    ]


def _kind(row: ResultRow, names: Sequence[str]) -> str:
    """Whose check it is."""
    return f"{row.dataset}, {row.objective}" + ", sequential" * (row.procedure == "sequential") + told(vars(row), names)


# One policy at one lambda, whatever the benchmark.
ALWAYS = ("objective", "procedure")  # told apart by name in the other check points
POLICY = tuple(name for name in CURVE if name not in ("dataset", "split", "num_samples"))
FEW_NO = 0.2  # "TextVQA's NO share is low", in numbers


def generalization_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """C1: MMMU looks in full more often than MMBench; TextVQA is seldom answered blind.

    The mini sets count as the benchmarks they stand for. Where one policy has several lambdas, its smallest
    positive one is judged: at 0 looking is free, and at a large lambda nobody looks.
    """
    checks, priced = [], [row for row in rows if not row.baseline_name and row.lambda_cost]
    names = telling([vars(row) for row in priced], POLICY)
    for group in grouped(priced, POLICY):
        smallest = min(row.lambda_cost or 0.0 for row in group)
        found = {row.dataset.removeprefix("mini_"): row for row in group if row.lambda_cost == smallest}
        at = f"at lambda {smallest:g}" + told(vars(group[0]), [name for name in names if name in (*ALWAYS, *TOLD)])
        if {"mmmu", "mmbench"} <= set(found):
            mmmu, mmbench = (found[name].action_rate_full for name in ("mmmu", "mmbench"))
            name = f"{found['mmmu'].dataset} chooses FULL more often than {found['mmbench'].dataset} {at}"
            checks.append(Check(name, mmmu > mmbench, f"{mmmu:.3f} against {mmbench:.3f}"))
        if "textvqa" in found and len(found) > 1:
            row = found["textvqa"]
            name = f"{row.dataset} chooses NO for at most {FEW_NO:g} {at}"
            checks.append(Check(name, row.action_rate_no <= FEW_NO, f"{row.action_rate_no:.3f}"))
    return checks


SMALL = 0.02  # standard deviation of accuracy over seeds that the specification calls small


def seed_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """One for each line of ``vovnet.analyses.paired_runs.seed_rows``."""
    names = telling(lines, (*ALWAYS, *TOLD))
    return [
        Check(
            f"{line['dataset']}, lambda {line['lambda_cost']:g}{told(line, names)}: "
            f"accuracy deviates little over {counted(line['seeds'], 'seed')}",
            line["accuracy_std"] <= SMALL,
            f"{line['accuracy_mean']:.4f} +- {line['accuracy_std']:.4f}, spread {line['accuracy_spread']:.4f}",
        )
        for line in lines
    ]


ALIKE = 0.97  # share of questions that half precision must act on as float32 does


def precision_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """One for each line of ``vovnet.analyses.paired_runs.precision_lines``."""
    return [
        Check(
            f"{line['dataset']}, {line['baseline_name'] or 'VoVNet'}: {line['dtype']} acts as float32",
            line["same_action"] >= ALIKE,
            f"on {line['same_action']:.4f} of {counted(line['num_samples'], 'question')}; the same answer on "
            f"{line['same_answer']:.4f}, accuracy {line['accuracy']:.4f} and {line['accuracy_float32']:.4f}",
        )
        for line in lines
    ]


def reuse_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Reuse reads fewer tokens, or as many where no question is looked at; ``lines`` are ``reuse_rows``."""
    pairs = [(line, line["avg_text_tokens_with"], line["avg_text_tokens_without"]) for line in lines]
    return [
        Check(
            f"{_label(line)}: fewer text tokens read",
            with_it < without or line["action_rate_no"] == 1,
            f"{with_it:.1f} with, {without:.1f} without",
        )
        for line, with_it, without in pairs
        if with_it is not None and without is not None
    ]


def answer_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Reuse changes no action and no answer: one for each line of ``vovnet.analyses.paired_runs.changed_answers``."""
    checks = []
    for line in lines:
        changed, count = line["changed"], line["questions"]
        seen = f"{count - len(changed)} of {counted(count, 'question')} alike" + (
            f", not {min(changed)}" if changed else ""
        )
        checks.append(Check(f"{_label(line)}: no action and no answer changes", not changed, seen))
    return checks


def _label(line: Mapping[str, Any]) -> str:
    return f"{line['dataset']}, {line['baseline_name'] or 'VoVNet'}, cache reuse"
