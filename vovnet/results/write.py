"""A run's files: results.csv, summary.json, predictions.jsonl."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.files import write_text
from vovnet.outcomes.routed import Routed
from vovnet.ranks import is_main_rank
from vovnet.results.row import COLUMNS, ResultRow

RESULTS, SUMMARY, PREDICTIONS = "results.csv", "summary.json", "predictions.jsonl"
CATEGORIES = "categories.csv"


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write a table; None becomes an empty cell, floats keep every digit."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write results.csv."""
    write_rows(path, [asdict(row) for row in rows])


def read_results(path: Path) -> list[ResultRow]:
    """Read a results.csv back into typed rows.

    Raises:
        VoVNetError: the file is missing, a column is missing or a cell has the wrong type.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise VoVNetError(f"{path} lacks the column {sorted(missing)[0]}; run the evaluation again.")
            rows = [_typed(path, number, row) for number, row in enumerate(reader, start=2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise VoVNetError(f"{path} is no table ({error}); run the evaluation again.") from error
    except OSError as error:
        raise VoVNetError(f"{path} cannot be read ({error.strerror}); run the evaluation first.") from error
    if not rows:
        raise VoVNetError(f"{path} holds no row; run the evaluation again.")
    return rows


def _typed(path: Path, number: int, row: Mapping[str, str | None]) -> ResultRow:
    values: dict[str, Any] = {}
    for field in fields(ResultRow):
        cell = row[field.name]
        kinds = get_args(field.type) or (field.type,)
        try:
            values[field.name] = _cell(cell, kinds)
        except (ValueError, TypeError, KeyError) as error:
            raise VoVNetError(
                f"{path}, line {number}: {field.name}={cell!r} is not valid; run the evaluation again."
            ) from error
    return ResultRow(**values)


def _cell(cell: str | None, kinds: Sequence[Any]) -> Any:
    if cell is None:
        raise ValueError("the line is cut short")
    if cell == "" and type(None) in kinds:
        return None
    if bool in kinds:
        return {"True": True, "False": False}[cell]
    for kind in (int, float):
        if kind in kinds:
            return kind(cell)
    return cell


def retract(folder: Path, row: ResultRow) -> None:
    """Remove the summary of another result before its files are replaced: where one stands, the files belong to it."""
    if not is_main_rank() or not (folder / SUMMARY).is_file():
        return
    try:
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["result"]
    except (ValueError, KeyError, TypeError):  # damaged, or of another kind of run
        found = None
    if found != json.loads(json.dumps(asdict(row))):
        (folder / SUMMARY).unlink()


def write_predictions(path: Path, dataset: VQADataset, routed: Routed, actions: Sequence[Action]) -> None:
    """One line per sample: what was chosen, what came of it, and the estimates behind the choice."""
    chosen = routed.chosen
    values = None if routed.values is None else np.round(routed.values, 6).tolist()
    columns = {name: getattr(chosen, name).tolist() for name in ("prediction", "score", "parsed", "vision_tokens")}
    cost, taken = routed.cost.tolist(), routed.actions.tolist()
    entropy, margin = routed.entropy.tolist(), routed.margin.tolist()
    labels = {int(action): action.label for action in Action}
    names = [action.label for action in actions]
    lines = []
    for i in range(len(taken)):
        sample = dataset[i]
        line: dict[str, Any] = {
            "id": sample.id,
            "group": sample.group,
            "category": sample.category,
            "action": labels[taken[i]],
            **{name: column[i] for name, column in columns.items()},
            "cost": round(cost[i], 8),
            "answers": list(sample.answers),
            # of the text pass; null where none was read
            "entropy": None if np.isnan(entropy[i]) else round(entropy[i], 6),
            "margin": None if np.isnan(margin[i]) else round(margin[i], 6),
        }
        if routed.fallback is not None:
            line["fallback"] = bool(routed.fallback[i])
        if values is not None:
            line["values"] = dict(zip(names, values[i], strict=True))
        lines.append(json.dumps(line, ensure_ascii=False))
    write_text(path, "\n".join(lines) + "\n")
