"""A job of a sweep, run as Hydra runs it, without Hydra's five copies of the whole configuration.

The copies and the three YAML files took more time than a job's own work.
"""

import logging
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import Container, DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import OmegaConfDumper


def run_job(
    task_function: TaskFunction,
    config: DictConfig,
    job_dir_key: str,
    job_subdir_key: str | None,
    hydra_context: HydraContext,
    configure_logging: bool = True,
) -> JobReturn:
    """What ``hydra.core.utils.run_job`` does, for a job that stays in its working directory.

    ``config`` is the job's own and is changed; what is returned holds no configuration, since a sweep keeps it.
    """
    held, before = HydraConfig.instance(), HydraConfig.instance().cfg
    OmegaConf.set_readonly(config.hydra, True)
    held.cfg = config  # type: ignore[assignment]  # Hydra's own set_config takes a copy
    try:
        folder = Path(str(OmegaConf.select(config, job_dir_key)))
        if job_subdir_key is not None:
            folder /= str(OmegaConf.select(config, job_subdir_key))
        runtime = config.hydra.runtime
        with read_write(runtime), open_dict(runtime):
            runtime.output_dir = str(folder.absolute())
        task = copied(config, without="hydra")
        OmegaConf.set_struct(task, True)
        result = JobReturn(overrides=list(config.hydra.overrides.task), cfg=task, working_dir=str(Path.cwd()))
        folder.mkdir(parents=True, exist_ok=True)
        if configure_logging:
            configure_log(config.hydra.job_logging, config.hydra.verbose)
        if config.hydra.output_subdir is not None:
            _record(folder / config.hydra.output_subdir, task, config)
        with env_override(config.hydra.job.env_set):
            hydra_context.callbacks.on_job_start(config=config, task_function=task_function)
            try:
                result.return_value, result.status = task_function(task), JobStatus.COMPLETED
            except Exception as error:  # noqa: BLE001  (its launcher raises it where the result is asked for)
                result.return_value, result.status = error, JobStatus.FAILED
        result.task_name = JobRuntime.instance().get("name")
        for handler in logging.getLogger().handlers:
            handler.flush()
        hydra_context.callbacks.on_job_end(config=config, job_return=result)
        result.cfg = None
        return result
    finally:
        held.cfg = before


def copied(config: DictConfig, without: str | None = None) -> DictConfig:
    """What ``deepcopy`` makes of a whole configuration, in a sixth of its time.

    OmegaConf's own looks every node's parents over again at every depth.
    """
    copy: DictConfig = _copied(config, None)
    if without is not None:
        del copy.__dict__["_content"][without]
    return copy


def _copied(node: Any, parent: Any) -> Any:
    new = object.__new__(type(node))
    new.__dict__.update(node.__dict__, _parent=parent, _metadata=replace(node._metadata), _flags_cache=None)
    known = new._metadata.resolver_cache
    new._metadata.flags = dict(node._metadata.flags or {})
    new._metadata.resolver_cache = deepcopy(known) if known else defaultdict(dict)
    content = node._content if isinstance(node, Container) else None
    if isinstance(content, dict):
        new.__dict__["_content"] = {key: _copied(value, new) for key, value in content.items()}
    elif isinstance(content, list):
        new.__dict__["_content"] = [_copied(value, new) for value in content]
    return new


def _record(folder: Path, task: DictConfig, config: DictConfig) -> None:
    """The files from which Hydra can run a job again."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "config": to_yaml(_plain(task)),
        "hydra": to_yaml({"hydra": _plain(config.hydra)}),
        "overrides": to_yaml(_plain(config.hydra.overrides.task)),
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False, enum_to_str=True)


def to_yaml(plain: Any) -> str:
    """As ``OmegaConf.to_yaml`` writes it, by the YAML library's part that is written in C, where it is installed."""
    return str(yaml.dump(plain, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Quotes texts that look like numbers or truth values, as OmegaConf does."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)
