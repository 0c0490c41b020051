"""The folder of a sweep: named before Hydra composes any job, and marked when the sweep begins."""

import sys
import uuid
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
from vovnet.files import write_json
from vovnet.jobs import SWEEP_FILE


class SweepCallback(Callback):
    """Marks the start of a sweep, so that its own jobs are told from older ones in the same folder."""

    folder: Path | None = None
    token: str = ""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the sweep's folder and give this sweep a token."""
        folder = Path(config.hydra.sweep.dir).absolute()
        overrides = list(config.hydra.overrides.task)
        SweepCallback.token = uuid.uuid4().hex
        write_json(folder / SWEEP_FILE, {"token": SweepCallback.token, "overrides": overrides})
        SweepCallback.folder = folder


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
    # Beside the other overrides: the argument parser takes them in one run only.
    place = sys.argv.index(overrides[0]) if overrides else len(sys.argv)
    sys.argv.insert(place, f"hydra.sweep.dir={quoted(str(path))}")
    return True
