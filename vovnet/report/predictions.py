"""A run's predictions as columns, checked against its row of results.csv."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import USUAL, Action, number_of
from vovnet.errors import VoVNetError
from vovnet.results.columns import ResultRow, rates_of
from vovnet.results.read import predictions_path, read_predictions
from vovnet.results.write import RESULTS
from vovnet.terminal import counted


@dataclass(frozen=True)
class Predictions:
    """Columns of predictions.jsonl, all [N].

    Attributes:
        action: ``Action`` values.
        values: estimates [N, A] of the looks labelled ``valued``, or None for a policy that makes none.
    """

    id: list[str]
    group: np.ndarray
    category: np.ndarray
    action: np.ndarray
    score: np.ndarray
    cost: np.ndarray
    entropy: np.ndarray  # NaN where no text pass was read
    margin: np.ndarray
    values: np.ndarray | None
    valued: tuple[str, ...] = ()


def predictions_of(folder: Path, row: ResultRow) -> Predictions:
    """The columns of a run's predictions.

    Raises:
        VoVNetError: missing, damaged, or not those that ``row`` was made of.
    """
    path, lines, known = predictions_path(folder), read_predictions(folder), rates_of(row)
    try:
        valued, values = _values(lines, [*known])
        found = Predictions(
            id=[line["id"] for line in lines],
            group=np.array([line["group"] for line in lines]),
            category=np.array([line["category"] for line in lines]),
            action=_actions([line["action"] for line in lines], known),
            values=values,
            valued=valued,
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
        return f"holds {count} of {counted(row.num_samples, 'sample')}"
    if len(set(found.id)) != count:
        return "holds a sample twice"
    pairs = {"accuracy": (found.score.mean(), row.accuracy), "cost": (found.cost.mean(), row.avg_cost)}
    pairs |= {label: ((found.action == number_of(label)).mean(), rate) for label, rate in rates_of(row).items()}
    for name, (own, told) in pairs.items():
        if abs(own - told) > 1e-6:
            return f"comes to {name} {own:.6g}, {RESULTS} says {told:.6g}"
    return ""


def _actions(labels: Sequence[str], known: Collection[str]) -> np.ndarray:
    """The looks' numbers, int64 [N].

    Raises:
        KeyError: a look is none of the row's.
    """
    numbers = {label: number_of(label) for label in known}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _values(lines: Sequence[Mapping[str, Any]], known: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Labels of looks, and the policy's estimates of them [N, A], cheapest first; None where it makes none.

    Args:
        known: labels of the row's looks, the usual ones first.

    Raises:
        ValueError: lines differ in the actions that they value.
    """
    keys = [tuple(line["values"]) if "values" in line else () for line in lines]
    if set(keys) == {()}:
        return (), None
    usual = [known.index(label) for label in keys[0] if label in known[: len(USUAL)]]
    if len(set(keys)) > 1 or not {*keys[0]} <= {*known} or usual != sorted(usual) or keys[0][0] != Action.NO.label:
        raise ValueError("values are not those of the same actions in every line, cheapest first")
    return keys[0], np.array([list(line["values"].values()) for line in lines], dtype=np.float64)
