"""The device that a model runs on, and the peak memory of a piece of work there."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from vovnet.errors import VoVNetError
from vovnet.ranks import JOBS_AT_ONCE, cores, local_rank

MEGABYTE = 2**20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMINFO, CGROUP, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
RESET_PEAK = "5"  # see proc(5), since Linux 4.0


def reset_peak(device: torch.device) -> None:
    """Start a new count. Only Linux can do so for a process; elsewhere the peak is the one since the process began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(CLEAR, os.W_OK):
        CLEAR.write_text(RESET_PEAK)


def peak_mb(device: torch.device) -> float:
    """Peak memory in MB: what torch allocated on a GPU, or all that this process holds, libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    if STATUS.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024 / MEGABYTE
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take there; on a CPU its share where jobs of a sweep share the machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_free_on_cpu()) // (int(os.environ.get("LOCAL_WORLD_SIZE", 1)) * int(os.environ.get(JOBS_AT_ONCE, 1)))


def _free_on_cpu() -> Iterator[int]:
    """What the machine has free, and the control groups that this process is in (Linux, version 2)."""
    if not MEMINFO.exists():
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return
    yield 1024 * int(re.findall(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())[0])
    own = re.findall(r"^0::/(.*)$", CGROUP.read_text(), re.MULTILINE) if CGROUP.exists() else []
    for place in [GROUPS / name for name in own]:
        for folder in (place, *place.parents):
            if folder.is_relative_to(GROUPS) and (most := _read_group(folder / "memory.max")).isdigit():
                cached = re.findall(r"^inactive_file (\d+)$", _read_group(folder / "memory.stat"), re.MULTILINE)
                yield max(0, int(most) - int(_read_group(folder / "memory.current")) + sum(map(int, cached)))


def _read_group(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""


def pick_device(name: str) -> torch.device:
    """The device a key like ``auto`` or ``cuda:1`` means; of several ranks each takes its own.

    Raises:
        VoVNetError: it does not exist here.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise VoVNetError(f"backbone.device={name} is no device; use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise VoVNetError(
            f"backbone.device={name}, but this machine has {torch.cuda.device_count()} CUDA devices; use cpu."
        )
    return device


def placement(device: torch.device, quantised: str | None) -> dict[str, torch.device] | None:
    """``device_map`` of a model that is loaded straight to its device; quantised weights are arranged for theirs."""
    return {"": device} if device.type == "cuda" or quantised is not None else None


MOST_THREADS = 8


def threads_of(asked: int | Literal["auto"], device: torch.device) -> int:
    """Threads that prepare images for a device: as asked, or by the cores there are for it.

    On a CPU none: the model needs the cores itself.
    """
    if asked != "auto":
        return asked
    if device.type == "cpu":
        return 0
    sharers = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) * int(os.environ.get(JOBS_AT_ONCE, 1))
    return max(1, min(MOST_THREADS, cores() // sharers - 1))
