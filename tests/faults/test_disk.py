"""A disk that is full or may not be written: one sentence, and what was finished stays."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import place
from tests.faults.harness import Job, final, leftovers, on_disk, printed, rows_held
from vovnet.training.steps import newest_checkpoint

pytestmark = pytest.mark.slow
ROOMY = 64 << 20  # bytes


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Path]]:
    """The runs' folder as a disk of some bytes; called again it gets another size."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    runs = place(tmp_path_factory)

    def resize(size: int) -> Path:
        runs.mkdir(parents=True, exist_ok=True)
        again = "remount," if runs.is_mount() else ""
        mount("-t", "tmpfs", "-o", f"{again}size={size}", "tmpfs", str(runs))
        return runs

    yield resize
    if runs.is_mount():
        subprocess.run(["umount", str(runs)], check=True)


def one_sentence(runs: Path) -> str:
    """What a command said of its failure."""
    said = printed(runs)
    assert "Traceback" not in said, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    return errors[0]


@pytest.mark.parametrize(
    ("name", "share"), [("collect", 0.2), ("collect", 0.8), ("policy", 0.8), ("stage 1", 0.2), ("report", 0.8)]
)
def test_a_full_disk_is_said_and_with_more_room_it_goes_on(
    calm, jobs: dict[str, Job], disk: Callable[[int], Path], name: str, share: float
) -> None:
    undisturbed, job = calm(name), jobs[name]
    runs = disk(ROOMY)
    job.reset(runs)
    begin = on_disk(runs)
    disk(begin + int(share * (undisturbed.bytes - begin)))
    assert job.run(runs) == 1, printed(runs)
    assert re.search("No space left on device|0 MB are free at", one_sentence(runs))
    held = rows_held(runs / "outcomes")
    checkpoints = [found for stage in ("stage1", "stage2") for found in _newest(runs, stage)]
    disk(ROOMY)
    job.finish(runs)
    if checkpoints and name == "policy":
        assert f"going on from {checkpoints[-1]}" in printed(runs)
    found = final(runs)
    assert [name for name in undisturbed.files if found.get(name) != undisturbed.files[name]] == []
    assert leftovers(runs) == []
    assert held <= rows_held(runs / "outcomes")


def _newest(runs: Path, stage: str) -> list[Path]:
    found = (newest_checkpoint(folder, stage) for folder in runs.rglob("steps"))
    return [path for path in found if path is not None]


def test_a_sweep_on_a_full_disk_lists_what_failed(calm, jobs: dict[str, Job], disk: Callable[[int], Path]) -> None:
    undisturbed, job = calm("sweep"), jobs["sweep"]
    runs = disk(ROOMY)
    job.reset(runs)
    disk(on_disk(runs) + 64 * 1024)
    assert job.run(runs) == 1
    assert "Traceback" not in printed(runs)
    assert "No space left on device" in printed(runs)
    disk(ROOMY)
    job.finish(runs)
    found = final(runs)
    assert [name for name in undisturbed.files if found.get(name) != undisturbed.files[name]] == []


@pytest.mark.parametrize("name", ["collect", "policy"])
def test_a_read_only_folder_is_said(jobs: dict[str, Job], disk: Callable[[int], Path], name: str) -> None:
    runs = disk(ROOMY)
    mount("-o", "remount,ro", str(runs))
    assert jobs[name].run(runs) == 1
    assert "Read-only file system" in one_sentence(runs)


def test_a_read_only_store_serves_and_refuses_what_it_lacks(
    jobs: dict[str, Job], disk: Callable[[int], Path], tmp_path: Path
) -> None:
    store, runs = disk(ROOMY), tmp_path / "runs"
    job = Job(jobs["collect"].entry, (*jobs["collect"].arguments, f"paths.store={store}"))
    job.reset(runs)
    job.finish(runs)
    mount("-o", "remount,ro", str(store))
    job.finish(runs)
    assert "0 text, 0 no, 0 coarse, 0 full" in printed(runs)
    assert Job(job.entry, (*job.arguments, "eval.num_beams=2")).run(runs) == 1
    assert "Read-only file system" in one_sentence(runs)
