"""Everything the page shows, as plain data, and the page itself."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import FIXED_POLICIES, USUAL, VISUAL_ACTIONS, Action, named
from vovnet.checks.check import unreadable_sentence
from vovnet.data import ImageRef
from vovnet.errors import VoVNetError
from vovnet.metrics.curves import budgeted_oracle
from vovnet.outcomes.rows import places
from vovnet.report.analysis import Line, value_runs
from vovnet.report.frontier import SeedCurve, mixing_line, over_seeds
from vovnet.report.labels import Column, display
from vovnet.report.runs import Found
from vovnet.report.study import Branches, Study
from vovnet.report.style import looks
from vovnet.report.tables import KEEP, main_lines
from vovnet.results.columns import ResultRow, looks_once, rates_of
from vovnet.schema import ReportConfig
from vovnet.vlm.budget import Budget

HERE = Path(__file__).parent
PAGE = "report.html"
SCRIPTS = ("tables.js", "share.js", "frontier.js", "lambda.js", "samples.js", "main.js")
MADE = ("interval",)  # of columns that only people see
Written = tuple[Sequence[str], list[Line], Sequence[Column]]  # a table: columns, lines, and how people see them
ORACLE_POINTS = 200


class Images:
    """Images as the looks of a study see them, each once, until the page's share of bytes is used up."""

    def __init__(self, megabytes: float) -> None:
        self.left = megabytes * 2**20
        self.pages: list[dict[str, Any]] = []
        self._places: dict[tuple[Any, ...], int] = {}

    def place(self, image: ImageRef, budget: Budget, looks: Sequence[Action] = VISUAL_ACTIONS) -> int:
        """Index of an image in the page; -1 when it no longer fits or cannot be read."""
        key = (image, id(budget))
        if key not in self._places:
            self._places[key] = self._add(image, budget, looks) if self.left > 0 else -1
        return self._places[key]

    def _add(self, image: ImageRef, budget: Budget, looks: Sequence[Action]) -> int:
        try:
            pixels = image.load()
        except VoVNetError:  # the evaluation has said so; the page shows that there is none
            return -1
        shown: dict[str, Any] = {}
        for action in (look for look in looks if look != Action.NO and look.pruning is None):
            size = budget.target_size(*pixels.size, action)
            buffer = io.BytesIO()
            kind = "PNG" if size[0] * size[1] <= 128 * 128 else "WEBP"
            pixels.resize(size).save(buffer, kind, optimize=True)
            encoded = base64.b64encode(buffer.getvalue()).decode()
            shown |= {action.label: f"data:image/{kind.lower()};base64,{encoded}", f"{action.label}_size": size}
            self.left -= len(encoded)
        self.pages.append(shown)
        return len(self.pages) - 1


def write_page_data(
    found: Found, studies: Sequence[Study], tables: Mapping[str, Written], facts: Mapping[str, Any],
    limits: ReportConfig,
) -> dict[str, Any]:  # fmt: skip
    """All that the scripts read."""
    images, drawn = Images(limits.image_megabytes), list[dict[str, Any]]()
    drawn += (_study(study, limits.samples, images) for study in studies)
    return {
        "names": _names(drawn, tables.values()),
        "facts": {**facts, "runs": len(found.runs), "studies": len(studies)},
        "checks": [{"folder": f, "name": n, "passed": p, "observed": o} for f, n, p, o in found.checks],
        "unfinished": list(found.unfinished),
        "warning": unreadable_sentence([run.row for run in found.runs]),
        "tables": {
            name: {
                "columns": list(columns),
                "view": [[c.name, c.heading, c.digits] for c in view if c.name in columns or c.name in MADE],
                "rows": [{c: _plain(line.get(c)) for c in (*columns, *MADE)} for line in lines],
            }
            for name, (columns, lines, view) in tables.items()
        },
        "studies": drawn,
        "images": images.pages,
    }


def page(data: Mapping[str, Any]) -> str:
    """The HTML file. Data cannot end its element: no ``<`` stands in it."""
    text = (HERE / "template.html").read_text(encoding="utf-8")
    script = "\n".join((HERE / name).read_text(encoding="utf-8").replace('"use strict";\n', "") for name in SCRIPTS)
    dumped = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        dumped = dumped.replace(character, f"\\u{ord(character):04x}")
    parts = {"/*STYLE*/": (HERE / "style.css").read_text(encoding="utf-8"), "/*SCRIPTS*/": '"use strict";\n' + script}
    for name, value in (*parts.items(), ("/*DATA*/", dumped)):
        text = text.replace(name, value, 1)
    return text


def _names(studies: Sequence[Mapping[str, Any]], tables: Iterable[Written]) -> dict[str, str]:
    """What people see in place of labels and of texts in tables, which the page keeps as results have them."""
    texts = {*FIXED_POLICIES, *(study["name"] for study in studies)}
    for study in studies:
        texts |= {one["label"] for part in ("curves", "policies", "choices") for one in study[part]}
        texts |= {one["setting"] for one in study["points"]}
    for _, lines, view in tables:
        texts |= {value for line in lines for column in view if isinstance(value := line.get(column.name), str)}
    return {text: name for text in sorted(texts) if (name := display(text)) != text}


def _study(study: Study, most: int, images: Images) -> dict[str, Any]:
    labels = _labels(study)
    drawn = over_seeds(study.curves)
    single = {id(row) for curve in drawn for rows in curve.points for row in rows}
    ordered = [r for r in study.runs if id(r.row) not in single]
    ordered += [study.run_of(row) for curve in study.curves for row in curve.rows]
    points = [_point([run.row], labels[id(run)], run.row.baseline_name) for run in ordered if id(run.row) not in single]
    points += [_point(rows, labels[id(study.run_of(rows[0]))], c.label) for c in drawn for rows in c.points]
    oracle: list[tuple[float, float]] = []
    if study.branches is not None:
        hull = budgeted_oracle(*study.branches.table(study.branches.looks))
        keep = np.unique(np.linspace(0, len(hull.costs) - 1, ORACLE_POINTS).astype(int))
        oracle = [(round(float(hull.costs[i]), 6), round(float(hull.accuracies[i]), 6)) for i in keep]
    begun = {label: line["lambda_cost"] for line, label in _main_methods(study)}
    count = 0 if study.branches is None else min(most, len(study.branches.outcomes))
    known = () if study.branches is None else study.branches.looks
    return {
        "name": study.name,
        "looks": [look.label.upper() for look in (known or study.looks)],
        "headline": _headline(study),
        "curves": [
            {"label": curve.label, "color": color, "marker": marker, "learned": curve.is_vovnet}
            for curve, (color, marker) in zip(drawn, looks(), strict=False)
        ],
        "points": points,
        "oracle": oracle,
        "mixing": mixing_line(study.fixed),
        "samples": _samples(study.branches, count, images),
        "policies": [
            {
                "label": curve.label,
                "lambda": begun[curve.label],
                "space": [known.index(named(label, known)) for label in run.predictions.valued],
                "values": np.round(run.predictions.values[:count].T, 6).tolist(),
            }
            for curve, run in value_runs(study)
            if count and run.row.fallback_mode is None and run.predictions.values is not None
        ],
        "choices": [
            {"label": labels[id(run)], "actions": places(known, run.predictions.action[:count]).tolist()}
            for run in ordered
            if count and looks_once(run.row) and {*run.menu} <= {*known}
        ],
    }


def _labels(study: Study) -> dict[int, str]:
    """A name of its own for every run."""
    labels: dict[int, str] = {}
    for run in study.runs:
        name = study.label_of(run)
        again = sum(label.split(" #")[0] == name for label in labels.values())
        labels[id(run)] = f"{name} #{again + 1}" if again else name
    return labels


def _point(rows: Sequence[ResultRow], label: str, curve: str) -> dict[str, Any]:
    """A place in the plane: a run with its interval, or the mean over seeds with their standard deviation.

    Args:
        label: of the run that a click shows, the first of ``rows``.
    """
    one = SeedCurve(curve, (curve,), (tuple(rows),))
    accuracy, spread = float(one.mean("accuracy")[0]), float(one.deviation("accuracy")[0])
    shares = [rates_of(row) for row in rows]
    return {
        "setting": label,
        "curve": curve,
        "seeds": len(rows),
        "accuracy": accuracy,
        "low": rows[0].accuracy_ci_low if len(rows) == 1 else accuracy - spread,
        "high": rows[0].accuracy_ci_high if len(rows) == 1 else accuracy + spread,
        "cost": float(one.mean("avg_cost")[0]),
        "rates": [[name.upper(), sum(share[name] for share in shares) / len(shares)] for name in shares[0]],
    }


def _main_methods(study: Study) -> Iterator[tuple[Line, str]]:
    """Each curve's label with the main table's line of its method."""
    lines = {line["method"]: line for line in main_lines(study)}
    for merged in over_seeds(study.curves):
        yield from ((lines[merged.label], label) for label in merged.labels)


def _headline(study: Study) -> dict[str, Any] | None:
    """VoVNet's line of the main table that costs least; None where it or always_full was not run."""
    full = study.fixed.get("always_full")
    lines = [line for line in main_lines(study) if not line["baseline_name"]]
    if full is None or not full.accuracy or not full.avg_cost or not lines:
        return None
    best = min(lines, key=lambda line: (line["accuracy"] < full.accuracy - KEEP, line["avg_cost"]))
    return {
        "setting": best["setting"],
        "curve": best["method"],
        "lambda": best["lambda_cost"],
        "kept": best["accuracy"] / full.accuracy,
        "cost": best["cost_of_full"],
        "blind": best["action_rate_no"],
        "accuracy": best["accuracy"],
        "full": full.accuracy,
    }


def _samples(branches: Branches | None, count: int, images: Images) -> dict[str, Any]:
    """Columns of the sample browser; lists by action have the study's looks."""
    if branches is None:
        names = ("id", "category", "question", "options", "answers", "images", "entropy", "margin")
        return {name: [] for name in names} | {name: [[] for _ in USUAL] for name in ("prediction", "score", "cost")}
    samples = [branches.dataset[i] for i in range(count)]
    by_action = branches.outcomes.branches
    scores, costs = branches.table(branches.looks)
    return {
        "id": [s.id for s in samples],
        "category": [s.category for s in samples],
        "question": [s.question for s in samples],
        "options": [list(s.options) for s in samples],
        "answers": [list(dict.fromkeys(s.answers)) for s in samples],
        "images": [[images.place(image, branches.budget, branches.looks) for image in s.images] for s in samples],
        "entropy": _or_null(branches.outcomes.text.entropy[:count]),
        "margin": _or_null(branches.outcomes.text.margin[:count]),
        "prediction": [[str(p) for p in by_action[a].prediction[:count]] for a in branches.looks],
        "score": np.round(scores[:count].T, 4).tolist(),
        "cost": np.round(costs[:count].T, 8).tolist(),
    }


def _or_null(values: np.ndarray) -> list[float | None]:
    """Rounded, None where imported rows came without."""
    return [None if value != value else value for value in np.round(values.astype(float), 4).tolist()]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
