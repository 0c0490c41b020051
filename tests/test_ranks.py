"""Processes that belong to a command end with it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = "import time; from vovnet.ranks import end_with_parent; end_with_parent(); print(flush=True); time.sleep(60)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def alive(process: int) -> bool:
    """Neither gone nor a zombie that nobody has asked after."""
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_job_ends_when_the_command_that_started_it_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def descendants(process: int) -> set[int]:
    """Processes that it has started, and those that these have."""
    listed = Path(f"/proc/{process}/task/{process}/children")
    children = {int(child) for child in listed.read_text().split()} if listed.exists() else set[int]()
    return children.union(*map(descendants, children))


def name_of(process: int) -> str:
    file = Path(f"/proc/{process}/comm")
    return file.read_text().strip() if file.exists() else ""


@pytest.mark.parametrize(
    ("entry", "arguments", "number"),
    [
        ("prepare", ("dataset=mini_mmbench",), signal.SIGKILL),
        ("prepare", ("dataset=mini_mmbench",), signal.SIGTERM),
        ("collect", ("launcher=local", "launcher.jobs=2"), signal.SIGKILL),
    ],
)
def test_no_command_leaves_a_process_behind(
    entry: str, arguments: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    """Ended as soon as its first process begins, which then has to find that its parent is gone already."""
    call = [sys.executable, "-m", f"experiments.{entry}", f"paths.runs={tmp_path}/runs", *arguments]
    with (tmp_path / "said").open("wb") as said:
        command = subprocess.Popen(call, stdout=said, stderr=said)
    left, deadline = set[int](), time.monotonic() + 60
    while not left and command.poll() is None and time.monotonic() < deadline:
        left = {child for child in descendants(command.pid) if name_of(child) != "git"}
        time.sleep(0.01)
    assert left, (tmp_path / "said").read_text()
    command.send_signal(number)
    command.wait(30)
    while any(map(alive, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in left if alive(child)]
