"""The folder of a sweep: named before Hydra composes any job, and marked when the sweep begins."""

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vovnet.compose import check_launcher, conf_dir, digest, quoted
from vovnet.errors import VoVNetError
from vovnet.explain import own_sentence
from vovnet.jobs import begin_sweep
from vovnet.locks import Claim

LOCK_FILE = "sweep.lock"


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
            print(f"another command runs a sweep in {folder}; waiting for its end", file=sys.stderr, flush=True)
            SweepCallback.place.take()
    begin_sweep(folder, SweepCallback.token, planned)


def leave_folder() -> None:
    """Let other commands begin a sweep in the same folder, now that its jobs go on without this one."""
    if SweepCallback.place is not None:
        SweepCallback.place.release()


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


def add_override(override: str) -> None:
    """Add an override to the command line, beside the others: the argument parser takes them in one run only."""
    others = [number for number, argument in enumerate(sys.argv[1:], 1) if "=" in argument and argument[0] != "-"]
    sys.argv.insert(others[0] if others else len(sys.argv), override)
