"""A run's files: results.csv, summary.json, predictions.jsonl."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache, partial
from json.encoder import encode_basestring as quote
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_text
from vovnet.outcomes.routed import Routed
from vovnet.ranks import is_main_rank
from vovnet.results.row import COLUMNS, ResultRow
from vovnet.results.split import split_columns

RESULTS, SUMMARY, PREDICTIONS = "results.csv", "summary.json", "predictions.jsonl"
CATEGORIES = "categories.csv"
RATES = tuple(f"action_rate_{action.label}" for action in Action)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write a table; None becomes an empty cell, floats keep every digit."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_or_remove(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table that there is only sometimes; one of an earlier run says nothing of this one."""
    if rows:
        write_rows(path, rows, list(rows[0]))
    else:
        path.unlink(missing_ok=True)


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


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary.json of a finished run.

    Raises:
        VoVNetError: it cannot be read.
    """
    try:
        return read_object(folder / SUMMARY)
    except (OSError, ValueError) as error:
        raise VoVNetError(f"{folder / SUMMARY} cannot be read ({error}); remove {folder} and run it again.") from error


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The lines of a predictions.jsonl.

    Raises:
        VoVNetError: it is missing, or a line is no object.
    """
    lines: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:  # as bytes: texts may hold other ends of lines, such as U+2028
            for text in file:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("it is no object")
                lines.append(line)
    except OSError as error:
        raise VoVNetError(f"{path} cannot be read ({error.strerror}); run the evaluation again.") from error
    except (ValueError, RecursionError) as error:
        raise VoVNetError(f"{path} is damaged in line {len(lines) + 1}; run the evaluation again.") from error
    if not lines:
        raise VoVNetError(f"{path} is damaged, it is empty; run the evaluation again.")
    return lines


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
    for name in ("accuracy", *RATES):
        if not 0 <= values[name] <= 1:
            raise VoVNetError(
                f"{path}, line {number}: {name}={values[name]} is not between 0 and 1; run the evaluation again."
            )
    if abs(sum(values[name] for name in RATES) - 1) > 1e-6:
        raise VoVNetError(f"{path}, line {number}: the action rates do not add up to 1; run the evaluation again.")
    return ResultRow(**values)


def _cell(cell: str | None, kinds: Sequence[Any]) -> Any:
    if cell is None:
        raise ValueError("the line is cut short")
    if cell == "" and type(None) in kinds:
        return None
    if bool in kinds:
        return {"True": True, "False": False}[cell]
    if int in kinds:
        return int(cell)
    if float in kinds:
        number = float(cell)
        if not math.isfinite(number):
            raise ValueError("it is no number")
        return number
    return cell


def retract(folder: Path, row: ResultRow) -> None:
    """Remove the summary of another result before its files are replaced: where one stands, the files belong to it."""
    if not is_main_rank() or not (folder / SUMMARY).is_file():
        return
    try:
        found = read_object(folder / SUMMARY)["result"]
    except (ValueError, KeyError):  # damaged, or of another kind of run
        found = None
    if found != json.loads(json.dumps(asdict(row))):
        (folder / SUMMARY).unlink()


def write_predictions(path: Path, dataset: VQADataset, routed: Routed, actions: Sequence[Action]) -> None:
    """One line per sample: what was chosen, what came of it, and the estimates behind the choice."""
    chosen, split = routed.chosen, split_columns(dataset, len(routed.actions))
    # Column by column, and the numbers that come of a branch by their few values: a JSON encoder called for every
    # sample would take most of a sweep's time.
    marks = ("action", "prediction", "score", "parsed", "vision_tokens", "cost", "answers")
    columns: list[Sequence[str]] = [
        split.heads,
        np.array([f'"{action.label}"' for action in Action], dtype=object)[routed.actions].tolist(),
        list(map(quote, chosen.prediction)),
        _by_value(chosen.score, repr),
        _by_value(chosen.parsed, json.dumps),
        _by_value(chosen.vision_tokens, repr),
        _by_value(routed.cost, partial(_rounded, digits=8)),
        split.answers,
        _of_text_pass(*_content(routed.entropy), *_content(routed.margin)),
    ]
    line = "%s" + "".join(f", {quote(name)}: %s" for name in marks) + "%s"
    if routed.fallback is not None:
        columns.append(_by_value(routed.fallback, json.dumps))
        line += ', "fallback": %s'
    if routed.values is not None:
        columns.append(_estimates(routed.values.tobytes(), tuple(action.label for action in actions)))
        line += ', "values": %s'
    line += "}"
    write_text(path, "\n".join([line % row for row in zip(*columns, strict=True)]) + "\n")


def _by_value(column: np.ndarray, text: Callable[[Any], str]) -> list[str]:
    """A column of numbers or truth values as texts, each distinct one made once."""
    distinct, places = np.unique(column, return_inverse=True)
    texts: list[str] = np.array([text(value) for value in distinct.tolist()], dtype=object)[places].tolist()
    return texts


def _content(values: np.ndarray) -> tuple[bytes, str]:
    return values.tobytes(), values.dtype.str


@lru_cache(maxsize=1)
def _of_text_pass(entropy: bytes, entropy_type: str, margin: bytes, margin_type: str) -> Sequence[str]:
    """Entropy and margin, null where no text pass was read; a sweep writes the same ones in every job."""
    columns = (np.frombuffer(entropy, entropy_type).tolist(), np.frombuffer(margin, margin_type).tolist())
    return [f', "entropy": {_rounded(e, 6)}, "margin": {_rounded(m, 6)}' for e, m in zip(*columns, strict=True)]


@lru_cache(maxsize=1)
def _estimates(content: bytes, labels: Sequence[str]) -> Sequence[str]:
    """Float64 values [N, A] as one JSON object a sample; a sweep over lambda has the same in every job."""
    values = np.frombuffer(content, np.float64).reshape(-1, len(labels))
    columns = (map(repr, column) for column in np.round(values, 6).T.tolist())
    one = ", ".join(f"{quote(label)}: %s" for label in labels)
    return [f"{{{one % row}}}" for row in zip(*columns, strict=True)]


def _rounded(value: float, digits: int) -> str:
    """A JSON number, null for NaN. Rounded by Python: NumPy multiplies and divides, and differs in the last place."""
    return "null" if value != value else repr(round(value, digits))
