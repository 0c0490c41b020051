"""The jobs of a sweep, and what Hydra composes of each.

Hydra reads and merges all files anew for every job. Which files these are depends on the groups that a job chooses
only, so jobs that choose the same groups share a composition: each sets its values in it and sets them back.
"""

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from vovnet.compose import check_typed, resolved
from vovnet.schema import RunConfig

Job = Sequence[str]  # its overrides
PLAIN_KEY = re.compile(r"\w+(\.\w+)*")


def expand(
    params: Mapping[str, str], grids: Mapping[str, Mapping[str, str]], arguments: Sequence[str], loader: ConfigLoader
) -> dict[str, list[list[str]]]:
    """The jobs of each grid; of ``params`` alone, under an empty name, without any. What is given later wins."""
    parser = OverridesParser.create(config_loader=loader)
    jobs = {}
    for name, grid in (grids or {"": {}}).items():
        given = [f"{key}={value}" for key, value in {**params, **grid}.items()]
        jobs[name] = _product(parser.parse_overrides([*given, *arguments]))
    return jobs


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
