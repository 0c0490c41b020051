"""Hands the tables, pictures and page of a finished command to Weights & Biases or TensorBoard."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.files import open_file
from vovnet.report.page.build import PAGE
from vovnet.results.columns import record
from vovnet.results.read import read_results
from vovnet.results.write import RESULTS
from vovnet.schema import LoggerConfig

MOST = 2000  # lines of a table that is shown; the artifact holds all of them
KEPT = (".csv", ".json", ".jsonl", ".gz", ".png", ".pdf", ".svg", ".html", ".tex", ".md")

Table = tuple[list[str | int], list[list[str]]]  # columns, and lines


def publish(logger: LoggerConfig, command: str, folder: Path) -> None:
    """Log what a single job, a sweep or a report has left in ``folder``; nothing with ``logger=csv``."""
    if logger.name == "wandb":
        _to_wandb(logger, command, folder)
    elif logger.name == "tensorboard":
        _to_tensorboard(folder)


def _to_wandb(logger: LoggerConfig, command: str, folder: Path) -> None:
    """A run with a table for each CSV, an image for each PNG, the page, and an artifact of all files."""
    import wandb

    try:
        run = wandb.init(
            project=logger.project or "vovnet", entity=logger.entity, dir=folder, name=folder.name, job_type=command,
            mode="offline" if logger.offline else "online",
        )  # fmt: skip
    except wandb.Error as error:
        raise VoVNetError(
            f"logger=wandb: {error}; the results are in {folder}, logger.offline=true logs there."
        ) from error
    with run:
        shown: dict[str, Any] = {name: wandb.Table(columns, lines[:MOST]) for name, (columns, lines) in _tables(folder)}
        shown |= {path.stem: wandb.Image(str(path)) for path in _pictures(folder)}
        if (folder / PAGE).is_file():
            shown["report"] = wandb.Html((folder / PAGE).read_text(encoding="utf-8"), inject=False)
        run.log(shown)
        run.summary.update(_numbers(folder))
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "_", f"{command}-{folder.name}"), type="results")
        for path in sorted(path for path in (*folder.iterdir(), *(folder / "figures").glob("*")) if path.is_file()):
            if path.suffix in KEPT:
                artifact.add_file(str(path), name=path.relative_to(folder).as_posix())
        run.log_artifact(artifact)


def _to_tensorboard(folder: Path) -> None:
    """Event files in ``log/``: a Markdown text for each CSV, an image for each PNG, a scalar for each number."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "log") as writer:
        for name, (columns, lines) in _tables(folder):
            rows: list[Sequence[str | int]] = [columns, ["---"] * len(columns), *lines[:MOST]]
            writer.add_text(name, "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows))
        for path in _pictures(folder):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            writer.add_image(path.stem, pixels, dataformats="HWC")
        for name, number in _numbers(folder).items():
            writer.add_scalar(name, number)


def _tables(folder: Path) -> Iterator[tuple[str, Table]]:
    for path in sorted(folder.glob("*.csv")):
        with open_file(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
            columns, *lines = csv.reader(text)
        yield path.stem, ([*columns], lines)


def _pictures(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.png"), *(folder / "figures").glob("*.png")])


def _numbers(folder: Path) -> dict[str, float]:
    """The measurements of a single result; empty for several."""
    rows = read_results(folder / RESULTS) if (folder / RESULTS).is_file() else []
    if len(rows) != 1:
        return {}
    cells = record(rows[0]).items()
    return {name: float(cell) for name, cell in cells if isinstance(cell, int | float) and not isinstance(cell, bool)}
