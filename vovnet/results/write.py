"""A run's files: results.csv, summary.json, predictions.jsonl."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from json.encoder import encode_basestring as quote
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
from vovnet.results.split import split_columns

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
    chosen, texts = routed.chosen, split_columns(dataset, len(routed.actions)).texts
    labels = np.array([f'"{action.label}"' for action in Action])
    columns: dict[str, Iterable[str]] = {
        "id": texts["id"],
        "group": texts["group"],
        "category": texts["category"],
        "action": labels[routed.actions],
        "prediction": map(quote, chosen.prediction),
        "score": map(repr, chosen.score.tolist()),
        "parsed": np.where(chosen.parsed, "true", "false"),
        "vision_tokens": map(repr, chosen.vision_tokens.tolist()),
        "cost": _rounded(routed.cost, 8),
        "answers": texts["answers"],
        "entropy": _remembered(routed.entropy),  # of the text pass; null where none was read
        "margin": _remembered(routed.margin),
    }
    if routed.fallback is not None:
        columns["fallback"] = np.where(routed.fallback, "true", "false")
    if routed.values is not None:
        columns["values"] = _estimates(routed.values.tobytes(), tuple(action.label for action in actions))
    # Column by column: a JSON encoder called for every sample would take most of a sweep's time.
    line = f"{{{', '.join(f'{quote(name)}: %s' for name in columns)}}}"
    lines = [line % row for row in zip(*columns.values(), strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def _remembered(values: np.ndarray) -> Sequence[str]:
    return _of_text_pass(values.tobytes(), values.dtype.str)


@lru_cache(maxsize=2)  # entropy and margin of one split
def _of_text_pass(content: bytes, dtype: str) -> Sequence[str]:
    """A sweep writes the same entropies and margins in every job."""
    return _rounded(np.frombuffer(content, dtype), 6)


@lru_cache(maxsize=1)
def _estimates(content: bytes, labels: Sequence[str]) -> Sequence[str]:
    """Float64 values [N, A] as one JSON object a sample; a sweep over lambda has the same in every job."""
    values = np.frombuffer(content, np.float64).reshape(-1, len(labels))
    columns = (map(repr, column) for column in np.round(values, 6).T.tolist())
    one = ", ".join(f"{quote(label)}: %s" for label in labels)
    return [f"{{{one % row}}}" for row in zip(*columns, strict=True)]


def _rounded(values: np.ndarray, digits: int) -> list[str]:
    """JSON numbers, null for NaN. Rounded by Python: NumPy's multiplies and divides, and differs in the last place."""
    return ["null" if value != value else repr(round(value, digits)) for value in values.tolist()]
