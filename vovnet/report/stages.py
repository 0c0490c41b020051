"""What the stages of a pipeline left, on one page in Markdown: commands, check points and small tables."""

import csv
import io
import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vovnet.checks.check import Check
from vovnet.files import open_file, write_text
from vovnet.provenance import SUMMARY, provenance
from vovnet.report.labels import Column, described
from vovnet.report.table import PROFILE, SLICES, rows_view, trainings_view
from vovnet.report.tables import markdown
from vovnet.results.read import read_results, read_summary
from vovnet.results.write import RESULTS
from vovnet.schema import Stage
from vovnet.terminal import counted

PAGE = "stages.md"
MOST = 45  # lines of a table on the page; a longer one is named
EQUAL_COST = "equal_cost_summary.md"  # of a report

# Tables of blocks, and their columns on the page.
BLOCKS = {
    "seeds.csv": (
        Column("dataset", "dataset"), described("lambda_cost"), Column("seeds", "seeds", 0),
        Column("accuracy_mean", "accuracy", 4), Column("accuracy_std", "its deviation", 4),
        Column("avg_cost_mean", "cost", 4), Column("avg_cost_std", "its deviation", 4),
    ),
    "precision.csv": (
        Column("dataset", "dataset"), Column("dtype", "type"), Column("num_samples", "questions", 0),
        Column("same_action", "same action", 4), Column("same_answer", "same answer", 4),
        described("accuracy"), Column("accuracy_float32", "in float32", 4),
    ),
    "cache_reuse.csv": (
        Column("dataset", "dataset"), described("lambda_cost"), Column("avg_text_tokens_with", "text tokens", 1),
        Column("avg_text_tokens_without", "without reuse", 1), Column("prefill_gflops_ratio", "prefill operations", 2),
        Column("latency_p50_ms_ratio", "latency p50", 2),
    ),
    "comparison.csv": (
        Column("dataset", "dataset"), Column("first", "policy"), Column("second", "less"),
        Column("difference", "accuracy", 4), Column("ci_low", "from", 4), Column("ci_high", "to", 4),
        Column("p_value", "p", 3), Column("cost_difference", "cost", 4), Column("cost_ci_low", "from", 4),
        Column("cost_ci_high", "to", 4),
    ),
    "profile.csv": PROFILE,
    "error_slices.csv": SLICES,
}  # fmt: skip


def write_stages(folder: Path, stages: Sequence[Stage], given: Sequence[str]) -> Path:
    """Write the page of a pipeline; a stage that is a pipeline itself has written its own, which becomes a section.

    Args:
        given: overrides that every stage got besides its own.

    Raises:
        VoVNetError: a table of a stage cannot be read.
    """
    facts = provenance()
    commit = (facts["git_commit"] or "unknown")[:12] + (" with uncommitted changes" if facts["git_dirty"] else "")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    head = f"# {folder.name}\n\n{day}, VoVNet {facts['versions']['vovnet']}, commit {commit}, {facts['machine']}.\n"
    if given:
        head += f"Every stage also has `{' '.join(map(shlex.quote, given))}`.\n"
    write_text(folder / PAGE, "\n".join([head, *(_section(folder, stage) for stage in stages)]))
    return folder / PAGE


def _section(folder: Path, stage: Stage) -> str:
    place = folder / stage.name
    sweep = ["-m"] if stage.sweep else []
    overrides = [override.replace("{folder}", os.path.relpath(folder)) for override in stage.overrides]
    command = " ".join(["python -m", f"experiments.{stage.entry}", *sweep, *map(shlex.quote, overrides)])
    parts = [f"## {stage.name}\n\n```bash\n{command}\n```\n"]
    inner = place / PAGE
    if stage.entry == "pipeline" and inner.is_file():
        _, _, sections = _text(inner).partition("\n## ")
        parts.append(re.sub(r"^#", "##", "## " + sections, flags=re.MULTILINE))
    else:
        parts += _checks(place) if (place / SUMMARY).is_file() else []
        parts += _tables(place)
    return "\n".join(parts)


def _checks(place: Path) -> Iterator[str]:
    found = [Check(one["name"], one["passed"], one["observed"]) for one in read_summary(place).get("checks", [])]
    if found:
        yield "".join(f"- {'pass' if one.passed else '**FAIL**'}: {one.name}: {one.observed}\n" for one in found)


def _tables(place: Path) -> Iterator[str]:
    if (place / RESULTS).is_file():
        yield _table(place / RESULTS, *rows_view(read_results(place / RESULTS)))
    if (place / "trainings.csv").is_file():
        yield _table(place / "trainings.csv", *trainings_view(_read(place / "trainings.csv")))
    for name, columns in BLOCKS.items():
        if (place / name).is_file():
            yield _table(place / name, columns, _read(place / name))
    if (place / EQUAL_COST).is_file() and not (place / "comparison.csv").is_file():
        yield _text(place / EQUAL_COST)


def _table(path: Path, columns: Sequence[Column], lines: Sequence[dict[str, Any]]) -> str:
    if len(lines) > MOST:
        return f"{counted(len(lines), 'line')}: `{os.path.relpath(path)}`\n"
    return markdown(lines, columns)


def _read(path: Path) -> list[dict[str, Any]]:
    """A table of a block, its numbers as numbers."""
    lines = csv.DictReader(io.StringIO(_text(path), newline=""))
    return [{name: _number(text) for name, text in line.items()} for line in lines]


def _text(path: Path) -> str:
    with open_file(path) as file:
        return file.read().decode("utf-8")


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
