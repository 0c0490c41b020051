"""Merging the jobs of a sweep, also when some of them failed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.analyses.paired_runs import changed_answers, precision_lines, reuse_rows, seed_rows
from vovnet.checks.blocks import answer_checks, precision_checks, reuse_checks, seed_checks, sweep_checks
from vovnet.checks.check import Check, warn_of_unreadable
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.jobs import Record, sweep_records
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.columns import MATRIX, ResultRow, evaluated, order, record, table_columns
from vovnet.results.read import read_results, read_summary
from vovnet.results.write import RESULTS, write_or_remove, write_results, write_rows

log = logging.getLogger(__name__)
Results = Sequence[tuple[ResultRow, Path]]  # rows, and the folders that hold their predictions
Line = dict[str, Any]

# Files that the specification names for sweeps of one baseline (blocks B2 and B4).
BLOCK_FILES = {"uncertainty_threshold": "pareto_threshold", "vision_token_pruning_proxy": "pareto_pruning"}
# What a sweep's summary.json takes over from those of its jobs.
KEPT = ("config_hash", "seed", "dataset", "backbone", "policy_file", "rows_computed", "wall_seconds")


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        folder: its run folder; an empty path where it never began.
        overrides: what distinguishes it.
        error: why it has no result; None when it has one.
    """

    folder: Path
    overrides: tuple[str, ...]
    error: str | None


def merge_sweep(folder: Path) -> tuple[list[ResultRow], list[Job]]:
    """Write the merged results.csv, summary.json and eval_matrix of a sweep.

    Returns:
        All rows in the order of the sweep's parameters, and the jobs that failed.
    """
    jobs = sweep_jobs(folder)
    done = [job for job in jobs if job.error is None]
    failed = [job for job in jobs if job.error is not None]
    results = [(row, job.folder) for job in done for row in read_results(job.folder / RESULTS)]
    rows = sorted((row for row, _ in results), key=order)
    write_tables(folder, rows)
    warn_of_unreadable(rows)
    precision, answers = _without_failing(precision_lines, results), _without_failing(changed_answers, results)
    write_or_remove(folder / "precision.csv", precision)
    write_jobs(folder, jobs)
    checks = [*_checks(rows), *precision_checks(precision), *answer_checks(answers)]
    write_json(
        folder / SUMMARY,
        {
            "jobs": [{"folder": job.folder.name, "overrides": list(job.overrides), "error": job.error} for job in jobs],
            "failed": len(failed),
            "checks": [check.as_json() for check in checks],
            "metadata": {job.folder.name: _metadata(job.folder) for job in done},
            **provenance(),
        },
    )
    return rows, failed


def _without_failing(compare: Callable[[Results], list[Line]], results: Results) -> list[Line]:
    """What a comparison of predictions finds; nothing where they cannot be read: the tables do without."""
    try:
        return compare(results)
    except VoVNetError as error:
        log.warning("the answers of these runs are not compared: %s", error)
        return []


def sweep_jobs(folder: Path) -> list[Job]:
    """The jobs of the newest sweep in a folder; a job that never reported an end, or never began, counts as failed."""
    return [_job(place, record) for place, record in sweep_records(folder)]


def write_jobs(folder: Path, jobs: Sequence[Job]) -> None:
    """jobs.csv: which folder holds which job, and how it ended."""
    lines = [
        {"folder": job.folder.name, "overrides": " ".join(job.overrides), "status": job.error or "done"} for job in jobs
    ]
    write_rows(folder / "jobs.csv", lines, ("folder", "overrides", "status"))


def write_merged(folder: Path, rows: Sequence[ResultRow]) -> None:
    """Tables, checks and provenance of results that come from several sweeps."""
    write_tables(folder, rows)
    warn_of_unreadable(rows)
    checks = [check.as_json() for check in _checks(evaluated(rows))]
    write_json(folder / SUMMARY, {"checks": checks, **provenance()})


def write_tables(folder: Path, rows: Sequence[ResultRow]) -> None:
    """results.csv with every column; eval_matrix with what tells settings apart and how they did."""
    write_results(folder / RESULTS, rows)
    matrix = [record(row, MATRIX) for row in rows]
    write_rows(folder / "eval_matrix.csv", matrix, table_columns(rows, MATRIX))
    write_json(folder / "eval_matrix.json", matrix)
    for name, lines in (("seeds", seed_rows(rows)), ("cache_reuse", reuse_rows(rows))):
        write_or_remove(folder / f"{name}.csv", lines)
    for baseline, name in BLOCK_FILES.items():
        block = [record(row, MATRIX) for row in evaluated(rows) if row.baseline_name == baseline]
        write_or_remove(folder / f"{name}.csv", block)
        if block:
            write_json(folder / f"{name}.json", block)
        else:
            (folder / f"{name}.json").unlink(missing_ok=True)


def _checks(rows: Sequence[ResultRow]) -> list[Check]:
    return [*sweep_checks(rows), *seed_checks(seed_rows(rows)), *reuse_checks(reuse_rows(rows))]


def _job(folder: Path, record: Record) -> Job:
    status = record.get("status")
    if folder == Path():
        error = "the sweep was interrupted before it"
    elif status is None:
        error = "the job left no record of how it ended; run the same command again"
    else:
        error = record.get("error") or f"the job was {status} when it ended; see its log"
    return Job(folder, tuple(record["overrides"]), None if status == "done" else error)


def _metadata(folder: Path) -> dict[str, Any]:
    summary = read_summary(folder)
    missing = [key for key in KEPT if key not in summary]
    if missing:
        raise VoVNetError(f"{folder / SUMMARY} lacks {missing[0]}; remove {folder} and run it again.")
    return {key: summary[key] for key in KEPT}
