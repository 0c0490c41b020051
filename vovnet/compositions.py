"""A sweep composes its configuration once and sets each job's values in a copy; listing groups copies nothing.

Hydra composes all files anew for every job, and twice: to check and to launch. That is half a second a job, more than
a job's own work. What files a composition takes depends on the groups that are chosen only, so jobs that choose the
same groups and differ in values share one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins import basic_launcher
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from omegaconf import Container, DictConfig, OmegaConf, open_dict

from vovnet.hydra_job import copied, run_job

_compose, _list_group, _check_all, _run_job = (
    ConfigLoaderImpl.load_sweep_config,
    ConfigLoaderImpl.get_group_options,
    Sweeper.validate_batch_is_legal,
    basic_launcher.run_job,  # type: ignore[attr-defined]
)

HYDRAS_OWN = re.compile(r"[+~]*hydra[./]")  # overrides of its own keys
Plan = Callable[[list[list[str]], Callable[[Sequence[str]], DictConfig]], object]


@contextmanager
def shared_compositions(plan: Plan = lambda *_: None) -> Iterator[None]:
    """Within it, Hydra's sweeps share compositions. Plugins, the documented way, must lie in a package of Hydra's.

    Args:
        plan: is given the overrides of every job of a batch, and what composes one, before the first one begins.
    """
    composed: dict[tuple[str, ...], DictConfig] = {}  # by the groups that were chosen
    drafts: dict[tuple[str, ...], DictConfig] = {}

    def load(loader: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        return _job(composed, loader, master_config, sweep_overrides)

    def check(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
        assert sweeper.hydra_context is not None
        assert sweeper.config is not None
        loader, master = sweeper.hydra_context.config_loader, sweeper.config
        assert isinstance(loader, ConfigLoaderImpl)
        for job in batch:
            _check(drafts, composed, loader, master, list(job))
        plan([list(job) for job in batch], lambda job: _job(composed, loader, master, list(job)))

    ConfigLoaderImpl.load_sweep_config = load  # type: ignore[method-assign, assignment]
    ConfigLoaderImpl.get_group_options = _options  # type: ignore[method-assign, assignment]
    Sweeper.validate_batch_is_legal = check  # type: ignore[method-assign, assignment]
    basic_launcher.run_job = _run  # type: ignore[attr-defined, assignment]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_sweep_config = _compose  # type: ignore[method-assign]
        ConfigLoaderImpl.get_group_options = _list_group  # type: ignore[method-assign]
        Sweeper.validate_batch_is_legal = _check_all  # type: ignore[method-assign]
        basic_launcher.run_job = _run_job  # type: ignore[attr-defined]


def _parsed(loader: ConfigLoaderImpl, job: list[str]) -> tuple[list[Override], tuple[str, ...], list[Override]]:
    """A job's overrides: all of them, the lines that choose what is composed, and those that set a value in it."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(job)
    values = [override for override in overrides if _sets_a_value(loader, override)]
    return overrides, tuple(str(o.input_line) for o in overrides if o not in values), values


def _job(
    composed: dict[tuple[str, ...], DictConfig], loader: ConfigLoaderImpl, master_config: DictConfig, job: list[str]
) -> DictConfig:
    """A job's configuration, new each time: its job changes it."""
    overrides, groups, values = _parsed(loader, job)
    if any(_changes_keys(loader, override) for override in overrides):  # their order among values counts
        return _compose(loader, master_config, job)
    if groups not in composed:
        composed[groups] = _compose(loader, master_config, list(groups))
    config = copied(composed[groups])
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    task = [override for override in overrides if not override.is_hydra_override()]
    rules = config.hydra.job.config.override_dirname
    with open_dict(config.hydra):
        config.hydra.overrides.task = [override.input_line for override in task]
        config.hydra.job.override_dirname = get_overrides_dirname(
            task, kv_sep=rules.kv_sep, item_sep=rules.item_sep, exclude_keys=rules.exclude_keys
        )
    OmegaConf.copy_cache(from_config=master_config, to_config=config)
    return config


def _check(
    drafts: dict[tuple[str, ...], DictConfig],
    composed: dict[tuple[str, ...], DictConfig],
    loader: ConfigLoaderImpl,
    master_config: DictConfig,
    job: list[str],
) -> None:
    """Raise what composing a job would: values are tried in a draft that all jobs with the same groups share.

    Values that change which keys there are, as a dictionary would, are tried in a configuration of their own.
    """
    _, groups, values = _parsed(loader, job)
    if groups not in composed or not all(_sets_a_leaf(composed[groups], override) for override in values):
        _job(composed, loader, master_config, job)
        return
    if groups not in drafts:
        drafts[groups] = copied(composed[groups])
    ConfigLoaderImpl._apply_overrides_to_config(values, drafts[groups])


def _sets_a_leaf(config: DictConfig, override: Override) -> bool:
    """Neither the old value nor the new one holds keys."""
    if isinstance(override.value(), dict | list):
        return False
    before = OmegaConf.select(config, override.key_or_group, throw_on_resolution_failure=False)
    return not isinstance(before, Container)


def _run(task_function: Any, config: DictConfig, **given: Any) -> Any:
    leaves = config.hydra.job.chdir
    return (_run_job if leaves else run_job)(task_function=task_function, config=config, **given)


def _options(loader: ConfigLoaderImpl, group_name: str, *args: Any, **given: Any) -> list[str]:
    """``--help`` lists every group several times, and Hydra copies all that it has read for each."""
    if len(args) > 1 or given.get("config_name") or given.get("overrides"):
        return _list_group(loader, group_name, *args, **given)
    return loader.repository.get_group_options(group_name, *args, **given)


def _is_group(loader: ConfigLoaderImpl, override: Override) -> bool:
    return override.package is not None or loader.repository.group_exists(override.key_or_group)


def _sets_a_value(loader: ConfigLoaderImpl, override: Override) -> bool:
    """``key=value`` of a task's key; Hydra's own are few, the same in all jobs, and recorded elsewhere."""
    plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    return plain and not override.is_hydra_override() and not _is_group(loader, override)


def _changes_keys(loader: ConfigLoaderImpl, override: Override) -> bool:
    """``+key=value``, ``++key=value`` or ``~key``."""
    return (override.is_add() or override.is_force_add() or override.is_delete()) and not _is_group(loader, override)
