"""The device that a backbone runs on."""

import torch

from vovnet.errors import VoVNetError
from vovnet.ranks import local_rank


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
