"""The device that a backbone runs on."""

import os
from typing import Literal

import torch

from vovnet.errors import VoVNetError
from vovnet.ranks import JOBS_AT_ONCE, cores, local_rank


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
