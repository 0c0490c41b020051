"""Jobs as processes of this machine, some at once."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from vovnet.jobs import Record
from vovnet.ranks import JOBS_AT_ONCE, cores
from vovnet.schema import LocalLauncher

LOG_FILE = "output.log"  # in a job's folder: what it printed


@dataclass
class LocalPool:
    """Starts a waiting job whenever one has ended."""

    launcher: LocalLauncher
    entry: str
    waiting: list[Path] = field(default_factory=list)
    running: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)
    slots: dict[Path, int] = field(default_factory=dict)  # which of the jobs that run at once a job is
    ended: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = self.launcher.places()

    def find(self, folders: Sequence[Path]) -> Mapping[Path, Record]:
        """None: the processes of an earlier command have ended with it."""
        return {}

    def submit(self, folders: Sequence[Path]) -> str:
        """Start the first jobs; returns what to call them all."""
        self.waiting += folders
        self._start()
        return f"{len(folders)} jobs, {len(self.places)} at once"

    def over(self) -> Mapping[Path, str]:
        """Jobs whose process has ended, each with how and where its log is."""
        for folder, process in list(self.running.items()):
            if (status := process.poll()) is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                self.ended[folder] = f"{how}; see {folder / LOG_FILE}"
                del self.running[folder], self.slots[folder]
        self._start()
        return self.ended

    def state(self) -> str:
        """How many wait and run."""
        return f"{len(self.waiting)} waiting, {len(self.running)} running"

    def leave(self) -> str:
        """End the processes, since nobody waits for them any more."""
        self.waiting.clear()
        for process in self.running.values():
            process.terminate()
        return "its jobs were ended"

    def _start(self) -> None:
        while self.waiting and len(self.running) < len(self.places):
            folder = self.waiting.pop(0)
            slot = min(set(range(len(self.places))) - set(self.slots.values()))
            with (folder / LOG_FILE).open("wb") as output:
                self.running[folder] = self._process(folder, slot, output)
            self.slots[folder] = slot

    def _process(self, folder: Path, slot: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vovnet.cluster.work", self.entry, str(folder)]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment(slot))

    def environment(self, slot: int) -> dict[str, str]:
        """Of a job: its device, and its share of the cores, which jobs of as many threads each would fight for."""
        at_once = len(self.places)
        shared = {"OMP_NUM_THREADS": str(max(1, cores() // at_once))} | os.environ | {JOBS_AT_ONCE: str(at_once)}
        device = self.places[slot]
        return shared if device is None else shared | {"CUDA_VISIBLE_DEVICES": device}
