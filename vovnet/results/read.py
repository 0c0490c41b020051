"""A run's files, read back: what cannot have been written by ``vovnet.results.write`` is refused."""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.files import open_file, read_object
from vovnet.policy.protocol import Value
from vovnet.provenance import SUMMARY
from vovnet.results.columns import DESCRIBED, ESSENTIAL, FAMILIES, RATES, ResultRow, as_family
from vovnet.results.write import PREDICTIONS


def read_results(path: Path) -> list[ResultRow]:
    """Read a results.csv back into typed rows.

    Columns that an older version did not write are filled in. Unknown ones are ignored, except policies' own settings.

    Raises:
        VoVNetError: the file is missing, a column that no row does without is missing, or a cell has the wrong type.
    """
    rows = list[ResultRow]()
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)  # or a stray quote takes the rows below it
            if missing := ESSENTIAL - set(reader.fieldnames or ()):
                raise VoVNetError(f"{path} lacks the column {sorted(missing)[0]}; run the evaluation again.")
            for number, row in enumerate(reader, start=2):
                if reader.line_num != number or None in row:
                    raise VoVNetError(f"{path}, line {number}: it is no row of its own; run the evaluation again.")
                rows.append(_typed(path, number, row))
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
        said = getattr(error, "strerror", None) or error
        raise VoVNetError(f"{folder / SUMMARY} cannot be read ({said}); remove {folder} and run it again.") from error


def predictions_path(folder: Path) -> Path:
    """The file that says what a run did with each question; a sweep's job has compressed it."""
    packed = folder / f"{PREDICTIONS}.gz"
    return packed if packed.is_file() else folder / PREDICTIONS


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """What a run did with each question, the question with it.

    Raises:
        VoVNetError: a file is missing, a line is no object, or a sweep's job answers a question that its sweep lacks.
    """
    packed = predictions_path(folder)
    if packed.suffix != ".gz":
        return _read_lines(packed)
    name = read_summary(folder).get("questions")
    if not isinstance(name, str) or Path(name).name != name:
        raise VoVNetError(f"{folder / SUMMARY} does not name the questions of {packed.name}; run the evaluation again.")
    lines, questions = _read_lines(packed), _read_lines(folder.absolute().parent / name)
    if [line.get("id") for line in lines] != [question.get("id") for question in questions]:
        raise VoVNetError(f"{packed} is damaged, {name} holds other questions; run the evaluation again.")
    return [question | line for question, line in zip(questions, lines, strict=True)]


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSONL file, which may be compressed."""
    lines: list[dict[str, Any]] = []
    try:
        # As bytes: texts may hold other ends of lines, such as U+2028.
        with open_file(path) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            for text in file:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("it is no object")
                lines.append(line)
    except (OSError, ValueError, RecursionError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.strerror:  # gzip raises one without, for damaged content
            raise VoVNetError(f"{path} cannot be read ({error.strerror}); run the evaluation again.") from error
        raise VoVNetError(f"{path} is damaged in line {len(lines) + 1}; run the evaluation again.") from error
    if not lines:
        raise VoVNetError(f"{path} is damaged, it is empty; run the evaluation again.")
    return lines


def read_answers(folder: Path) -> dict[str, tuple[str, str]]:
    """What a run did with each question: action and prediction by the question's id.

    Raises:
        VoVNetError: its predictions are missing or damaged.
    """
    try:
        return {line["id"]: (line["action"], line["prediction"]) for line in read_predictions(folder)}
    except (LookupError, TypeError) as error:
        raise VoVNetError(f"{predictions_path(folder)} is damaged ({error}); run the evaluation again.") from error


def _typed(path: Path, number: int, row: Mapping[str, str | None]) -> ResultRow:
    values: dict[str, Any] = {}
    for name, one in DESCRIBED.items():
        try:
            values[name] = _cell(row[name], one.kinds) if name in row else one.default
        except (ValueError, TypeError, KeyError) as error:
            raise VoVNetError(
                f"{path}, line {number}: {name}={row[name]!r} is not valid; run the evaluation again."
            ) from error
    for family, prefix in FAMILIES.items():
        own = {name.removeprefix(prefix): cell for name, cell in row.items() if name.startswith(prefix)}
        values[family] = as_family({name: _setting(cell) for name, cell in own.items() if cell})
    if problem := _impossible(values):
        raise VoVNetError(f"{path}, line {number}: {problem}; run the evaluation again.")
    return ResultRow(**values)


def _impossible(values: Mapping[str, Any]) -> str:
    """Why no evaluation comes to a row, if none does."""
    for name, one in DESCRIBED.items():
        value = values[name]
        if value is None or one.low is None:
            continue
        if one.high is not None and not one.low <= value <= one.high:
            return f"{name}={value} is not between {one.low:g} and {one.high:g}"
        if value < one.low:
            return f"{name}={value} is below {one.low:g}"
    if not values["accuracy_ci_low"] <= values["accuracy"] <= values["accuracy_ci_high"]:
        return "the accuracy is outside its interval"
    further = [rate for _, rate in values["rates"]]
    if not all(isinstance(rate, int | float) and 0 <= rate <= 1 for rate in further):
        return "a rate is not between 0 and 1"
    if abs(sum(further, sum(values[name] for name in RATES)) - 1) > 1e-6:
        return "the action rates do not add up to 1"
    if not values["baseline_name"] and values["lambda_cost"] is None:
        return "a row of VoVNet has no lambda_cost"
    return ""


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


def _setting(cell: str) -> Value:
    """A policy's own setting: a number or a truth value where the cell is written like one."""
    for kind in (int, float):
        try:
            if str(kind(cell)) == cell and math.isfinite(float(cell)):
                return kind(cell)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(cell, cell)
