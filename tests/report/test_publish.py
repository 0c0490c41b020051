"""Results handed to Weights & Biases and TensorBoard."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vovnet.report.publish import publish
from vovnet.report.report import write_report
from vovnet.results.read import read_results
from vovnet.schema import LoggerConfig, ReportConfig


@pytest.fixture(scope="module")
def report(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report, and the results of one run among its files."""
    folder = tmp_path_factory.mktemp("published") / "report"
    write_report([runs], str(runs / "outcomes"), ReportConfig(samples=5, image_megabytes=1), folder)
    shutil.copy(runs / "full/results.csv", folder)
    return folder


def test_tensorboard_gets_tables_pictures_and_numbers(report: Path) -> None:
    publish(LoggerConfig("tensorboard", None, None, offline=False), "report", report)
    (row,) = read_results(report / "results.csv")
    events = EventAccumulator(str(report / "log")).Reload()
    assert events.Scalars("accuracy")[0].value == pytest.approx(row.accuracy)
    assert "main_table/text_summary" in events.Tags()["tensors"]
    assert {path.stem for path in (report / "figures").glob("*.png")} == set(events.Tags()["images"])


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb: pip install vovnet[wandb]")
def test_wandb_gets_tables_page_and_files_offline(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(report / "kept"))
    publish(LoggerConfig("wandb", None, None, offline=True), "report", report)
    (run,) = (report / "wandb").glob("offline-run-*")
    media = {path.name.partition("_")[0] for path in (run / "files/media/table").iterdir()}
    assert {"main", "pareto", "summary", "results"} <= media
    (table,) = (run / "files/media/table").glob("main_table_*")
    assert "accuracy" in json.loads(table.read_text())["columns"]
    assert [*(run / "files/media/html").iterdir()]
    kept = {path.read_bytes() for path in (report / "kept").rglob("*") if path.is_file()}  # of the artifact
    assert {(report / name).read_bytes() for name in ("report.html", "main_table.csv", "summary.json")} <= kept


def test_the_usual_logger_gets_nothing(report: Path) -> None:
    before = {*report.rglob("*")}
    publish(LoggerConfig("csv", None, None, offline=False), "report", report)
    assert {*report.rglob("*")} == before
