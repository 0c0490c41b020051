"""A job's record: ``job.json`` in its folder says what ran and how it ended, also when it was killed.

Status: pending (submitted), running, done, failed, interrupted, killed (written by who waited for it).
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError, explained
from vovnet.files import read_object, write_json
from vovnet.secrets import redacted
from vovnet.terminal import say

log = logging.getLogger(__name__)

JOB_FILE, SWEEP_FILE = "job.json", "sweep.json"
ARRAY_TASK = "array_task"  # in a record: the job's number among those submitted together
ENDED = ("done", "failed", "killed")

Record = Mapping[str, Any]


def read_record(folder: Path) -> dict[str, Any]:
    """A job's record.

    Raises:
        VoVNetError: it is damaged.
    """
    return _read(folder / JOB_FILE, ("overrides", "sweep", "status"))


def _read(file: Path, keys: Sequence[str]) -> dict[str, Any]:
    """An object with these keys at least."""
    try:
        content = read_object(file)
        if missing := [key for key in keys if key not in content]:
            raise ValueError(f"it has no {missing[0]!r}")
        return content
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise VoVNetError(f"{file} is damaged ({said}); remove it and run the same command again.") from error


def write_record(folder: Path, record: Record) -> None:
    """Write a job's record.

    Raises:
        VoVNetError: the folder cannot be written.
    """
    try:
        write_json(folder / JOB_FILE, record)
    except OSError as error:
        raise VoVNetError(
            f"{folder} cannot be written ({error.strerror}); set paths.runs to a writable folder."
        ) from error


def run_recorded(
    work: Callable[[], object], folder: Path, record: Record, reported: set[str] | None = None
) -> Exception | None:
    """Do a job's work and record how it ended; returns the error that it ended with.

    The job of a sweep reports its error, since the sweep goes on without it.

    Args:
        reported: errors of the sweep's earlier jobs, which are not reported again; this job's is added.
    """
    begun = {"process": os.getpid(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    try:
        write_record(folder, {**record, "status": "running", **begun})
    except VoVNetError as error:
        if record["sweep"] is not None:
            report_failure(record, failure(error), reported)
        return error
    end: dict[str, Any] = {"status": "interrupted"}
    problem: Exception | None = None
    try:
        work()
        end = {"status": "done"}
    except Exception as error:
        problem = explained(error)
        end = failure(problem)
        if record["sweep"] is not None:
            if not isinstance(problem, VoVNetError) and end["error"] not in (reported or ()):
                say(traceback.format_exc(), file=sys.stderr)
            report_failure(record, end, reported)
    finally:
        try:
            write_record(folder, {**record, **begun, **end})
        except VoVNetError as unwritten:
            log.error("the end of this job (%s) is not recorded: %s", end["status"], unwritten)
            problem = problem or unwritten  # the first thing that went wrong is the one to tell
    return problem


def failure(error: Exception) -> dict[str, str]:
    """What a record says of an error."""
    sentence = str(error) if isinstance(error, VoVNetError) else f"{type(error).__name__}: {error}"
    return {"status": "failed", "error": redacted(sentence)}


def report_failure(record: Record, end: Record, reported: set[str] | None = None) -> None:
    """Log that a job of a sweep has no result, and why; an error that is among ``reported`` is not logged again."""
    if reported is not None:
        if end["error"] in reported:
            return
        reported.add(end["error"])
    log.error("job %s %s: %s", " ".join(record["overrides"]), end["status"], end["error"])


def all_done(sweep: Path) -> bool:
    """Whether every job of a sweep ended well: all that there is to finish without tables."""
    return all(record.get("status") == "done" for _, record in sweep_records(sweep))


def begin_sweep(sweep: Path, token: str, jobs: Sequence[Sequence[str]]) -> None:
    """Write down which jobs, by their overrides, a command is about to begin in a folder.

    Args:
        token: tells the commands that have begun a sweep there apart.
    """
    planned = [{"overrides": list(overrides), "folder": None} for overrides in jobs]
    write_json(sweep / SWEEP_FILE, {"token": token, "launched": False, "jobs": planned})


def note_folders(sweep: Path, folders: Sequence[Path], launched: bool) -> None:
    """Write down the folders of the jobs that have begun, in the order of the plan.

    Args:
        launched: they run in processes of their own, which may be those of an earlier command.
    """
    plan = _read_plan(sweep)
    for job, folder in zip(plan["jobs"], folders, strict=False):
        job["folder"] = folder.name
    write_json(sweep / SWEEP_FILE, plan | {"launched": launched})


def sweep_token(sweep: Path) -> str:
    """Tells the newest sweep in a folder from earlier ones."""
    return str(_read(sweep / SWEEP_FILE, ["token"])["token"])


def _read_plan(sweep: Path) -> dict[str, Any]:
    """What ``begin_sweep`` has written."""
    file = sweep / SWEEP_FILE
    plan = _read(file, ("token", "launched", "jobs"))
    try:
        jobs = [(job["folder"], job["overrides"]) for job in plan["jobs"]]
    except (LookupError, TypeError) as error:
        raise VoVNetError(f"{file} is damaged ({error!r}); remove it and run the same command again.") from error
    if outside := [name for name, _ in jobs if name is not None and Path(str(name)).name != name]:
        raise VoVNetError(f"{file} is damaged ({outside[0]!r} is no folder's name); run the same command again.")
    return plan


def sweep_records(sweep: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and record of each job of the newest sweep in a folder, by the name of its folder.

    A job that has not begun has an empty path, and a record of its overrides only, as one that could write none.
    A launched job's record counts whichever command has submitted it.
    """
    plan = _read_plan(sweep)
    unbegun: list[tuple[Path, dict[str, Any]]] = []
    begun: dict[str, dict[str, Any]] = {}  # jobs of one configuration share a folder
    for job in plan["jobs"]:
        if (name := job["folder"]) is None:
            unbegun.append((Path(), {"overrides": job["overrides"]}))
            continue
        record = read_record(sweep / name) if (sweep / name / JOB_FILE).is_file() else {}
        counts = plan["launched"] or record.get("sweep") == plan["token"]
        begun[name] = record if record and counts else {"overrides": job["overrides"]}
    return [(sweep / name, begun[name]) for name in sorted(begun)] + unbegun
