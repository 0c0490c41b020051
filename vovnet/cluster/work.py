"""What a process does that was started for one job: read its configuration, run it, record how it ended.

python -m vovnet.cluster.work ENTRY FOLDER
"""

import importlib
import logging
import os
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.errors import VoVNetError, explained
from vovnet.jobs import Record, read_record, run_recorded
from vovnet.provenance import git_state
from vovnet.rank_errors import leave_error
from vovnet.rank_launch import read_config
from vovnet.ranks import end_with_parent, is_main_rank, world_size
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import log_handler
from vovnet.vlm.auto import settled

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A job that is to run in a process of its own.

    Attributes:
        record: what ``job.json`` is to say of it until it begins.
    """

    folder: Path
    config: RunConfig
    record: Record


@dataclass(frozen=True)
class Job:
    """One job of an entry point, named so that it can be pickled without any code; every task of it runs this."""

    entry: str
    folder: str

    def __call__(self) -> None:
        """Run; leaves with status 1 if the job fails, so that Slurm knows of it too."""
        folder = Path(self.folder)
        record = read_record(folder)
        if is_main_rank():
            log_lines(folder / f"{self.entry}.log")
            error = run_recorded(lambda: self._run(folder), folder, {**record, **_whereabouts(record)})
        else:
            log_lines()
            error = self._follow(folder)
        if error is not None:
            sys.exit(1)

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit requeues when the job is preempted or out of time: the same again, which resumes."""
        from submitit.core.utils import DelayedSubmission  # slow to import, and few commands submit

        return DelayedSubmission(self)

    def _run(self, folder: Path) -> None:
        from submitit.core.utils import UncompletedJobError

        run = importlib.import_module(f"experiments.{self.entry}").run
        config = read_config(folder)
        try:
            session = Session()
            run(settled(config, session), folder, session)
        # Both are raised by submitit's signal handler.
        except UncompletedJobError as error:
            raise VoVNetError(
                "stopped at its time limit, which it has reached too often; raise launcher.timeout_min or "
                "launcher.max_num_timeout and run the same command again: what it finished is kept."
            ) from error
        except subprocess.CalledProcessError as error:
            if "requeue" not in error.cmd:
                raise
            raise VoVNetError(
                "stopped by its time limit or preempted, and Slurm does not requeue it (scontrol requeue failed); run "
                "the same command again: what it finished is kept."
            ) from error

    def _follow(self, folder: Path) -> Exception | None:
        """Run as a task that records nothing but its own failure."""
        try:
            self._run(folder)
            return None
        except Exception as error:
            traceback.print_exc()
            leave_error(folder, explained(error))
            return error


def log_lines(file: Path | None = None) -> None:
    """Log to standard error and to a file, one dated line for each message."""
    logging.raiseExceptions = False  # as in vovnet.launch
    places = [None] if file is None else [None, str(file)]
    handlers = [log_handler("%(asctime)s %(message)s", "%m-%d %H:%M:%S", place) for place in places]
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger("submitit").propagate = False  # it has handlers of its own


def _whereabouts(record: Record) -> dict[str, Any]:
    """Where a job runs, for its record; warns if the code is not what it was at submission."""
    facts: dict[str, Any] = {"host": socket.gethostname(), "tasks": world_size()}
    if "SLURM_JOB_ID" in os.environ:
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        facts["slurm_job"] = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
        facts["slurm_restarts"] = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    commit = git_state()["git_commit"]
    if commit != record["git_commit"]:
        log.warning("submitted at commit %s, but the code is now at %s and runs as it is", record["git_commit"], commit)
        facts["git_commit_at_start"] = commit
    return facts


if __name__ == "__main__":  # started by vovnet.cluster.run
    end_with_parent()
    Job(*sys.argv[1:])()
