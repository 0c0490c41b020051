"""What a job needs that is known at once: installed packages and room on the disk. Imports no library."""

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig

LOGGERS = ("tensorboard", "wandb")  # each needs the package and has the extra of its name
LEAST_DISK = 50 * 2**20  # bytes that tables, logs and checkpoints may take


@dataclass(frozen=True)
class Finding:
    """What was found of one need.

    Attributes:
        need: such as ``weights``.
        said: a sentence.
        problem: the command would fail.
    """

    need: str
    said: str
    problem: bool = False


def quick_problems(config: RunConfig) -> Iterator[Finding]:
    """A package that is missing, a disk that is full."""
    name = config.logger.name
    if name in LOGGERS and importlib.util.find_spec(name) is None:
        said = f"logger={name} needs a package that is not installed: pip install 'vovnet[{name}]'."
        yield Finding("packages", said, problem=True)
    if (free := free_bytes(config)) < LEAST_DISK:
        said = f"{free / 2**20:.0f} MB are free at paths.runs={config.paths.runs}; make room, or set another folder."
        yield Finding("disk", said, problem=True)


def refuse_problems(config: RunConfig) -> None:
    """End a job before any work, with all that it lacks.

    Raises:
        VoVNetError: names each problem.
    """
    if problems := [finding.said for finding in quick_problems(config)]:
        raise VoVNetError(" ".join(problems))


def free_bytes(config: RunConfig) -> int:
    """Free bytes where results go."""
    place = Path(config.paths.runs).expanduser().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
