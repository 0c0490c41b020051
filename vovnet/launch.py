"""Running an entry point: one job, or the jobs of a sweep; it exits with 1 if any job failed.

``launch`` composes, checks, runs and reports. A job of a sweep that fails is recorded in its folder
and the others go on; Hydra itself would show the first exception only and skip the end of the sweep.
"""

import gc
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vovnet.arguments import multirun_first, refuse_arguments
from vovnet.cluster.run import NotSubmittedError, run_jobs
from vovnet.cluster.work import Prepared
from vovnet.compose import register_resolvers, to_typed
from vovnet.compositions import HYDRAS_OWN, shared_compositions
from vovnet.errors import VoVNetError, explained
from vovnet.exit_status import exit_status_of, fail
from vovnet.jobs import (
    failure,
    note_folders,
    report_failure,
    run_recorded,
    write_record,
)
from vovnet.no_effect import no_effect_lines
from vovnet.options import conf_dir
from vovnet.provenance import git_state
from vovnet.ranks import PARENT, end_with_parent, is_main_rank, world_size
from vovnet.schema import RunConfig
from vovnet.sweep_check import check_sweep
from vovnet.sweep_folder import (
    SweepCallback,
    enter_folder,
    forget_sweep,
    leave_folder,
    pin_sweep_folder,
    refuse_nested,
    return_to_folder,
    swept_folder,
)
from vovnet.torchrun import PATIENCE, join_ranks, refuse_sweep, run_as_rank

log = logging.getLogger(__name__)

Run = Callable[[RunConfig, Path], Any]  # does one job in a folder
Show = Callable[[Any, Path], None]  # shows what a single job returned
Finish = Callable[[Path], bool]  # merges a sweep's folder; False when a job failed


@dataclass
class _Begun:
    """What this process has begun.

    Attributes:
        command: the entry point.
        is_stage: a pipeline has started it.
        planned: the overrides of a sweep's jobs, in order; empty for a single job.
        folders: of those that have begun, in the same order.
        errors: of the jobs that ran here.
        prepared: jobs that run elsewhere.
        reported: lines already logged.
    """

    command: str
    is_stage: bool
    planned: list[list[str]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)

    def plan(self, jobs: list[list[str]], compose: Callable[[Sequence[str]], DictConfig]) -> None:
        """Check a sweep and write down its jobs before the first one begins."""
        if world_size() > 1:
            refuse_sweep()
        check_sweep(self.command, jobs, compose)
        refuse_nested(jobs, compose)
        self.planned += [[override for override in job if not HYDRAS_OWN.match(override)] for job in jobs]
        enter_folder(self.planned)

    def report_idle_keys(self, config: RunConfig, overrides: Sequence[str]) -> None:
        """Say once which of the given keys have no effect."""
        for line in no_effect_lines(self.command, config, overrides, self.is_stage):
            if line not in self.reported:
                self.reported.add(line)
                log.warning("%s", line)


def launch(config_name: str, run: Run, show: Show, finish: Finish | None) -> None:
    """Run an entry point from ``sys.argv``; exits with 1 if any job failed.

    A single job's result is shown; a sweep's folder is finished, whether or not all jobs succeeded. An entry point
    without ``finish`` is not swept.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by experiments/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if (parent := os.environ.pop(PARENT, None)) is not None:
        end_with_parent(int(parent))
    asked_for_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    register_resolvers()
    forget_sweep()

    # Hydra would say of our callback what it then fails with itself.
    warnings.filterwarnings("ignore", module="hydra._internal.callbacks")
    logging.raiseExceptions = False  # a log file on a full disk is no second problem, and prints no traceback

    begun = _Begun(config_name, parent is not None)

    def task(composed: DictConfig) -> None:
        begun.folders.append(Path(HydraConfig.get().runtime.output_dir))
        if _has_launcher(composed):
            begun.prepared.extend(_prepare_job(composed, begun))
        elif (error := _run_job(composed, begun, run, show)) is not None:
            # Hydra prints a line of its own about an exception, so a job hands its error over instead.
            begun.errors.append(error)
        if len(begun.folders) == 1 and swept_folder() is not None:
            _settle_memory()

    code = 0
    try:
        refuse_arguments(sys.argv[1:])
        multirun_first()
        if world_size() > 1:
            join_ranks(config_name)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors to us instead of printing them
        if pin_sweep_folder(config_name) and finish is None:
            raise VoVNetError(
                f"experiments.{config_name} is not swept; leave out -m and launcher=, and give an experiment that is a "
                "sweep to the command that its file names."
            )
        with shared_compositions(begun.plan):
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(task)()
        if swept_folder() is not None and not begun.folders:
            raise VoVNetError("the sweep has no job; give each key that is swept a value at least.")
        if begun.errors and swept_folder() is None:
            raise begun.errors[0]
        if begun.prepared:
            run_jobs(config_name, begun.prepared, begun.prepared[0].folder.parent, leave_folder)
    except (Exception, KeyboardInterrupt) as error:
        if not is_main_rank() and isinstance(error, Exception) and error not in begun.errors:
            time.sleep(PATIENCE)
        if isinstance(error, NotSubmittedError):
            forget_sweep()  # leaves the results of earlier jobs alone
        code = exit_status_of(error, error in begun.errors, asked_for_traceback)
    if (folder := swept_folder()) is not None and begun.folders and finish is not None:
        finished = _finish(finish, folder, begun, asked_for_traceback)
        code = code or finished or int(bool(begun.errors))
    if code:
        sys.exit(code)


def _settle_memory() -> None:
    """Let the garbage collector leave alone what imports and the first job have left.

    With torch that is half a million objects. It would go through them again and again, a tenth of a sweep's time.
    """
    gc.collect()
    gc.freeze()


def _finish(finish: Finish, folder: Path, begun: _Begun, with_traceback: bool) -> int:
    """Merge a sweep that has begun any job; a disk that is full is said in one sentence."""
    try:
        return_to_folder()
        note_folders(folder, begun.folders, launched=bool(begun.prepared))
        return int(not finish(folder))
    except (VoVNetError, OSError) as error:
        problem = explained(error)
        return fail(str(problem), with_traceback or not isinstance(problem, VoVNetError))


def _run_job(composed: DictConfig, begun: _Begun, run: Run, show: Show) -> Exception | None:
    """Run a job in this process; returns the error that it ended with. Only the main rank shows and records."""
    folder, record = _new_record()

    def work() -> None:
        config = to_typed(composed)
        if is_main_rank():
            begun.report_idle_keys(config, record["overrides"])
        result = run(config, folder)
        if record["sweep"] is None and is_main_rank():
            show(result, folder)

    return (run_recorded if world_size() == 1 else run_as_rank)(work, folder, record)


def _has_launcher(composed: DictConfig) -> bool:
    """Whether the jobs run elsewhere. A pipeline and a report do not: they are no sweeps whatever the launcher."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    return sweeping and OmegaConf.select(composed, "launcher.kind") in ("local", "slurm")


def _prepare_job(composed: DictConfig, begun: _Begun) -> list[Prepared]:
    """A job for a process that knows no Hydra; none if its configuration is refused."""
    folder, record = _new_record()
    try:
        config = to_typed(composed)
    except VoVNetError as error:
        write_record(folder, record | failure(error))
        report_failure(record, failure(error))
        return []
    begun.report_idle_keys(config, record["overrides"])
    return [Prepared(folder, config, record | {"status": "pending", **git_state()})]


def _new_record() -> tuple[Path, dict[str, Any]]:
    """Folder of the job that Hydra begins, and what is known of it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep = SweepCallback.token if hydra_config.mode == RunMode.MULTIRUN else None
    return folder, {"overrides": list(hydra_config.overrides.task), "sweep": sweep}
