"""A command that torchrun or srun has started as several ranks: only the main one shows, records and writes."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError, explained
from vovnet.jobs import Record, run_recorded, write_record
from vovnet.rank_errors import LOOK_EVERY, RankWatch, leave_error
from vovnet.ranks import is_main_rank
from vovnet.terminal import indented, say

OF_RANKS = ("train", "collect", "eval")  # commands that several ranks may run together
# Seconds that a rank waits with its error. The main rank reports it or fails the same way; the launcher then ends all
# ranks.
PATIENCE = 20.0


def join_ranks(config_name: str) -> None:
    """Prepare this process to be one of several ranks.

    Raises:
        VoVNetError: the command runs in one process, or the ranks would have different folders.
    """
    if config_name not in OF_RANKS:
        raise VoVNetError(f"experiments.{config_name} runs in one process; leave torchrun or srun out.")
    if any("${now:" in argument for argument in sys.argv):
        raise VoVNetError("the ranks of a run would give ${now:...} different values; name the folder yourself.")
    if not is_main_rank():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def refuse_sweep() -> None:
    """A sweep of several ranks.

    Raises:
        VoVNetError: always.
    """
    raise VoVNetError(
        "a sweep is not run by several ranks; leave torchrun or srun out (trainer.devices=N starts the ranks of each "
        "job), or use launcher=slurm."
    )


def run_as_rank(
    work: Callable[[], object], folder: Path, record: Record, reported: set[str] | None = None
) -> Exception | None:
    """Do a job's work as one of its ranks; returns the error that it ended with."""
    if is_main_rank():
        with RankWatch(folder, lambda left: _end_with_rank(left, folder, record)):
            return run_recorded(work, folder, record, reported)
    logging.getLogger().setLevel(logging.WARNING)
    try:
        work()
    except Exception as error:
        problem = explained(error)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            leave_error(folder, problem)  # again: the main rank, which begins later, clears away what it finds
            time.sleep(LOOK_EVERY)
        return problem
    return None


def _end_with_rank(left: Mapping[str, Any], folder: Path, record: Record) -> None:
    """End this process, the main rank, because another rank has failed."""
    try:
        if "traceback" in left:
            say(left["traceback"], file=sys.stderr)
        say(f"error: {indented(left['error'])}", file=sys.stderr)
        write_record(folder, {**record, "status": "failed", "error": left["error"]})
    finally:
        os._exit(1)  # the main thread may wait in a collective operation for ever; files are written whole
