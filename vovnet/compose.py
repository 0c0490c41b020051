"""From the command line to a typed configuration: what Hydra composed, checked, and what it is called.

A configuration's hash names the folder of its job, so that the same job finds its folder again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from vovnet import registry
from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra, explain_validation
from vovnet.fingerprint import digest
from vovnet.options import conf_dir
from vovnet.ranks import is_main_rank
from vovnet.schema import Launched, LocalLauncher, RunConfig, RunFolder
from vovnet.secrets import refuse_secrets

Kind = TypeVar("Kind")  # of configuration

# Keys that say how a run is done, not what it computes.
EXCLUDED_FROM_HASH = ("name", "paths", "launcher", "trainer", "logger")
# Keys that are newer than some results, which count as before where they have their usual values.
NEWER = (
    ("backbone", "implementation", "auto"),
    ("backbone", "batch_invariant", False),
    ("backbone", "base_url", None),
    ("backbone", "model", None),
    ("backbone", "processor", None),
    ("vision_budget", "auto", False),
    ("policy", "procedure", "one_step"),
    ("policy", "looks", None),
    ("policy", "interpolate", 0),
    ("policy", "fallback_entropy_quantile", None),
    ("policy", "cost_unit", "tokens"),
    ("policy", "latency_device", None),
    ("eval", "other_backbone", False),
)
GONE = {"benchmark": None}  # keys of older versions, which results are still called by
EXCLUDED_FROM_HASH_EVAL = ("num_workers", "chunk_rows", "batch_size", "batch_tokens", "num_shards", "shard")


def to_typed(config: DictConfig) -> RunConfig:
    """Resolve interpolations and check every key, type and range.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    # Section by section: a masked copy would take longer than the check.
    return check_typed({str(key): resolved(config[key]) for key in config if key != "hydra"})


def check_typed(container: dict[str, Any]) -> RunConfig:
    """The same of plain values without interpolations.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    refuse_secrets_in(container)
    return _validated(RunConfig, container)


def rebuilt(config: RunConfig, **parts: Any) -> RunConfig:
    """A configuration with other parts.

    Raises:
        VoVNetError: one sentence naming the key that no longer fits.
    """
    try:
        return replace(config, **parts)
    except ValidationError as error:
        raise VoVNetError(explain_validation(error)) from error


def _validated(kind: Callable[..., Kind], container: dict[str, Any]) -> Kind:
    try:
        found: Kind = _adapter(kind).validate_python(container, context=registry.TRUSTED)
        return found
    except ValidationError as error:
        raise VoVNetError(explain_validation(error)) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def resolved(value: Any) -> Any:
    """Plain values of a part of a configuration."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def refuse_secrets_in(content: Any) -> None:
    """Check plain values of a configuration, as they are or as they are written.

    Raises:
        VoVNetError: one is a secret, or its name says so.
    """
    refuse_secrets(_texts("", content))


def _texts(key: str, value: Any) -> Iterator[str]:
    """All texts of a configuration; a key goes with its value, and with the sections around it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(key, inner)
    elif value is not None and not isinstance(value, bool):
        yield f"{key}={value}"


def config_identity(config: RunConfig) -> dict[str, Any]:
    """The part of a configuration that determines results."""
    identity = {key: value for key, value in asdict(config).items() if key not in EXCLUDED_FROM_HASH} | GONE
    identity["dataset"] = config.dataset.facts()
    identity["vision_budget"] |= {look: getattr(config.vision_budget, look).facts() for look in ("coarse", "full")}
    if config.policy.looks is not None:
        identity["policy"]["looks"] = [look.content for look in config.menu]
    for section, key, usual in NEWER:
        if identity[section][key] == usual:
            del identity[section][key]
    identity["eval"] = {k: v for k, v in identity["eval"].items() if k not in EXCLUDED_FROM_HASH_EVAL}
    return identity


def config_hash(config: RunConfig, policy_file: Path | None = None) -> str:
    """12 hex digits over the identity of a configuration, and of the trained policy it was used with."""
    identity, policy = config_identity(config), None
    if policy_file is not None:  # its content counts, however it was found
        policy = hashlib.sha256(policy_file.read_bytes()).hexdigest()
        identity["eval"] |= {"checkpoint": None, "ddp_checkpoint_path": None}
    return digest([identity, policy], 12)


def compose_typed(root: str, overrides: Sequence[str]) -> RunConfig:
    """The checked configuration of a command, without running it; for Python programs.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    register_resolvers()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return to_typed(compose(root, list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise VoVNetError(explain_hydra(error)) from error


def searched(config_dir: str | Path | None) -> list[str]:
    """The override that makes Hydra look for option files in a folder besides VoVNet's; none for None."""
    return (
        []
        if config_dir is None
        else [f"hydra.searchpath=[{quoted(f'file://{Path(config_dir).expanduser().resolve()}')}]"]
    )


def register_resolvers() -> None:
    """Make the resolvers known that the configuration files use."""
    OmegaConf.register_new_resolver("job_id", _job_id, replace=True)
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("shards", _shards, replace=True)
    OmegaConf.register_new_resolver("records", lambda: ".hydra" if is_main_rank() else None, replace=True)


def check_launcher(composed: DictConfig) -> None:
    """Check the launcher of a sweep before any job: it changes no folder, so refused jobs would stand for good ones.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    _validated(Launched, {"launcher": resolved(composed.launcher)})


def _run_folder(*, _root_: DictConfig) -> str:
    """Folder of a run; a name or a place that is none is refused before Hydra makes it.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    found = _validated(RunFolder, {"name": _root_.name, "paths": resolved(_root_.paths)})
    return str(Path(found.paths.runs) / found.name)


def _shards(*, _root_: DictConfig) -> Any:
    """Parts of a collection: as given, or without a number as many as launcher=local runs at once."""
    if _root_.eval.num_shards != 1:
        return _root_.eval.num_shards
    launcher = _validated(Launched, {"launcher": resolved(_root_.launcher)}).launcher
    return len(launcher.places()) if isinstance(launcher, LocalLauncher) else 1


def job_name(config: RunConfig) -> str:
    """What tells a job from others: a hash of its configuration, and which part of a collection it is.

    Parts of a collection have the same results, but each a record of its own.
    """
    shard, shards = config.eval.shard, config.eval.num_shards
    return config_hash(config) + ("" if shard is None else f"-{shard}-of-{shards}")


def _job_id(*, _root_: DictConfig) -> str:
    """Folder name of a job: by its configuration, so that the same job finds its folder again.

    Raises:
        VoVNetError: a single job's configuration is refused, before Hydra makes its folder.
    """
    try:
        return job_name(to_typed(_root_))
    except VoVNetError as error:
        from hydra.types import RunMode

        if _root_.hydra.mode != RunMode.MULTIRUN:
            raise
        # A sweep records its job as failed, in a folder of its own.
        return "refused-" + digest([str(error), list(_root_.hydra.overrides.task)], 8)


def quoted(text: str) -> str:
    """A value that Hydra's override grammar takes as it is, spaces and all."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
