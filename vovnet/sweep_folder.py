"""The folder of a sweep: its name, and that one command at a time writes into it."""

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vovnet.errors import VoVNetError
from vovnet.fingerprint import digest
from vovnet.jobs import begin_sweep, sweep_token
from vovnet.locks import Claim
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
