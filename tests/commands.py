"""Commands as a user types them, each in a process of its own.

``typed`` starts Python anew. ``command`` forks a process that has imported everything already: the same command,
seconds earlier. Tests of starting itself use the former.
"""

import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

from vovnet.ranks import PARENT

ROOT = Path(__file__).resolve().parents[1]
Done = subprocess.CompletedProcess[str]

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["tests.warm"])


def command(entry: str, *arguments: str, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> Done:
    """Run ``python -m experiments.ENTRY`` from a warm process."""
    with tempfile.TemporaryDirectory() as folder:
        started = start(entry, *arguments, logs=Path(folder), cwd=cwd, environment=environment)
        return started.done()


@dataclass
class Started:
    """A command that runs."""

    call: list[str]
    process: BaseProcess
    output: Path
    errors: Path

    def done(self, limit: float | None = None) -> Done:
        """Wait for its end, for so many seconds."""
        self.process.join(limit)
        status = self.process.exitcode
        assert status is not None, f"it goes on: {self.errors.read_text()}"
        return Done(self.call, status, self.output.read_text(), self.errors.read_text())

    def said(self) -> str:
        """What it has said so far."""
        return self.errors.read_text() if self.errors.exists() else ""


def start(
    entry: str, *arguments: str, logs: Path, cwd: Path = ROOT, environment: dict[str, str] | None = None
) -> Started:
    """Start ``python -m experiments.ENTRY`` from a warm process; it prints into a folder."""
    logs.mkdir(parents=True, exist_ok=True)
    output, errors = logs / "stdout", logs / "stderr"
    process = WARM.Process(target=_work, args=(entry, arguments, cwd, variables(environment), output, errors))
    process.start()
    return Started([entry, *arguments], process, output, errors)


def typed(entry: str, *arguments: str, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> Done:
    """Run ``python -m experiments.ENTRY``."""
    call = [sys.executable, "-m", f"experiments.{entry}", *arguments]
    return subprocess.run(call, cwd=cwd, env=variables(environment), capture_output=True, text=True)


def last_line(process: Done) -> str:
    """The end of what a command said of itself."""
    return process.stderr.strip().splitlines()[-1]


def become(entry: str, arguments: Sequence[str], output: Path, errors: Path) -> None:
    """Make this process that of a command: what it is called and given, where it prints, and that Ctrl-C ends it."""
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    sys.argv = [entry, *arguments]
    multiprocessing.set_start_method(None, force=True)  # its own workers are made as those of a process started anew
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it from its birth


def run_main(entry: str) -> None:
    """What ``python -m`` does."""
    importlib.import_module(f"experiments.{entry}").main()


def variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command that is run in another folder."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, **(more or {})}


def _take_over(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _work(
    entry: str, arguments: Sequence[str], cwd: Path, environment: dict[str, str], output: Path, errors: Path
) -> None:
    os.chdir(cwd)
    _take_over(environment)
    become(entry, arguments, output, errors)
    with patch("vovnet.stages.subprocess", Stages()) if entry == "pipeline" else nullcontext():
        run_main(entry)


class Stages:
    """Stands for ``subprocess`` in a pipeline: forks this process as it is now for every stage."""

    def __init__(self) -> None:
        self._here, there = multiprocessing.Pipe()
        if os.fork() == 0:
            self._here.close()
            _serve(there)
        there.close()

    def run(self, call: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run ``[python, -m, experiments.ENTRY, …]``."""
        self._here.send((call, env))
        return Done(call, self._here.recv())


class Ranks:
    """Stands for ``subprocess`` where a training starts its ranks."""

    def Popen(self, call: list[str], env: dict[str, str]) -> "Rank":  # noqa: N802  (as it is called there)
        """Start ``[python, -m, MODULE, FOLDER]``."""
        return Rank(call, env)


class Rank:
    """A process of a module, as ``subprocess.Popen`` has it."""

    def __init__(self, call: list[str], environment: dict[str, str]) -> None:
        self._process = WARM.Process(target=_run_module, args=(call[2:], environment))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end; returns the exit status."""
        self._process.join()
        return self._process.exitcode

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def _run_module(call: list[str], environment: dict[str, str]) -> None:
    _take_over(environment | {PARENT: str(os.getppid())})
    sys.argv = call
    sys.modules.pop(call[0], None)  # runpy warns of a module that is there already
    runpy.run_module(call[0], run_name="__main__", alter_sys=True)


def _serve(requests: Connection) -> NoReturn:
    """Fork for every stage that is asked for, until the pipeline has ended."""
    while True:
        try:
            call, environment = requests.recv()
        except EOFError:
            os._exit(0)
        stage = os.fork()
        if stage == 0:
            _take_over(environment | {PARENT: str(os.getppid())})
            sys.argv = call[2:]
            os._exit(_status(call[2].removeprefix("experiments.")))
        requests.send(os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1]))


def _status(entry: str) -> int:
    """Run a command; returns what its process would leave with."""
    try:
        run_main(entry)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
