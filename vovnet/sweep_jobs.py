"""The jobs of a sweep, and what Hydra composes of each.

Hydra reads and merges all files anew for every job. Which files these are depends on the groups that a job chooses
only, so jobs that choose the same groups share a composition: each sets its values in it and sets them back.
"""

import copy
import itertools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from vovnet.compose import check_typed, resolved
from vovnet.schema import RunConfig

Job = Sequence[str]  # its overrides
PLAIN_KEY = re.compile(r"\w+(\.\w+)*")


def expand(
    params: Mapping[str, str], grids: Mapping[str, Mapping[str, str]], arguments: Sequence[str], loader: ConfigLoader
) -> list[list[list[str]]]:
    """The jobs of each grid; of ``params`` alone where there is no grid. What is given later wins."""
    parser = OverridesParser.create(config_loader=loader)
    texts = ([f"{key}={value}" for key, value in {**params, **grid}.items()] for grid in list(grids.values()) or [{}])
    return [_product(parser.parse_overrides([*given, *arguments])) for given in texts]


def _product(overrides: Sequence[Override]) -> list[list[str]]:
    """All combinations of the choices."""
    choices: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            valued = "=" in str(override.input_line)
            choices[key] = [f"{key}={override.get_value_element_as_str()}" if valued else key]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise HydraException(f"{override.input_line} has no end of values; give choices, A,B, or a range")
    return [list(job) for job in itertools.product(*choices.values())]


def task_overrides(job: Job) -> list[str]:
    """A job's overrides but those of Hydra's own keys, which are the same in all jobs."""
    return [text for text in job if not text.lstrip("+~").startswith(("hydra.", "hydra/"))]


def given_overrides(config: DictConfig, which: Literal["task", "hydra"]) -> list[str]:
    """Overrides as they were given: OmegaConf would resolve an interpolation in one that is read."""
    given: Any = OmegaConf.to_container(config.hydra.overrides[which], resolve=False)
    return list(given)


class Composition:
    """What all jobs with the same groups share.

    Attributes:
        config: as Hydra composes it, with the values of one job at a time.
        plain: its content, interpolations as they are written.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.plain: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)

    def sets(self, override: Override) -> bool:
        """Whether an override sets a value that there is; where keys come or go, Hydra composes."""
        if not PLAIN_KEY.fullmatch(override.key_or_group) or isinstance(override.value(), dict):
            return False
        node = self.plain
        for name in override.key_or_group.split("."):
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
        return not isinstance(node, dict)

    def typed(self) -> RunConfig:
        """The checked configuration.

        Raises:
            VoVNetError: one sentence naming the key.
        """
        sections = {key: value for key, value in self.plain.items() if key != "hydra"}
        # Resolving what has no interpolation would take longer than the check.
        return check_typed({k: resolved(self.config[k]) if "${" in repr(v) else v for k, v in sections.items()})

    def set(self, key: str, value: Any, merge: bool = True) -> Any:
        """Set a value; returns the one before."""
        *above, last = key.split(".")
        node = self.plain
        for name in above:
            node = node[name]
        before, node[last] = node[last], value
        OmegaConf.update(self.config, key, value, merge=merge)
        return before


class Compositions:
    """Compositions of a sweep's jobs."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._groups = dict.fromkeys(master.hydra.runtime.choices, True)  # whether a key is one
        self._parsed: dict[str, Override] = {}
        self._known: dict[tuple[str, ...], Composition] = {}

    def find(self, job: Job) -> tuple[Composition, list[Override]]:
        """A job's composition, and the values that it sets in it.

        Raises:
            HydraException: there is no such key or group.
        """
        fixed, values = self._split(job)
        composition = self._compose(fixed)
        if all(composition.sets(override) for override in values):
            return composition, values
        return self._compose(tuple(job)), []

    def _split(self, job: Job) -> tuple[tuple[str, ...], list[Override]]:
        """Overrides for Hydra to compose, and those that may only set a value."""
        overrides = [self._parse(text) for text in job]
        changing = [place for place, override in enumerate(overrides) if not self._is_plain(override)]
        values = [o for o in overrides[max(changing, default=-1) + 1 :] if not self._is_fixed(o)]
        return tuple(text for text, o in zip(job, overrides, strict=True) if o not in values), values

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]

    def _is_plain(self, override: Override) -> bool:
        """``key=value`` or a group's option; the others, such as ``+key=value``, change which keys there are."""
        if override.is_delete() or override.is_force_add():
            return False
        if not override.is_add() or override.package is not None:
            return True
        key = override.key_or_group
        if key not in self._groups:
            given, name = given_overrides(self._master, "hydra"), self._master.hydra.job.config_name
            self._groups[key] = bool(self._loader.get_group_options(key, None, name, given))
        return self._groups[key]

    def _is_fixed(self, override: Override) -> bool:
        """It chooses an option, or sets a key of Hydra's own, which is the same in all jobs."""
        key = override.key_or_group
        chosen = override.is_add() or override.package is not None or self._groups.get(key, False)
        return chosen or override.is_hydra_override()

    @cached_property
    def _of_master(self) -> tuple[str, ...]:
        """What Hydra has composed already: every job sets what else is given for all of them."""
        given = given_overrides(self._master, "task")
        return self._split([text for text in given if not self._parse(text).is_sweep_override()])[0]

    def _compose(self, fixed: tuple[str, ...]) -> Composition:
        if fixed not in self._known:
            if fixed == self._of_master:
                config = copy.deepcopy(self._master)
            else:
                config = self._loader.load_sweep_config(self._master, list(fixed))
            if not any(text.lstrip("+").startswith("hydra.sweep.dir=") for text in given_overrides(config, "hydra")):
                config.hydra.sweep.dir = self._master.hydra.sweep.dir  # one for all jobs, whatever they set
            self._known[fixed] = Composition(config)
        return self._known[fixed]


@dataclass
class Batch:
    """What the sweeper hands to a task's ``sweep``.

    Attributes:
        config: the sweep's own configuration.
        grids: the jobs of each grid.
        context: Hydra's.
        task: the task itself, which callbacks are given.
    """

    config: DictConfig
    grids: Sequence[Sequence[Job]]
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
        return [job for grid in self.grids for job in grid]

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
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", errors="backslashreplace")
