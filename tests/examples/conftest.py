"""The examples as a package of an outsider's, in a folder of its own."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT
from vovnet import registry

MORE = '''
"""Further parts, and parts that are wrong."""

import numpy as np
import vovnet


def misses(measured):
    """Share of questions that a look would have been worth: a metric."""
    return float(np.mean((measured.score < 1) & (measured.actions == 0)))


def longest(study):
    """The longest question of each run: a part of the report."""
    for run in study.runs:
        yield {"policy": run.row.policy, "accuracy": run.row.accuracy}


def squares(head, batch, lambda_cost, power=2.0):
    """An objective."""
    return ((head(batch.features).sigmoid() - batch.score).abs() ** power).mean()


class NoPolicy:
    pass


class Clairvoyant(vovnet.Policy):
    needs = frozenset({"tomorrow"})

    def step(self, view):
        return vovnet.Step(np.zeros(len(view), dtype=int))


def two(answer, answers, options):
    return 2.0


def dicts(config, split):
    return [{"id": "0", "question": "what?"}]


def nan(measured):
    return float("nan")
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on this Python's path that holds the package ``mine`` and its option files."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(ROOT / "experiments/examples", folder / "mine", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*folder.rglob("*.py"), *folder.rglob("*.yaml")]:
        path.write_text(path.read_text().replace("experiments.examples", "mine"))
    (folder / "mine/more.py").write_text(MORE)
    installed = folder / "mine-1.0.dist-info"  # what installing it would leave
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[vovnet]\npolicy.my_words = mine.words:Words\ndataset.my_charts = mine.charts:read\n"
        "scorer.my_relaxed = mine.charts:relaxed\nmetric.my_misses = mine.more:misses\n"
        "report_part.my_part = mine.more:longest\nobjective.my_squares = mine.more:squares\n"
    )
    sys.path.insert(0, str(folder))
    registry._installed.cache_clear()
    yield folder
    sys.path.remove(str(folder))
    registry._installed.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def charts(easy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen questions of easy-VQA in the CSV format of the example."""
    folder = tmp_path_factory.mktemp("charts")
    for split in ("train", "test"):
        shutil.copytree(easy_data / split / "images", folder / split)
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image", "question", "answer"])
            for question, answer, image in json.loads((easy_data / split / "questions.json").read_text())[:24]:
                table.writerow([f"{split}/{image}.png", question, answer])
    return folder
