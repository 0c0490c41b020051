"""What ``hydra.main`` is given: it runs one job, or the jobs of a sweep.

A job of a sweep that fails is recorded in its folder and the others go on; Hydra itself would show the first exception
only and skip the end of the sweep.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus, configure_log
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vovnet.arguments import FOREIGN_PLUGIN, PLUGINS
from vovnet.cluster.run import NotSubmittedError, run_jobs
from vovnet.cluster.work import Prepared
from vovnet.compose import check_launcher, job_name, refuse_secrets_in, to_typed
from vovnet.errors import VoVNetError, explained
from vovnet.explain import fail
from vovnet.garbage import leave_alone
from vovnet.jobs import Record, failure, note_folders, report_failure, run_recorded, write_record
from vovnet.needs import refuse_problems
from vovnet.no_effect import no_effect_lines
from vovnet.no_effect.rule import LOGGED
from vovnet.provenance import git_state
from vovnet.rank_launch import refuse_sweep, run_as_rank
from vovnet.ranks import is_main_rank, world_size
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.sweep_batch import Batch, write_plain
from vovnet.sweep_folder import USUAL, SweepFolder, check_sweep, refuse_nested, sweep_place
from vovnet.sweep_jobs import Composition, Job, task_overrides
from vovnet.vlm.auto import settled

log = logging.getLogger(__name__)

Run = Callable[[RunConfig, Path, Session], Any]  # does one job in a folder
Show = Callable[[Any, Path], None]  # shows what a single job returned
Finish = Callable[[Path], bool]  # merges a sweep's folder; False when a job failed


class RefusedError(BaseException):
    """What a callback ends a command by: Hydra takes an exception of another kind for a warning.

    Attributes:
        why: the error to report.
    """

    def __init__(self, why: VoVNetError) -> None:
        super().__init__(str(why))
        self.why = why


class BeforeWriting(Callback):
    """Refuses a composed configuration that holds a secret, Hydra's own keys included, before Hydra writes it down.

    Attributes:
        composed: the configuration that this process began with.
    """

    composed: ClassVar[DictConfig | None] = None

    @classmethod
    def place(cls) -> str | None:
        """The folder that Hydra writes a single job's records into; None before it has named one."""
        return None if cls.composed is None else OmegaConf.select(cls.composed, "hydra.runtime.output_dir")

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single job."""
        BeforeWriting.composed = config
        try:
            refuse_secrets_in(OmegaConf.to_container(config, resolve=False))
        except VoVNetError as error:
            raise RefusedError(error) from error

    on_multirun_start = on_run_start  # what the jobs of a sweep share


@dataclass
class Command:
    """An entry point's run, and what this process has begun of it.

    Attributes:
        name: of the entry point.
        is_stage: a pipeline has started it.
        session: what its jobs share.
        sweep_folder: that of a sweep whose jobs begin; None for a single job.
        folders: of the jobs that have begun, in order.
        results: what the jobs that ran here returned.
        errors: of those that failed.
        prepared: jobs that run elsewhere.
        reported: lines already logged.
        failures: errors of jobs already logged.
        config: of the sweep's newest job that is not refused.
        idle: lines of each job of several grids, of which one may need what the others do not.
    """

    name: str
    run: Run
    show: Show
    finish: Finish | None
    is_stage: bool
    session: Session = field(default_factory=Session)
    sweep_folder: SweepFolder | None = None
    folders: list[Path] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)
    failures: set[str] = field(default_factory=set)
    idle: list[set[str]] | None = None
    config: RunConfig | None = None

    def __call__(self, composed: DictConfig) -> None:
        """Run a single job, for which Hydra has made a folder."""
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:  # another sweeper of Hydra's, chosen in a file
            raise VoVNetError(FOREIGN_PLUGIN.format(given="another hydra/sweeper"))
        folder, record = Path(hydra_config.runtime.output_dir), _record(hydra_config.overrides.task, None)
        self.folders.append(folder)
        # Hydra prints a line of its own about an exception, so a job hands its error over instead.
        self._work(lambda: to_typed(composed), folder, record)

    def sweep(self, batch: Batch) -> None:
        """Run the jobs of a sweep, all of which are checked before the first one begins."""
        self._check(batch)
        self.sweep_folder = SweepFolder(sweep_place(batch.config))
        self._check_jobs(batch)
        self.sweep_folder.enter([task_overrides(job) for job in batch.jobs])
        plain: Any = OmegaConf.to_container(batch.config, resolve=False, enum_to_str=True)
        write_plain(self.sweep_folder.path / "multirun.yaml", plain)
        self.idle = [] if len(batch.grids) > 1 else None
        checked = [_checked(batch, job, number) for number, job in enumerate(batch.jobs)]
        self.session.jobs = [one for one in checked if isinstance(one, RunConfig)]
        for number, (job, found) in enumerate(zip(batch.jobs, checked, strict=True)):
            with batch.composed(job, number) as composition:
                self._begin(batch, composition, number, found)
            if number == 0:
                leave_alone()
        configure_log(batch.config.hydra.hydra_logging, batch.config.hydra.verbose)  # closes the last job's log
        for line in sorted(set.intersection(*self.idle)) if self.idle else ():
            log.warning("%s", line)

    def _check(self, batch: Batch) -> None:
        """Refuse what is no sweep of ours."""
        if self.finish is None:
            raise VoVNetError(
                f"experiments.{self.name} is not swept; leave out -m and launcher=, and give an experiment that is a "
                "sweep to the command that its file names."
            )
        if world_size() > 1:
            refuse_sweep()
        chosen = batch.config.hydra.runtime.choices
        for group, ours in PLUGINS.items():
            if chosen[group] not in ours:
                raise VoVNetError(FOREIGN_PLUGIN.format(given=f"{group}={chosen[group]}"))
        check_launcher(batch.config)
        if not batch.jobs:
            raise VoVNetError("the sweep has no job; give each key that is swept a value at least.")

    def _check_jobs(self, batch: Batch) -> None:
        """Compose every job, and refuse those that would do the same or leave their results elsewhere."""
        checked = set[int]()
        for job in batch.jobs:
            composition, _ = batch.compositions.find(job)
            if id(composition) not in checked:
                checked.add(id(composition))
                refuse_secrets_in(composition.plain)
        with ExitStack() as stack:

            def compose(job: Sequence[str]) -> DictConfig:
                stack.close()
                return stack.enter_context(batch.composed(job)).config

            for grid, jobs in batch.grids.items():
                check_sweep(self.name, jobs, compose, grid)
        refuse_nested(batch)

    def _begin(self, batch: Batch, composition: Composition, number: int, found: RunConfig | VoVNetError) -> None:
        """Begin a job of a sweep, here or as one that is to run elsewhere.

        Args:
            found: its checked configuration, or why it is refused.
        """
        assert self.sweep_folder is not None
        config = composition.config
        if isinstance(found, RunConfig):
            self.config = found
        if isinstance(found, RunConfig) and composition.plain["hydra"]["sweep"]["subdir"] == USUAL:
            folder = self.sweep_folder.path / job_name(found)
        else:
            folder = self.sweep_folder.path / str(config.hydra.sweep.subdir)

        def checked() -> RunConfig:
            if isinstance(found, VoVNetError):
                raise found
            return found

        record = _record(composition.plain["hydra"]["overrides"]["task"], self.sweep_folder.token)
        with batch.begun(composition, folder) as ended:
            self.folders.append(folder)
            if config.launcher.kind in ("local", "slurm"):
                self._prepare(checked, folder, record)
                return
            alike = len(self.errors) > 1 and len(self.errors) == number and len(self.failures) == 1
            if not alike:  # so far every job has failed with one and the same error
                log.info("job %d of %d: %s", number + 1, len(batch.jobs), " ".join(record["overrides"]))
            if (problem := self._work(checked, folder, record)) is not None:
                ended.status, ended.return_value = JobStatus.FAILED, problem

    def _work(self, checked: Callable[[], RunConfig], folder: Path, record: Record) -> Exception | None:
        """Run a job in this process; returns the error that it ended with. Only the main rank shows and records."""

        def work() -> None:
            config = checked()
            refuse_problems(config)
            if is_main_rank():
                self._report_idle_keys(config, record["overrides"])
            result = self.run(settled(config, self.session), folder, self.session)
            self.results.append(result)
            if record["sweep"] is None and is_main_rank():
                self.show(result, folder)
                self._publish(config, folder)

        error = (run_recorded if world_size() == 1 else run_as_rank)(work, folder, record, self.failures)
        if error is not None:
            self.errors.append(error)
        return error

    def _publish(self, config: RunConfig, folder: Path) -> None:
        """Hand results to a logger; a single training logs its own metrics."""
        if config.logger.name != "csv" and (self.name in LOGGED or self.sweep_folder is not None):
            from vovnet.report.publish import publish

            publish(config.logger, self.name, folder)

    def _prepare(self, checked: Callable[[], RunConfig], folder: Path, record: Record) -> None:
        """Prepare a job for a process that knows no Hydra; one whose configuration is refused is not."""
        try:
            config = checked()
            refuse_problems(config)
        except VoVNetError as error:
            write_record(folder, {**record, **failure(error)})
            report_failure(record, failure(error), self.failures)
            return
        self._report_idle_keys(config, record["overrides"])
        self.prepared.append(Prepared(folder, config, {**record, "status": "pending", **git_state()}))

    def _report_idle_keys(self, config: RunConfig, overrides: Sequence[str]) -> None:
        """Say once which of the given keys have no effect; in several grids those that have none in any job."""
        lines = no_effect_lines(self.name, config, overrides, self.is_stage)
        if self.idle is not None:
            self.idle.append(set(lines))
            return
        for line in lines:
            if line not in self.reported:
                self.reported.add(line)
                log.warning("%s", line)

    def settle(self) -> None:
        """Raise a single job's error; run a sweep's jobs that are to run elsewhere."""
        if self.sweep_folder is None:
            if self.errors:
                raise self.errors[0]
        elif self.prepared:
            try:
                run_jobs(self.name, self.prepared, self.sweep_folder.path, self.sweep_folder.leave)
            except NotSubmittedError:
                self.sweep_folder.leave()
                self.sweep_folder = None  # the results of earlier jobs stay as they are
                raise

    def finish_sweep(self, with_traceback: bool) -> int:
        """Merge a sweep that has begun any job; returns its exit status."""
        if self.sweep_folder is None or not self.folders or self.finish is None:
            return 0
        try:
            self.sweep_folder.come_back()
            note_folders(self.sweep_folder.path, self.folders, launched=bool(self.prepared))
            whole = self.finish(self.sweep_folder.path)
            if self.config is not None:
                self._publish(self.config, self.sweep_folder.path)
            return int(not whole or bool(self.errors))
        except (VoVNetError, OSError) as error:
            problem = explained(error)
            return fail(str(problem), with_traceback or not isinstance(problem, VoVNetError))
        finally:
            self.sweep_folder.leave()


def _record(overrides: Sequence[str], sweep: str | None) -> Record:
    """What is known of a job before it begins."""
    return {"overrides": list(overrides), "sweep": sweep}


def _checked(batch: Batch, job: Job, number: int) -> RunConfig | VoVNetError:
    """A job's configuration, which may read its number, or why it is refused."""
    with batch.composed(job, number) as composition:
        try:
            return composition.typed()
        except VoVNetError as error:
            return error
