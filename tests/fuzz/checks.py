"""What holds of the files of any evaluation."""

import csv
import gzip
import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from vovnet.results.read import read_predictions

ANSWERED = ("id", "action", "prediction", "score", "parsed", "refused", "vision_tokens", "cost")
MEASURED = (
    "accuracy",
    "avg_cost",
    "avg_looks",
    "avg_vision_tokens",
    "avg_text_tokens",
    "avg_generated_tokens",
    "gflops",
)
TOLERANCE = 1e-6


def problems_of_files(sweep: Path) -> Iterator[str]:
    """Tables and JSON of a sweep: strict, finite, with rates that sum to 1."""
    for path in sorted(sweep.rglob("*.json*")):
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        try:
            for one in text.split("\n") if ".jsonl" in path.suffixes else [text]:
                json.loads(one or "{}", parse_constant=_refuse)
        except ValueError as error:
            yield f"{path.name} is no strict JSON: {error}"
    for path in sorted(sweep.rglob("*.csv")):
        for row in table(path):
            for name, cell in row.items():
                if cell.lower() in ("nan", "inf", "-inf", "none"):
                    yield f"{path.name}: {name} is {cell}"
    for row in table(sweep / "results.csv"):
        rates = [float(cell) for name, cell in row.items() if name.startswith(("action_rate_", "rate.")) and cell]
        if abs(sum(rates) - 1) > TOLERANCE or not all(0 <= rate <= 1 for rate in rates):
            yield f"rates {rates} do not sum to 1"
        if not float(row["accuracy_ci_low"]) <= float(row["accuracy"]) <= float(row["accuracy_ci_high"]):
            yield "the accuracy is outside of its interval"
        if not (0 <= float(row["accuracy"]) <= 1 and float(row["avg_cost"]) >= 0):
            yield f"accuracy {row['accuracy']}, cost {row['avg_cost']}"


def cost_rises(sweep: Path) -> Iterator[str]:
    """Cost over lambda, where the sweep has several. A fallback may raise it: it looks where NO was chosen."""
    rows = [row for row in table(sweep / "results.csv") if row["lambda_cost"] and not row["fallback_mode"]]
    points = [(row["lambda_cost"], row["avg_cost"]) for row in rows]
    costs = [float(cost) for _, cost in sorted(points, key=lambda point: float(point[0]))]
    if any(after > before + TOLERANCE for before, after in pairwise(costs)):
        yield f"cost rises with lambda: {points}"


def differences(replay: Path, live: Path, chosen: float) -> Iterator[str]:
    """What a live run does otherwise than the replay at the same lambda."""
    (row,), places = table(live / "results.csv"), _by_lambda(replay)
    same = places.get(chosen) or next(iter(places.values()))
    recorded = json.loads((same / "summary.json").read_text())["result"]
    for name in MEASURED:
        a, b = recorded.get(name), row[name]
        if (a is None) != (b == "") or (
            a is not None and not math.isclose(a, float(b), rel_tol=1e-6, abs_tol=TOLERANCE)
        ):
            yield f"live: {name} is {b}, in replay {a}"
    (folder,) = {path.parent for path in live.glob("*/predictions.jsonl*")}
    for one, other in zip(read_predictions(same), read_predictions(folder), strict=True):
        if unlike := [name for name in ANSWERED if one[name] != other[name]]:
            yield f"live: {one['id']} has {[(name, other[name], one[name]) for name in unlike]}"
            return


def computed(sweep: Path) -> dict[str, int]:
    """Rows of outcomes that the jobs of a sweep had to compute."""
    found: dict[str, int] = {}
    for path in sweep.glob("*/summary.json"):
        for branch, rows in json.loads(path.read_text())["rows_computed"].items():
            if rows:
                found[branch] = found.get(branch, 0) + rows
    return found


def sentence_problems(said: str) -> Iterator[str]:
    """What keeps an error from being one sentence for people; a list may follow it, indented."""
    sentence, *listed = said.split("\n")
    if not sentence.strip() or "Traceback" in said or not all(line.startswith("  ") for line in listed):
        yield f"no sentence: {said!r}"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _by_lambda(sweep: Path) -> dict[float, Path]:
    results = {path.parent: json.loads(path.read_text())["result"] for path in sweep.glob("*/summary.json")}
    return {float(result["lambda_cost"] or 0): folder for folder, result in results.items()}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
