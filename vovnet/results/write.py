"""Writing a run's files, and knowing those that exist."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, repeat
from json.encoder import encode_basestring as quote
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.files import read_object, write_bytes, write_parts, write_text
from vovnet.jobs import SWEEP_FILE
from vovnet.outcomes.routed import Routed
from vovnet.provenance import SUMMARY
from vovnet.ranks import is_main_rank
from vovnet.results.columns import ResultRow, record, same_row, table_columns
from vovnet.results.split import SplitColumns
from vovnet.session import Session

RESULTS, PREDICTIONS = "results.csv", "predictions.jsonl"
CATEGORIES = "categories.csv"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # begins what spreadsheets compute
LINES = 65_536  # of predictions held as text at once


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a table; None becomes an empty cell, floats keep every digit."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def without_formulas(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lines whose texts come from a data set: a spreadsheet would compute one that begins like a formula, so that it
    gets an apostrophe in front."""

    def cell(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    return [{name: cell(value) for name, value in row.items()} for row in rows]


def write_or_remove(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table that there is only sometimes; one of an earlier run says nothing of this one."""
    if rows:
        write_rows(path, rows, list(dict.fromkeys(name for row in rows for name in row)))
    else:
        path.unlink(missing_ok=True)


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write results.csv."""
    write_rows(path, [record(row) for row in rows], table_columns(rows))


def retract(folder: Path, row: ResultRow) -> None:
    """Remove the summary of another result before its files are replaced: where one exists, the files belong to it."""
    if not is_main_rank() or not (folder / SUMMARY).is_file():
        return
    try:
        found = read_object(folder / SUMMARY)["result"]
    except (ValueError, KeyError):  # damaged, or of another kind of run
        found = None
    if not same_row(row, found):
        (folder / SUMMARY).unlink()


def write_predictions(
    folder: Path, split: SplitColumns, routed: Routed, actions: Sequence[Action], session: Session
) -> str | None:
    """One line per sample: what was chosen, what came of it, and the estimates behind the choice.

    A single run's lines hold the questions. Those of a sweep's jobs are compressed and do without: the questions are
    in one file in the sweep's folder, whose name is returned.

    Args:
        actions: whose estimates they are, column by column.
        session: keeps the texts that further jobs of a sweep write again.
    """
    chosen = routed.chosen
    # Column by column, and the numbers that come of a branch by their few values: a JSON encoder called for every
    # sample would take most of a sweep's time.
    columns: dict[str, Sequence[str]] = {
        "action": [f'"{label}"' for label in routed.labels.tolist()],
        "prediction": list(map(quote, chosen.prediction)),
        "score": _by_value(chosen.score, repr),
        "parsed": _by_value(chosen.parsed, json.dumps),
        "refused": _by_value(chosen.refused, json.dumps),
        "vision_tokens": _by_value(routed.paid("vision_tokens"), repr),
        "cost": _by_value(routed.cost, partial(_rounded, digits=8)),
        **{name: _once(session, getattr(routed, name), _of_text_pass) for name in ("entropy", "margin")},
    }
    if routed.fallback is not None:
        columns["fallback"] = _by_value(routed.fallback, json.dumps)
    if routed.values is not None:
        columns["values"] = _once(session, routed.values, _estimates, *(action.label for action in actions))
    plain, packed = folder / PREDICTIONS, folder / f"{PREDICTIONS}.gz"
    if not (folder.parent / SWEEP_FILE).is_file():
        write_parts(plain, _lines(split.questions, columns))
        _remove_other(packed)
        return None
    name = f"questions-{split.digest}.jsonl.gz"
    if not (folder.parent / name).is_file():
        _write_packed(folder.parent / name, _lines(split.questions, {}))
    _write_packed(packed, _lines([f'"id": {one}' for one in split.ids], columns))
    _remove_other(plain)
    return name


def _write_packed(path: Path, parts: Iterable[str]) -> None:
    """Write a compressed text, the same bytes each time. bz2 leaves two thirds of it and takes ten times as long."""
    if is_main_rank():
        write_bytes(path, gzip.compress("".join(parts).encode(), compresslevel=6, mtime=0))


def _remove_other(path: Path) -> None:
    """Predictions in the other form, of an earlier version or of a sweep in the same place."""
    if is_main_rank():
        path.unlink(missing_ok=True)


def _lines(heads: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """JSON objects from their first members and more columns, joined by blocks: a format for each would take thrice
    as long."""
    pieces: list[Iterable[str]] = [repeat("{", len(heads)), heads]
    for name, column in columns.items():
        pieces += [repeat(f", {quote(name)}: ", len(heads)), column]
    rows = zip(*pieces, repeat("}\n", len(heads)), strict=True)
    while block := "".join(chain.from_iterable(islice(rows, LINES))):
        yield _on_one_line(block)


def json_line(value: Mapping[str, Any]) -> str:
    """An object as one line, whatever a reader takes for the end of a line."""
    return _on_one_line(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n"


def _on_one_line(text: str) -> str:
    """JSON whose texts hold no line separators of Unicode, at which ``str.splitlines`` would cut it."""
    for character in "\x85\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _by_value(column: np.ndarray, text: Callable[[Any], str]) -> list[str]:
    """A column of numbers or truth values as texts, each distinct one made once."""
    distinct, places = np.unique(column, return_inverse=True)
    texts: list[str] = np.array([text(value) for value in distinct.tolist()], dtype=object)[places].tolist()
    return texts


def _once(session: Session, values: np.ndarray, make: Callable[..., list[str]], *labels: str) -> list[str]:
    """Values as texts, made once for the same content."""
    asked = (make.__name__, values.tobytes(), values.dtype.str, labels)
    return session.once("texts", asked, lambda: make(values, *labels), keep=6)


def _of_text_pass(values: np.ndarray) -> list[str]:
    """Entropy or margin, null where no text pass was read."""
    return [_rounded(value, 6) for value in values.tolist()]


def _estimates(values: np.ndarray, *labels: str) -> list[str]:
    """Float64 values [N, A] as one JSON object a sample."""
    columns = (map(repr, column) for column in np.round(values, 6).T.tolist())
    one = ", ".join(f"{quote(label)}: %s" for label in labels)
    return [f"{{{one % row}}}" for row in zip(*columns, strict=True)]


def _rounded(value: float, digits: int) -> str:
    """A JSON number, null for NaN. Rounded by Python: NumPy multiplies and divides, and differs in the last place."""
    return "null" if value != value else repr(round(value, digits))
