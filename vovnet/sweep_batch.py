"""What a sweep hands to its task, and how a job of it begins: with what Hydra would leave of it."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vovnet.sweep_jobs import Composition, Compositions, Job, task_overrides


@dataclass
class Batch:
    """What the sweeper hands to a task's ``sweep``.

    Attributes:
        config: the sweep's own configuration.
        grids: the jobs of each grid by its name; under an empty name where the sweep has none.
        context: Hydra's.
        task: the task itself, which callbacks are given.
    """

    config: DictConfig
    grids: Mapping[str, Sequence[Job]]
    context: HydraContext
    task: TaskFunction
    _logging: tuple[Composition, Path] | None = None  # whose log is written, and where

    @cached_property
    def compositions(self) -> Compositions:
        """What the jobs share."""
        return Compositions(self.context.config_loader, self.config)

    @property
    def jobs(self) -> list[Job]:
        """Those of all grids, in order."""
        return [job for grid in self.grids.values() for job in grid]

    @contextmanager
    def composed(self, job: Job, number: int = 0) -> Iterator[Composition]:
        """A job's composition, which is its own until the end of the block: do not nest these.

        Args:
            number: ``hydra.job.num``.
        """
        composition, values = self.compositions.find(job)
        task = task_overrides(job)
        rules = composition.config.hydra.job.config.override_dirname
        named = sorted(text for text in task if text.partition("=")[0].lstrip("+~") not in rules.exclude_keys)
        own = {
            "overrides.task": task,
            "job.override_dirname": rules.item_sep.join(named).replace("=", rules.kv_sep),
            "job.id": str(number),
            "job.num": number,
        }
        for key, value in own.items():
            composition.set(f"hydra.{key}", value, merge=False)
        before = [(o.key_or_group, composition.set(o.key_or_group, o.value())) for o in values]
        try:
            yield composition
        finally:
            for key, value in reversed(before):
                composition.set(key, value, merge=False)

    @contextmanager
    def begun(self, composition: Composition, folder: Path) -> Iterator[JobReturn]:
        """Within it a job runs as Hydra runs one: with its records, log file, environment variables and callbacks.

        Yields:
            What callbacks are given of its end; the task writes down an error.
        """
        config, held = composition.config, HydraConfig.instance()
        composition.set("hydra.runtime.output_dir", str(folder), merge=False)
        folder.mkdir(parents=True, exist_ok=True)
        self._log_into(composition, folder)
        if (records := config.hydra.output_subdir) is not None:
            write_records(folder / records, composition.plain)
        ended = JobReturn(composition.plain["hydra"]["overrides"]["task"], config, config, status=JobStatus.COMPLETED)
        before, held.cfg = held.cfg, config  # type: ignore[assignment]  # ``set_config`` copies all of it
        try:
            with env_override(config.hydra.job.env_set), chdir(folder) if config.hydra.job.chdir else nullcontext():
                self.context.callbacks.on_job_start(config=config, task_function=self.task)
                yield ended
                self.context.callbacks.on_job_end(config=config, job_return=ended)
        finally:
            held.cfg = before
            for handler in logging.getLogger().handlers:
                with suppress(OSError):  # a log file on a full disk is no second problem, as in vovnet.launch
                    handler.flush()

    def _log_into(self, composition: Composition, folder: Path) -> None:
        """Let a job's messages go where ``hydra.job_logging`` says; jobs of one composition differ in their folder."""
        known, before = self._logging or (None, folder)
        self._logging = composition, folder
        if known is not composition:
            configure_log(composition.config.hydra.job_logging, composition.config.hydra.verbose)
            return
        root = logging.getLogger()
        for old in [one for one in root.handlers if isinstance(one, logging.FileHandler)]:
            if (path := Path(old.baseFilename)).parent == before:
                new = logging.FileHandler(folder / path.name, old.mode, old.encoding)
                new.setFormatter(old.formatter)
                new.setLevel(old.level)
                root.removeHandler(old)
                old.close()
                root.addHandler(new)


def write_records(folder: Path, plain: Mapping[str, Any]) -> None:
    """What Hydra records of a job: ``config.yaml``, ``overrides.yaml`` and ``hydra.yaml``.

    One JSON value a line, which YAML reads, since its libraries would take longer to write them than the job takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = plain["hydra"]
    write_plain(folder / "config.yaml", {key: value for key, value in plain.items() if key != "hydra"})
    write_plain(folder / "hydra.yaml", {"hydra": own})
    write_plain(folder / "overrides.yaml", own["overrides"]["task"])


def write_plain(path: Path, content: Any) -> None:
    """Write plain values as YAML: a mapping or a list, with a line of JSON for each of its members."""
    if isinstance(content, list):
        lines = [f"- {json.dumps(value, ensure_ascii=False)}" for value in content] or ["[]"]
    else:
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
    try:
        path.write_text("\n".join([*lines, ""]), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        error.filename = str(path)  # what fails when a file is full knows no name
        raise
