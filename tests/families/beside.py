"""Processes with torchvision, which may not be installed beside the CPU build of torch, and what only they can write.

With it installed every plain command would fail at `import torchvision`, so PyPI's package lies in a folder of its own.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tests.commands import ROOT

VERSION = "0.28.0"
SITE = Path(__file__).parent / "site"
PLACE = "VOVNET_TESTS_CACHE"  # environment variable: a process that a test starts reads what its parent has written
CACHE = Path(os.environ.get(PLACE) or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vovnet-tests")


def has_torchvision() -> bool:
    """Whether this process can import torchvision."""
    return find_spec("torchvision") is not None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where torchvision can be imported."""
    return subprocess.run([sys.executable, *arguments], env=variables(), cwd=ROOT, capture_output=True, text=True)


def variables() -> dict[str, str]:
    """The environment in which torchvision can be imported; it is fetched once for this user."""
    own = [] if has_torchvision() else [str(_once(f"torchvision-{VERSION}", _fetch))]
    path = os.pathsep.join(filter(None, [*own, str(SITE), str(ROOT), os.environ.get("PYTHONPATH")]))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return kept | {"PYTHONPATH": path, PLACE: str(CACHE)}


def checkpoints() -> Path:
    """A folder of all shrunken checkpoints, written once for this code and version of transformers."""
    digest = hashlib.sha256(version("transformers").encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return _once(f"families-{digest.hexdigest()[:16]}", _write)


def _once(name: str, make: Callable[[Path], object]) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / name
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            begun = CACHE / f"{name}.begun"  # of a process that was killed, it is continued
            make(begun)
            begun.rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
    subprocess.run([*pip, f"torchvision=={VERSION}"], check=True)


def _write(folder: Path) -> None:
    done = run("-m", "tests.families", str(folder))
    assert done.returncode == 0, done.stderr
