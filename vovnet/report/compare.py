"""Two runs side by side: what differs between them, by how much, and whether that could be chance."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vovnet.compose import EXCLUDED_FROM_HASH, EXCLUDED_FROM_HASH_EVAL
from vovnet.errors import VoVNetError
from vovnet.metrics.inference import mcnemar_p, paired_bootstrap
from vovnet.report.labels import seeded_label
from vovnet.report.runs import Run
from vovnet.results.columns import ASKED, CURVE, ResultRow, grouped

log = logging.getLogger(__name__)

COLUMNS = (
    "dataset first second accuracy_first accuracy_second difference ci_low ci_high p_value test "
    "better_on worse_on cost_first cost_second cost_difference cost_ci_low cost_ci_high differs"
).split()


SUBJECT = ("dataset", "split", "baseline_name")
# How it was made and run. Files differ wherever trainings do, so the name of the policy file says nothing.
MADE = tuple(name for name in CURVE if name not in (*SUBJECT, *ASKED, "checkpoint"))

Key = tuple[Any, ...]


def pair_runs(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    """One run against one, or two sweeps setting by setting; empty where they have none in common.

    Seeds are paired with their like where a sweep holds several of them, and so is everything else that a policy was
    made and run with; what all runs of a sweep share may be what the two are compared in. Runs of one sweep that no
    column tells apart are left out, and that is said.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    varying = _varying(first) | _varying(second)
    ones, others = _by_key(first, varying), _by_key(second, varying)
    common = [(ones[key], others[key]) for key in ones if key in others]
    alike = [runs for pair in common for runs in pair if len(runs) > 1]
    if alike:
        log.warning(
            "settings in common that are not compared: %d, since no column of results.csv tells such runs as %s and %s "
            "apart; give runs= folders that hold one of them",
            sum(max(map(len, pair)) > 1 for pair in common), alike[0][0].folder, alike[0][1].folder,
        )  # fmt: skip
    pairs = [(mine[0], theirs[0]) for mine, theirs in common if len(mine) == len(theirs) == 1]
    return sorted(pairs, key=lambda pair: (pair[0].row.shown_dataset, seeded_label(pair[0].row)))


def _varying(runs: Sequence[Run]) -> set[Key]:
    """Subjects, each with a column of ``MADE`` in which its runs differ."""
    found: set[Key] = set()
    for rows in grouped([run.row for run in runs], SUBJECT):
        columns = [name for name in MADE if len({getattr(row, name) for row in rows}) > 1]
        found |= {(*_values(rows[0], SUBJECT), name) for name in columns}
    return found


def _by_key(runs: Sequence[Run], varying: set[Key]) -> dict[Key, list[Run]]:
    found: dict[Key, list[Run]] = {}
    for run in runs:
        subject = _values(run.row, SUBJECT)
        made = _values(run.row, [name for name in MADE if (*subject, name) in varying])
        found.setdefault((*subject, *_values(run.row, ASKED), *made), []).append(run)
    return found


def _values(row: ResultRow, columns: Sequence[str]) -> Key:
    return tuple(getattr(row, name) for name in columns)


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
        "dataset": first.row.shown_dataset,
        "first": seeded_label(first.row),
        "second": seeded_label(second.row),
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
    minor = (*EXCLUDED_FROM_HASH_EVAL, "checkpoint", "ddp_checkpoint_path")
    return top in EXCLUDED_FROM_HASH or (top == "eval" and rest in minor)
