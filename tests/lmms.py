"""lmms-eval for tests: a pinned wheel without what it declares, and what it imports, fetched once into the cache."""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from vovnet.locks import Claim

ROOT = Path(__file__).resolve().parents[1]
TASKS = Path(__file__).with_name("data") / "lmms_tasks"
# 52 MB, some 20 seconds. filelock: lmms-eval imports its private module _api, which 4.3 has not.
PINNED = (
    "lmms-eval==0.7.3 filelock==3.20.0 loguru==0.7.3 pytz==2025.2 tenacity==9.1.2 evaluate==0.4.6 sacrebleu==2.5.1 "
    "portalocker==3.2.0 tabulate==0.9.0 colorama==0.4.6 lxml==6.0.2 requests==2.32.5 urllib3==2.5.0 certifi idna "
    "charset-normalizer pytablewriter==1.2.1 dataproperty==1.1.1 mbstrdecoder==1.1.5 typepy==2.0.0 pathvalidate==3.3.1 "
    "tcolorpy==0.1.7 tabledata==1.3.5 chardet==7.7.0"
).split()


def lmms_folder() -> Path:
    """The folder that holds lmms-eval, with this tree's entry points beside it; skips the test without the registry."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vovnet-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder, claim = cache / "lmms-eval-0.7.3", Claim(cache / "lmms.lock")
    claim.take()
    try:
        if not folder.is_dir():
            made = Path(tempfile.mkdtemp(dir=cache))
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(made), *PINNED]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"lmms-eval cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
            made.rename(folder)
    finally:
        claim.release()
    return folder


def entry_points(folder: Path) -> Path:
    """A folder for the path whose metadata announce what pyproject.toml says, whatever was installed before."""
    metadata = folder / "vovnet_of_this_tree-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vovnet-of-this-tree\nVersion: 0\n")
    with (ROOT / "pyproject.toml").open("rb") as file:
        said = tomllib.load(file)["project"]["entry-points"]["lmms_eval.models"]
    lines = "".join(f"{name} = {place}\n" for name, place in said.items())
    (metadata / "entry_points.txt").write_text(f"[lmms_eval.models]\n{lines}")
    return folder
