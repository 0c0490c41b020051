"""A run's predictions.jsonl as columns, held against the row that it was summed up in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import ACTION_SPACES, Action
from vovnet.errors import VoVNetError
from vovnet.results.columns import ResultRow
from vovnet.results.read import read_predictions
from vovnet.results.write import RESULTS

LABELS = [tuple(action.label for action in space) for space in ACTION_SPACES.values()]
ACTION_NUMBERS = {action.label: int(action) for action in Action}


@dataclass(frozen=True)
class Predictions:
    """Columns of predictions.jsonl, all [N]; ``values`` [N, A] or None for a policy that estimates none."""

    id: list[str]
    group: np.ndarray
    category: np.ndarray
    action: np.ndarray
    score: np.ndarray
    cost: np.ndarray
    entropy: np.ndarray  # NaN where no text pass was read
    margin: np.ndarray
    values: np.ndarray | None


def predictions_of(path: Path, row: ResultRow) -> Predictions:
    """The columns of a predictions.jsonl.

    Raises:
        VoVNetError: missing, damaged, or not those that ``row`` was made of.
    """
    lines = read_predictions(path)
    try:
        found = Predictions(
            id=[line["id"] for line in lines],
            group=np.array([line["group"] for line in lines]),
            category=np.array([line["category"] for line in lines]),
            action=np.array([ACTION_NUMBERS[line["action"]] for line in lines], dtype=np.int64),
            values=_values(lines),
            **{
                name: np.array([line[name] for line in lines], dtype=np.float64)
                for name in ("score", "cost", "entropy", "margin")
            },
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise VoVNetError(f"{path} is damaged ({error}); run the evaluation again.") from error
    if problem := _disagrees(found, row):
        raise VoVNetError(f"{path} {problem}; run the evaluation again.")
    return found


def _disagrees(found: Predictions, row: ResultRow) -> str:
    """Why predictions cannot be those that the run's row was made of, if they cannot."""
    count = len(found.id)
    if not ((found.score >= 0) & (found.score <= 1)).all():  # null becomes NaN
        return "holds a score that is not between 0 and 1"
    if found.values is not None and not np.isfinite(found.values).all():
        return "holds a value that is no finite number"
    if not all(isinstance(name, str) for name in found.id):
        return "holds an id that is no text"
    if not (found.cost >= 0).all():
        return "holds a cost that is no number of at least 0"
    if count != row.num_samples:
        return f"holds {count} of {row.num_samples} samples"
    if len(set(found.id)) != count:
        return "holds a sample twice"
    rates = (row.action_rate_no, row.action_rate_coarse, row.action_rate_full)
    pairs = {"accuracy": (found.score.mean(), row.accuracy), "cost": (found.cost.mean(), row.avg_cost)}
    pairs |= {action.label: ((found.action == int(action)).mean(), rates[int(action)]) for action in Action}
    for name, (own, told) in pairs.items():
        if abs(own - told) > 1e-6:
            return f"comes to {name} {own:.6g}, {RESULTS} says {told:.6g}"
    return ""


def _values(lines: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """The policy's estimates [N, A], actions from cheap to dear; None for a policy that makes none.

    Raises:
        ValueError: lines differ in the actions that they value.
    """
    keys = [tuple(line["values"]) if "values" in line else () for line in lines]
    if set(keys) == {()}:
        return None
    if len(set(keys)) > 1 or keys[0] not in LABELS:
        raise ValueError("values are not those of the same actions in every line, from cheap to dear")
    return np.array([list(line["values"].values()) for line in lines], dtype=np.float64)
