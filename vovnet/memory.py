"""The peak memory of a piece of work: of a GPU, or of this process where the model runs on the CPU."""

import os
import re
import resource
import sys
from pathlib import Path

import torch

MEGABYTE = 2**20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
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
