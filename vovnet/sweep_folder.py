"""The folder of a sweep, and whether its jobs may share it."""

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vovnet.compose import to_typed
from vovnet.errors import VoVNetError
from vovnet.fingerprint import digest
from vovnet.jobs import begin_sweep, sweep_token
from vovnet.locks import Claim
from vovnet.no_effect import RULES, key_of, shown, without_effect
from vovnet.no_effect.rule import Rule
from vovnet.schema import RunConfig
from vovnet.sweep_batch import Batch
from vovnet.sweep_jobs import given_overrides
from vovnet.terminal import say

LOCK_FILE = "sweep.lock"
USUAL = "${job_id:}"  # hydra.sweep.subdir in conf/base.yaml: a hash, or "refused-" and one
NAMELESS = ("experiment", "name", "launcher")  # keys that are no part of a folder's name: a launcher changes no result


class SweepFolder:
    """A sweep's folder, kept from other commands between ``enter`` and ``leave``.

    Attributes:
        token: tells this command's sweep from others in the same folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = uuid.uuid4().hex
        self._claim = Claim(path / LOCK_FILE)

    def enter(self, planned: Sequence[Sequence[str]]) -> None:
        """Wait until no other command works in the folder, then write down the jobs there.

        Args:
            planned: the overrides of every job.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._claim.take(wait=False):
            say(f"another command runs a sweep in {self.path}; waiting for its end", file=sys.stderr)
            self._claim.take()
        begin_sweep(self.path, self.token, planned)

    def leave(self) -> None:
        """Let other commands begin a sweep in the same folder, now that its jobs go on without this one."""
        self._claim.release()

    def come_back(self) -> None:
        """Keep other commands out again while the results of the jobs are merged.

        Raises:
            VoVNetError: one has begun the same sweep meanwhile.
        """
        self._refuse_newer()  # which may hold the folder until its last job has ended
        self._claim.take()
        self._refuse_newer()

    def _refuse_newer(self) -> None:
        if sweep_token(self.path) != self.token:
            raise VoVNetError(
                f"the same sweep was begun again meanwhile; that one writes the tables in {self.path}, and where it "
                "has ended without them, run this command again."
            )


def sweep_place(master: DictConfig) -> Path:
    """Path of a sweep's folder: that of the run, and a hash of what the command line adds to it.

    Args:
        master: the sweep's configuration; its ``hydra.sweep.dir`` becomes the path, unless the command line names one.
    """
    given = given_overrides(master, "task") + given_overrides(master, "hydra")
    keys = [override.partition("=")[0].lstrip("+") for override in given]
    path = Path(master.hydra.sweep.dir).expanduser().absolute()
    if "hydra.sweep.dir" in keys:
        return path
    pairs = zip(given, keys, strict=True)
    added = sorted(o for o, key in pairs if "=" in o and key.partition(".")[0] not in NAMELESS and not _is_mode(o))
    if added and "name" not in keys:
        path = path.with_name(f"{path.name}-{digest(added, 8)}")
    master.hydra.sweep.dir = str(path)
    return path


def _is_mode(override: str) -> bool:
    """What Hydra itself adds for ``-m``."""
    return override == "hydra.mode=MULTIRUN"


def refuse_nested(batch: Batch) -> None:
    """Refuse a job whose folder is not directly in the sweep's, where its result would not be found.

    Raises:
        VoVNetError: names the folder.
    """
    usual = set[tuple[str, ...]]()  # what may name another folder, in jobs where it does not
    for number, job in enumerate(batch.jobs):
        naming = tuple(o for o in job if o.lstrip("+").startswith(("experiment=", "hydra.")))
        if naming in usual:
            continue
        with batch.composed(job, number) as composition:
            if composition.plain["hydra"]["sweep"]["subdir"] == USUAL:
                usual.add(naming)
                continue
            try:
                name = str(composition.config.hydra.sweep.subdir)
            except (VoVNetError, OmegaConfBaseException):
                continue  # its job will say so
        if "/" in name or name in ("", ".", ".."):
            raise VoVNetError(
                f"hydra.sweep.subdir={name} is no folder directly in the sweep's own; name each job's folder without a "
                "slash, as in '${hydra.job.num}'."
            )


Job = Sequence[str]  # its overrides
Compose = Callable[[Job], DictConfig]  # what it returns is a job's until the next call
LIKELY = ("hydra.sweep.dir", "hydra.sweep.subdir")  # keys that name a job's folder


def check_sweep(command: str, jobs: Sequence[Job], compose: Compose, grid: str = "") -> None:
    """Refuse a sweep or a grid whose jobs would do the same, or would leave their results in each other's place.

    A sweep that an experiment's file holds is run although one of its keys has no effect under what else is given: its
    jobs report that.

    Args:
        grid: the name of the grid in ``hydra.sweeper.grids`` whose jobs these are.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    settings = [{key_of(override): override.partition("=")[2] for override in job} for job in jobs]
    swept = [key for key in settings[0] if len({one.get(key) for one in settings}) > 1] if settings else []
    if not swept:
        return
    if any(key.partition(".")[0] == "launcher" for key in swept):
        raise VoVNetError("the launcher and its keys hold for a whole sweep; give each one value.")
    sweeper = compose(jobs[0]).hydra.sweeper
    by_file = {key_of(name) for name in (*sweeper.params, *sweeper.grids.get(grid, ()))}
    configs: dict[int, RunConfig | None] = {}

    def idle(key: str, place: int) -> Rule | None:
        if place not in configs:
            configs[place] = _typed(compose(jobs[place]))
        return _idle(command, key, configs[place], swept)

    for key in swept:
        pairs = list(_pairs(key, settings))
        if key not in by_file and any(rule.covers(command, key) for rule in RULES):
            # One of two jobs that differ in the key only, since most conditions speak of other keys.
            rules = [idle(key, place) or idle(key, other) for place, other in pairs]
            _refuse_idle(key, rules, [{k: settings[place][k] for k in swept if k != key} for place, _ in pairs])
        for place, other in pairs[:1]:
            _refuse_shared(key, compose, jobs[place], jobs[other])


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


def _idle(command: str, key: str, config: RunConfig | None, swept: Sequence[str]) -> Rule | None:
    """The rule by which a key has no effect in a job; the ends of curves that are swept together are none."""
    rules = () if config is None else (rule for _, rule in without_effect(command, config, [key]))
    return next((rule for rule in rules if rule.end_of not in swept), None)


def _refuse_idle(key: str, rules: Sequence[Rule | None], others: Sequence[Mapping[str, str]]) -> None:
    """Refuse a key that has no effect in some jobs.

    Args:
        rules: for each choice of the other swept keys, the reason why the key has no effect there.
        others: those choices.
    """
    for rule, choice in zip(rules, others, strict=True):
        if rule is None:
            continue
        if all(rules):
            where, fix = "here", "give it no more than one value"
        else:
            where = "where " + " ".join(f"{shown(name)}={value}" for name, value in choice.items())
            fix = f"sweep those jobs by themselves, with one value of {shown(key)}"
        raise VoVNetError(f"{shown(key)} is swept but has no effect {where}: {rule.why}; {fix}.")


def _refuse_shared(key: str, compose: Compose, job: Job, other: Job) -> None:
    """Refuse another folder for the sweep in each of two jobs, or one folder for both."""
    try:
        (base, name), (base_too, name_too) = (
            [str(OmegaConf.select(composed, key)) for key in LIKELY] for composed in map(compose, (job, other))
        )
    except (VoVNetError, OmegaConfBaseException):
        return  # the jobs will say so
    if base != base_too:
        raise VoVNetError(
            f"hydra.sweep.dir changes with {shown(key)}, which is swept ({base}, {base_too}), but a sweep has one "
            "folder; leave the key out of it, or name the jobs' own folders by hydra.sweep.subdir."
        )
    if name != name_too:
        return
    if any(override.startswith(LIKELY[1]) for override in given_overrides(compose(job), "hydra")):
        raise VoVNetError(
            f"hydra.sweep.subdir={name} is the same for every job; leave it out, or name {shown(key)} in it."
        )
    if _typed(compose(job)) != _typed(compose(other)):
        raise VoVNetError(
            f"{shown(key)} is swept but changes no result, so its jobs would have one folder, {name}; run each value "
            "by itself, with another name=NAME."
        )
