"""What must hold of a sweep as a whole, before its first job: every key that is swept tells its jobs apart."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vovnet.compose import to_typed
from vovnet.errors import VoVNetError
from vovnet.no_effect import RULES, key_of, shown, without_effect
from vovnet.schema import RunConfig

Job = Sequence[str]  # its overrides
Compose = Callable[[Job], DictConfig]
LIKELY = ("hydra.sweep.dir", "hydra.sweep.subdir")  # keys that name a job's folder


def check_sweep(command: str, jobs: Sequence[Job], compose: Compose) -> None:
    """Refuse a sweep whose jobs would do the same, or would leave their results in each other's place.

    Of jobs that differ in one key only, one tells whether the key has an effect: conditions speak of other keys.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    settings = [{key_of(override): override.partition("=")[2] for override in job} for job in jobs]
    swept = [key for key in settings[0] if len({one.get(key) for one in settings}) > 1] if settings else []
    for key in swept:
        pairs = list(_pairs(key, settings))
        if any(rule.covers(command, key) for rule in RULES):
            for place, _ in pairs:
                _refuse_idle(command, key, _typed(compose(jobs[place])), swept)
        for place, other in pairs[:1]:
            _refuse_shared(key, compose(jobs[place]), compose(jobs[other]))


def _pairs(key: str, settings: Sequence[dict[str, str]]) -> Iterator[tuple[int, int]]:
    """Places of two jobs that differ in a key only, for each choice of all other keys."""
    first: dict[tuple[Any, ...], int] = {}
    paired = set[tuple[Any, ...]]()
    for place, one in enumerate(settings):
        others = tuple(sorted((name, value) for name, value in one.items() if name != key))
        begun = first.setdefault(others, place)
        if others not in paired and one.get(key) != settings[begun].get(key):
            paired.add(others)
            yield begun, place


def _typed(composed: DictConfig) -> RunConfig | None:
    """The checked configuration; None where it is refused, as its job will say."""
    try:
        return to_typed(composed)
    except (VoVNetError, OmegaConfBaseException):
        return None


def _refuse_idle(command: str, key: str, config: RunConfig | None, swept: Sequence[str]) -> None:
    if config is None:
        return
    for _, rule in without_effect(command, config, [key]):
        if rule.end_of not in swept:
            raise VoVNetError(
                f"{shown(key)} is swept but has no effect here: {rule.why}; give it no more than one value."
            )


def _refuse_shared(key: str, composed: DictConfig, other: DictConfig) -> None:
    """Refuse another folder for the sweep in each job, or one folder for all jobs."""
    try:
        (base, name), (base_too, name_too) = ([OmegaConf.select(c, k) for k in LIKELY] for c in (composed, other))
    except (VoVNetError, OmegaConfBaseException):
        return  # its job will say so
    if base != base_too:
        raise VoVNetError(
            f"hydra.sweep.dir changes with {shown(key)}, which is swept ({base}, {base_too}), but a sweep has one "
            "folder; leave the key out of it, or name the jobs' own folders by hydra.sweep.subdir."
        )
    if name != name_too:
        return
    if any(override.startswith(LIKELY[1]) for override in composed.hydra.overrides.hydra):
        raise VoVNetError(
            f"hydra.sweep.subdir={name} is the same for every job; leave it out, or name {shown(key)} in it."
        )
    if _typed(composed) != _typed(other):
        raise VoVNetError(
            f"{shown(key)} is swept but changes no result, so its jobs would have one folder, {name}; run each value "
            "by itself, with another name=NAME."
        )
