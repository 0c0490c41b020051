"""Two runs side by side: what differs between them, by how much, and whether that could be chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vovnet.compose import NOT_IDENTITY, NOT_IDENTITY_EVAL
from vovnet.errors import VoVNetError
from vovnet.metrics.paired import mcnemar_p, paired_bootstrap
from vovnet.report.runs import Run
from vovnet.report.table import setting

COLUMNS = (
    "dataset first second accuracy_first accuracy_second difference ci_low ci_high p_value test "
    "better_on worse_on cost_first cost_second cost_difference cost_ci_low cost_ci_high differs"
).split()


def pair_runs(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    """One run against one, or two sweeps setting by setting; empty where they have none in common."""
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    others = {_key(run): run for run in second}
    pairs = [(run, others[_key(run)]) for run in first if _key(run) in others]
    return sorted(pairs, key=lambda pair: _key(pair[0]))


def compare(first: Run, second: Run) -> dict[str, Any]:
    """Accuracy and cost of ``first`` less those of ``second`` on the same samples, clustered by image.

    Raises:
        VoVNetError: their protocols differ, so that their scores may not be compared.
    """
    differing = [key for key in first.protocol if first.protocol[key] != second.protocol.get(key)]
    if differing:
        # Another data set brings another prompt and other questions along; they would only hide it.
        differing = [key for key in differing if key in ("dataset", "split")] or differing
        seen = "; ".join(f"{key}: {first.protocol[key]} and {second.protocol.get(key)}" for key in differing)
        raise VoVNetError(
            f"{first.folder} and {second.folder} were run under different protocols ({seen}); run one of them again."
        )
    one, other = first.predictions, second.predictions
    if one.id != other.id:
        raise VoVNetError(f"{first.folder} and {second.folder} answer different questions; run one of them again.")
    groups = one.group
    score = paired_bootstrap(one.score, other.score, groups)
    cost = paired_bootstrap(one.cost, other.cost, groups)
    alone = len(set(groups.tolist())) == len(groups)
    binary = alone and bool(np.isin(np.concatenate([one.score, other.score]), (0, 1)).all())
    return {
        "dataset": f"{first.row.dataset}/{first.row.split}",
        "first": setting(first.row),
        "second": setting(second.row),
        "accuracy_first": first.row.accuracy,
        "accuracy_second": second.row.accuracy,
        "difference": score.mean,
        "ci_low": score.low,
        "ci_high": score.high,
        "p_value": mcnemar_p(one.score, other.score) if binary else score.p_value,
        "test": "McNemar, exact" if binary else "sign flips over images",
        "better_on": int((one.score > other.score).sum()),
        "worse_on": int((one.score < other.score).sum()),
        "cost_first": first.row.avg_cost,
        "cost_second": second.row.avg_cost,
        "cost_difference": cost.mean,
        "cost_ci_low": cost.low,
        "cost_ci_high": cost.high,
        "differs": ", ".join(_differing_keys(first, second)),
    }


def _differing_keys(first: Run, second: Run) -> list[str]:
    """Configuration keys in which two runs differ, with both values; and the policy file."""
    one, other = flat(first.summary["config"]), flat(second.summary["config"])
    keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key) and not _idle(key)]
    found = [f"{key}: {one.get(key)} | {other.get(key)}" for key in keys]
    if first.row.checkpoint != second.row.checkpoint:
        found.append(f"policy file: {first.row.checkpoint} | {second.row.checkpoint}")
    return found


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _idle(key: str) -> bool:
    """Whether a key changes no result."""
    top, _, rest = key.partition(".")
    return top in NOT_IDENTITY or (top == "eval" and rest in (*NOT_IDENTITY_EVAL, "checkpoint", "ddp_checkpoint_path"))


def _key(run: Run) -> tuple[str, str, str]:
    return f"{run.row.dataset}/{run.row.split}", setting(run.row), run.row.dtype
