"""Time and memory on a device, and what the device can reach at most."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tests.performance.floors import Rates


@dataclass(frozen=True)
class Timed:
    """Median seconds of some repetitions, and the most memory held meanwhile, bytes (None on a CPU)."""

    seconds: float
    peak: int | None


def once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one repetition: by device events on CUDA, by the wall clock on a CPU."""
    if device.type != "cuda":
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize(device)
    return float(begin.elapsed_time(end)) / 1000  # milliseconds


def timed(work: Callable[[], object], device: torch.device, rounds: int, warm: int = 1) -> Timed:
    """The median of ``rounds`` repetitions after ``warm`` that are not counted."""
    for _ in range(warm):
        work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = statistics.median(once(work, device) for _ in range(rounds))
    return Timed(seconds, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None)


def measured_rates(device: torch.device, dtype: torch.dtype, side: int, size: int) -> Rates:
    """The rate of a square matrix product and of a copy; the best of some repetitions.

    Args:
        side: of the matrices.
        size: bytes of the copied buffer.
    """
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.ones(size, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    for _ in range(3):
        a @ b
        target.copy_(source)
    product = min(once(lambda: a @ b, device) for _ in range(10))
    copy = min(once(lambda: target.copy_(source), device) for _ in range(10))
    return Rates(2 * side**3 / product, 2 * size / copy)
