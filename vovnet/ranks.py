"""Which of a job's processes this is.

torchrun sets RANK, Lightning's own launcher LOCAL_RANK, and srun SLURM_PROCID in every task. SLURM_NTASKS does
not say that tasks run: it also stands in the shell that an allocation opens, SLURM_STEP_NUM_TASKS does not.
"""

import os


def rank() -> int:
    """Number of this process among the job's; 0 where it is alone."""
    return _first("RANK", "LOCAL_RANK", *_step("SLURM_PROCID"), otherwise=0)


def local_rank() -> int:
    """Number of this process among the job's on this machine."""
    return _first("LOCAL_RANK", *_step("SLURM_LOCALID"), otherwise=0)


def world_size() -> int:
    """Processes of the job."""
    return _first("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", otherwise=1)


def is_main_rank() -> bool:
    """Whether this process writes what belongs to the job as a whole."""
    return rank() == 0


def _step(name: str) -> tuple[str, ...]:
    return (name,) if "SLURM_STEP_NUM_TASKS" in os.environ else ()


def _first(*names: str, otherwise: int) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), otherwise)
