"""A measurement and how it is taken: in turns with its yardstick, so that a busy machine slows both alike."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError

LONG_ENOUGH = 10.0  # seconds


@dataclass(frozen=True)
class Measurement:
    """One figure against its target.

    Attributes:
        name: what was measured.
        value: the figure; lower is better.
        unit: ``x`` for a ratio, ``s``, ``MB``.
        target: the most it should be.
        detail: the figures behind a ratio.
    """

    name: str
    value: float
    unit: str
    target: float
    detail: str

    @property
    def passed(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target

    def as_json(self) -> dict[str, Any]:
        """As performance.json holds it."""
        return {
            "name": self.name,
            "value": float(f"{self.value:.4g}"),
            "unit": self.unit,
            "target": self.target,
            "passed": self.passed,
            "detail": self.detail,
        }


def seconds(work: Callable[[], object]) -> float:
    """How long a piece of work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(name: str, ours: Callable[[], float], bare: Callable[[], float], target: float, rounds: int) -> Measurement:
    """Median over rounds of our seconds by the bare ones', both measured in every round.

    Args:
        ours, bare: do the work once and return its seconds.
        rounds: at least; work that is soon done is measured for ``LONG_ENOUGH`` seconds, since a short one varies more.
    """
    pairs: list[tuple[float, float]] = []
    while len(pairs) < rounds or sum(map(sum, pairs)) < LONG_ENOUGH:
        pairs.append((ours(), bare()))
    value = statistics.median(one / other for one, other in pairs)
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Measurement(name, value, "x", target, f"{first:.3f} s against {second:.3f} s")


def peak_mb() -> float:
    """The most memory that this program has held. Linux's getrusage counts what its parent held as well."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(what: str, module: str, *arguments: object) -> dict[str, Any]:
    """The JSON that a module prints last, run in a process whose memory and caches are nobody else's.

    Raises:
        VoVNetError: it failed at ``what``.
    """
    call = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        raise VoVNetError(f"{what} failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
