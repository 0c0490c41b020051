"""The option files under ``conf``: which options a group has, and which option or command brings a key."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SHARED = ("defaults", "name", "hydra")  # keys of every root file


def conf_dir() -> Path:
    """The configuration folder: beside the package in a checkout, inside it when installed."""
    inside = Path(__file__).resolve().parent / "conf"
    return inside if inside.is_dir() else inside.parent.parent / "conf"


@cache
def groups() -> Mapping[str, tuple[str, ...]]:
    """The options of each config group, such as ``policy/baseline``; experiments are no options."""
    found: dict[str, list[str]] = {}
    for path in sorted(conf_dir().rglob("*/*.yaml")):
        group = path.parent.relative_to(conf_dir()).as_posix()
        if group not in ("experiment", "policy"):  # policy has one option
            found.setdefault(group, []).append(path.stem)
    return {group: tuple(options) for group, options in found.items()}


@cache
def commands() -> tuple[str, ...]:
    """The entry points, each of which has a root file."""
    return tuple(sorted(path.stem for path in conf_dir().glob("*.yaml") if path.stem != "base"))


@cache
def defaults() -> tuple[str, ...]:
    """The options that are chosen where none is given, as ``policy/baseline=none``."""
    chosen = []
    for path, prefix in ((conf_dir() / "base.yaml", ""), (conf_dir() / "policy/vovnet.yaml", "policy/")):
        entries = (entry for entry in _load(path)["defaults"] if isinstance(entry, dict))
        chosen += [f"{prefix}{group}={option}" for entry in entries for group, option in entry.items()]
    return tuple(chosen)


@cache
def owners() -> Mapping[str, tuple[str, ...]]:
    """What brings each key: options, as ``policy/baseline=cascade``, or a command, as ``experiments.report``."""
    found: dict[str, list[str]] = {}
    for group, options in groups().items():
        for option in options:
            for key in _option_keys(group, option):
                found.setdefault(key, []).append(f"{group}={option}")
    for command in commands():
        for key in _leaves(_load(conf_dir() / f"{command}.yaml"), ""):
            if key.partition(".")[0] not in SHARED:
                found.setdefault(key, []).append(f"experiments.{command}")
    return {key: tuple(names) for key, names in found.items()}


def _option_keys(group: str, option: str) -> Iterator[str]:
    """Keys that an option's file and the files that it includes put into a composition."""
    path = conf_dir() / group / f"{option}.yaml"
    everywhere = path.read_text(encoding="utf-8").startswith("# @package _global_")
    prefix = "" if everywhere else group.replace("/", ".") + "."
    content = _load(path)
    for included in content.get("defaults", ()):
        if isinstance(included, str) and "@" in included:  # a part of a mixture: easy_vqa@parts.easy_vqa
            name, _, place = included.partition("@")
            yield from _leaves(_load(path.parent / f"{name}.yaml"), f"{prefix}{place}.")
    yield from (key for key in _leaves(content, prefix) if key.partition(".")[0] not in ("defaults", "hydra"))


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return content


def _leaves(content: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Dotted keys of nested mappings, inner ones included."""
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
