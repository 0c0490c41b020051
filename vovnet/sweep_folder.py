"""The folder of a sweep: named before Hydra composes any job, and marked when the sweep begins."""

import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vovnet.arguments import add_override
from vovnet.compose import check_launcher, digest, quoted
from vovnet.errors import VoVNetError
from vovnet.explain import own_sentence
from vovnet.jobs import begin_sweep, sweep_token
from vovnet.locks import Claim
from vovnet.options import conf_dir
from vovnet.terminal import say

LOCK_FILE = "sweep.lock"
USUAL = "${job_id:}"  # hydra.sweep.subdir in conf/base.yaml: a hash, or "refused-" and one


class SweepCallback(Callback):
    """Learns the folder of a sweep before any job, and holds what there is once for a sweep.

    Attributes:
        token: tells this command's sweep from others in the same folder.
        place: keeps other commands out of the folder; None until the first job is planned.
    """

    folder: Path | None = None
    token: str = ""
    place: Claim | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the sweep's folder."""
        SweepCallback.folder = Path(config.hydra.sweep.dir).absolute()


def forget_sweep() -> None:
    """Leave the sweep of this process, if there is one, to others."""
    leave_folder()
    SweepCallback.folder, SweepCallback.token, SweepCallback.place = None, "", None


def enter_folder(planned: Sequence[Sequence[str]]) -> None:
    """Wait until no other command works in the folder of this sweep, then write down its jobs there.

    Args:
        planned: the overrides of every job.
    """
    folder = SweepCallback.folder
    assert folder is not None
    if SweepCallback.place is None:
        folder.mkdir(parents=True, exist_ok=True)
        SweepCallback.place, SweepCallback.token = Claim(folder / LOCK_FILE), uuid.uuid4().hex
        if not SweepCallback.place.take(wait=False):
            say(f"another command runs a sweep in {folder}; waiting for its end", file=sys.stderr)
            SweepCallback.place.take()
    begin_sweep(folder, SweepCallback.token, planned)


def leave_folder() -> None:
    """Let other commands begin a sweep in the same folder, now that its jobs go on without this one."""
    if SweepCallback.place is not None:
        SweepCallback.place.release()


def return_to_folder() -> None:
    """Keep other commands out again while the results of the jobs are merged.

    Raises:
        VoVNetError: one has begun the same sweep meanwhile.
    """
    folder, place = SweepCallback.folder, SweepCallback.place
    assert folder is not None
    assert place is not None
    _refuse_newer(folder)  # which may hold the folder until its last job has ended
    place.take()
    _refuse_newer(folder)


def _refuse_newer(folder: Path) -> None:
    if sweep_token(folder) != SweepCallback.token:
        raise VoVNetError(
            f"the same sweep was begun again meanwhile; that one writes the tables in {folder}, and where it has "
            "ended without them, run this command again."
        )


def refuse_nested(jobs: Sequence[Sequence[str]], compose_job: Callable[[Sequence[str]], DictConfig]) -> None:
    """Refuse a job whose folder is not directly in the sweep's, where its result would not be found.

    Raises:
        VoVNetError: names the folder.
    """
    usual = set[tuple[str, ...]]()  # what may name another folder, in jobs where it does not
    for number, job in enumerate(jobs):
        naming = tuple(o for o in job if o.lstrip("+").startswith(("experiment=", "hydra.")))
        if naming in usual:
            continue
        composed = compose_job(job)
        sweep: Any = OmegaConf.to_container(composed.hydra.sweep, resolve=False)
        if sweep["subdir"] == USUAL:
            usual.add(naming)
            continue
        with open_dict(composed):  # as Hydra's launcher does
            composed.hydra.job.id = composed.hydra.job.num = number
        try:
            name = str(composed.hydra.sweep.subdir)
        except (VoVNetError, OmegaConfBaseException):
            continue  # its job will say so
        if "/" in name or name in ("", ".", ".."):
            raise VoVNetError(
                f"hydra.sweep.subdir={name} is no folder directly in the sweep's own; name each job's folder without a "
                "slash, as in '${hydra.job.num}'."
            )


def swept_folder() -> Path | None:
    """The folder of this process's sweep, once one has begun."""
    return SweepCallback.folder


def pin_sweep_folder(config_name: str) -> bool:
    """Fix the folder of a sweep on the command line; whether it is one.

    Hydra composes ``hydra.sweep.dir`` anew in every job, from the job's own overrides; only what
    stands on the command line is the same for the launcher and for all jobs on all machines.
    The folder is named after the run, and after a hash of what the command line adds to it.

    Raises:
        VoVNetError: there can be no such folder.
    """
    overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    given = [o.partition("=")[0].lstrip("+") for o in overrides]
    asked = {"-m", "--multirun"} & set(sys.argv[1:])
    if "hydra.sweep.dir" in given or not (asked or {"experiment", "launcher"} & set(given)):
        return bool(asked)
    try:
        fixed = [o.input_line for o in OverridesParser.create().parse_overrides(overrides) if not o.is_sweep_override()]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose(config_name, [o for o in fixed if o], return_hydra_config=True)
        if not asked and config.hydra.mode != RunMode.MULTIRUN:
            return False
        idle = ("experiment", "name", "launcher")  # the launcher changes no result
        added = sorted(o for o, key in zip(overrides, given, strict=True) if key.partition(".")[0] not in idle)
        check_launcher(config)
        path = Path(config.hydra.sweep.dir).expanduser().absolute()
        if added and "name" not in given:
            path = path.with_name(f"{path.name}-{digest(added, 8)}")
    except (HydraException, OmegaConfBaseException) as error:
        if ours := own_sentence(error):
            raise VoVNetError(ours) from error
        return False  # the composition that follows fails alike, and explains itself
    add_override(f"hydra.sweep.dir={quoted(str(path))}")
    return True
