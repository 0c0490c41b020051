"""Which process of several this is; set by torchrun, by srun or by ``vovnet.training.launch``."""

import os


def rank() -> int:
    """Number of this process among all, from 0."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def local_rank() -> int:
    """Number of this process on its node."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)


def is_main_rank() -> bool:
    """Whether this process writes what all have computed."""
    return rank() == 0
