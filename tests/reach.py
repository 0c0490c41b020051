"""Which files of the product have functions that a job calls: those that one has to read to follow it.

python -m tests.reach       (prints the files of one further lambda of a replayed sweep, and of one further live row)

What is imported and not called does not count, nor what happens once a sweep: composing, loading, collecting, merging.
"""

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import experiments
import vovnet
from experiments import eval as entry

ROOTS = tuple(Path(package.__path__[0]).resolve() for package in (vovnet, experiments))
SMALL = ("training.max_samples=64", "training.epochs=1", "eval.max_samples=8", "eval.batch_size=8")
MOST = {"a further lambda": 30, "a further live row": 40}  # files
KEYS = {"a further lambda": (), "a further live row": ("eval.mode=live",)}


class Called:
    """Gathers the files of functions that are called."""

    def __init__(self) -> None:
        self.files = set[str]()

    def begin(self) -> None:
        """Gather from now on, in this thread and in those that it starts."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def end(self) -> None:
        """Gather no more."""
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # as its documentation says

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            path = frame.f_code.co_filename
            self.files.update(str(Path(path).relative_to(root.parent)) for root in ROOTS if path.startswith(f"{root}/"))


def of_the_last_job(runs: Path, *overrides: str) -> list[str]:
    """The files of a sweep's third job, from the end of the second one; the earlier ones load and collect."""
    called, ended, run = Called(), list[Path](), entry.run

    def watched(*given: Any) -> Any:
        found = run(*given)
        called.end()
        ended.append(given[1])
        if len(ended) == 2:
            called.begin()
        return found

    entry.run = watched
    try:
        vovnet.run("eval", ["-m", "policy.lambda_cost=0,0.05,0.1", f"paths.runs={runs}", *SMALL, *overrides])
    finally:
        called.end()
        entry.run = run
    return sorted(called.files)


def reach(runs: Path) -> dict[str, list[str]]:
    """The files of each kind of job, in a folder where nothing has run yet."""
    vovnet.run("train", [f"paths.runs={runs}", *SMALL])
    return {kind: of_the_last_job(runs, *keys) for kind, keys in KEYS.items()}


def main(show: Callable[[str], object] = print) -> None:
    """Print them."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, files in reach(Path(folder)).items():
            show("\n".join([f"{kind}: {len(files)} files (at most {MOST[kind]})", *(f"  {file}" for file in files)]))


if __name__ == "__main__":
    main()
