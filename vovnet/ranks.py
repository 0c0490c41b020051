"""Which process of several this is; set by torchrun, by srun or by ``vovnet.rank_launch``.

SLURM_STEP_NUM_TASKS says that srun has started this process. SLURM_NTASKS also stands in the shell that an
allocation opens, where a command runs alone.
"""

import os
import threading
import time
from typing import Any

from vovnet.errors import VoVNetError

PARENT_EVERY = 0.2  # seconds
JOBS_AT_ONCE = "VOVNET_JOBS_AT_ONCE"  # jobs of a sweep that share this machine's cores
PARENT = "VOVNET_PARENT"  # names the process without which this one is to end


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Number of this process among all, from 0."""
    return int(os.environ.get("RANK") or _of_step("SLURM_PROCID") or 0)


def local_rank() -> int:
    """Number of this process on its node."""
    return int(os.environ.get("LOCAL_RANK") or _of_step("SLURM_LOCALID") or 0)


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1)


def is_main_rank() -> bool:
    """Whether this process writes what all have computed."""
    return rank() == 0


def check_ranks(devices: int, nodes: int) -> None:
    """Compare the ranks that run with those that the trainer's keys ask for.

    Raises:
        VoVNetError: they differ.
    """
    if (wanted := devices * nodes) != world_size():
        raise VoVNetError(
            f"trainer.devices={devices} on trainer.num_nodes={nodes} needs {wanted} processes, but {world_size()} run; "
            "start as many (launcher.tasks_per_node, torchrun --nproc-per-node) or set trainer.devices."
        )


def wait_for_all() -> None:
    """Until every rank is here."""
    from torch import distributed  # which most commands do without

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def from_all(value: Any) -> list[Any]:
    """The values of all ranks, in their order, on every rank."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def end_with_parent(parent: int | None = None) -> None:
    """End this process when the command that started it is gone: another try would find it in the same folder.

    Args:
        parent: that command's process; without it the one that the environment names. It may be gone already, so that
            ``os.getppid()`` would be another.
    """
    named = os.environ.pop(PARENT, None)
    threading.Thread(target=_watch, args=(parent or int(named or os.getppid()),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY)
    os._exit(1)


def _of_step(name: str) -> str | None:
    return os.environ.get(name) if "SLURM_STEP_NUM_TASKS" in os.environ else None
