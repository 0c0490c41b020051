"""Where a result comes from: versions, commit, machine."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("vovnet", "torch", "transformers", "lightning", "hydra-core", "pyarrow", "numpy")


def provenance() -> dict[str, Any]:
    """Versions of what took part, and the git commit when run from a checkout."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in PACKAGES},
        **git_state(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # a checkout that was never installed
        return None


@cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout that this code runs from, and whether files differ from it; None outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    commit = _run(root, "rev-parse", "HEAD")
    status = _run(root, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit or None, "git_dirty": None if status is None else bool(status)}


def _run(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git here; the summary then says null
        return None
    return done.stdout.strip() if done.returncode == 0 else None
