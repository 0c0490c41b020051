"""Where a result comes from: versions, commit, machine, and whether it would come out the same again."""

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import features

from vovnet.session import Session

SUMMARY = "summary.json"  # where a run says it
PACKAGES = (
    "vovnet", "torch", "transformers", "tokenizers", "jinja2", "pillow", "torchvision", "numpy", "safetensors", "peft",
    "huggingface-hub", "lightning", "hydra-core", "pyarrow", "datasets",
)  # fmt: skip
WHY_NOT = (
    "CUDA kernels add in no fixed order: with the same seed, weights and estimates differ in their last bits, and "
    "decisions where two actions are as good"
)


def provenance(session: Session | None = None) -> dict[str, Any]:
    """Versions of what took part, and the git commit when run from a checkout, which is asked for once a session."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {**{name: _version(name) for name in PACKAGES}, "libjpeg": _libjpeg()},
        "determinism": determinism(),
        **(session or Session()).once("git", None, git_state),
    }


def determinism() -> dict[str, Any]:
    """Where this process has computed, and whether the same seed gives the same bits there.

    A process that has not even imported torch has decided from stored rows; the note in a table's ``table.json``
    says on which device those were computed.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"device": None if torch is None else "cpu", "deterministic_algorithms": None, "same_bits": True}
    fixed = torch.are_deterministic_algorithms_enabled()
    return {
        "device": torch.cuda.get_device_name(),
        "deterministic_algorithms": fixed,
        "same_bits": fixed,
        **({} if fixed else {"why": WHY_NOT}),
    }


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # not installed, or a checkout that never was
        return None


def _libjpeg() -> str | None:
    """The library that Pillow decodes JPEG files with; builds of one version of Pillow have several."""
    turbo = features.version_feature("libjpeg_turbo")
    return f"turbo {turbo}" if turbo else features.version_codec("jpg")


def git_state() -> dict[str, Any]:
    """Commit of the checkout that this code runs from, and whether files differ from it; None outside of one."""
    root = Path(__file__).resolve().parents[1]
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
