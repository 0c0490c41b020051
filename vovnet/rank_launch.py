"""Several ranks on this machine: the same work in as many processes, as torchrun would start them."""

import faulthandler
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vovnet.errors import VoVNetError, explained
from vovnet.files import write_bytes
from vovnet.job_config import read_config, write_config
from vovnet.ranks import cores, end_with_parent, rank, world_size
from vovnet.schema import RunConfig
from vovnet.terminal import log_handler

log = logging.getLogger(__name__)
ERROR_FILE = "rank-{}.error"
FEWEST = 4  # ranks that may be tried on any CPU
GRACE = 20.0  # seconds that the other ranks get to end by themselves when one has failed


def needs_launch(config: RunConfig) -> bool:
    """Whether ranks are asked for that nobody (torchrun, srun) has started."""
    return config.trainer.devices > 1 and world_size() == 1


def launch_ranks(config: RunConfig, folder: Path, module: str, again: str) -> None:
    """Run a module in ``trainer.devices`` processes and wait for them.

    Args:
        folder: takes the configuration and the errors of ranks; the module's only argument.
        again: what the same command does after a rank was ended by a signal.

    Raises:
        VoVNetError: several nodes are asked for, or a rank failed (with its own sentence).
    """
    if config.trainer.num_nodes > 1:
        raise VoVNetError("trainer.num_nodes > 1 needs launcher=slurm, or torchrun on every node.")
    ranks = config.trainer.devices
    if config.backbone.device != "cpu" and torch.cuda.is_available():
        most, what = torch.cuda.device_count(), "CUDA devices"
    else:
        most, what = max(FEWEST, os.cpu_count() or 1), "processes to start on its cores"
    if ranks > most:
        raise VoVNetError(f"trainer.devices={ranks}, but this machine has {most} {what}; lower it.")
    write_config(config, folder)
    for number in range(ranks):
        (folder / ERROR_FILE.format(number)).unlink(missing_ok=True)
    processes = [
        subprocess.Popen([sys.executable, "-m", module, str(folder)], env=os.environ | place)
        for place in _places(ranks)
    ]
    try:
        _wait(processes)
        statuses = [process.poll() for process in processes]  # before those that wait in vain are killed
    finally:
        for process in processes:
            process.kill()
    _explain(statuses, folder, again)


def _places(ranks: int) -> list[dict[str, str]]:
    """What tells each rank its place; the ranks find each other on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = max(1, cores() // ranks)
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    return [common | {"RANK": str(number), "LOCAL_RANK": str(number)} for number in range(ranks)]


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until all ranks have ended; once one has failed, the others wait for it in vain and get a grace period."""
    deadline: float | None = None
    while any(process.poll() is None for process in processes):
        if deadline is None and any(process.poll() for process in processes):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _explain(statuses: Sequence[int | None], folder: Path, again: str) -> None:
    """Say which rank failed: with its own sentence, else ended by a signal, which the others' connections fail after.

    Args:
        statuses: how each rank ended; None where it still waited for another one.
    """
    for number in range(len(statuses)):
        if (file := folder / ERROR_FILE.format(number)).is_file():
            raise VoVNetError(file.read_text(encoding="utf-8"))
    failed = [(status, number) for number, status in enumerate(statuses) if status]
    if failed:
        status, number = min(failed)
        which = f"rank {number} of {len(statuses)} {_ended(status)}"
        raise VoVNetError(f"{which}; the same command {again}.")


def _ended(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"


def run_rank(folder: Path, work: Callable[[RunConfig], object]) -> None:
    """Be one of the ranks: do its work, or leave the sentence of its error where ``launch_ranks`` reads it."""
    faulthandler.enable()  # a crash in compiled code leaves the stack of every thread on stderr
    end_with_parent()
    level = logging.INFO if rank() == 0 else logging.WARNING
    logging.basicConfig(level=level, handlers=[log_handler("%(asctime)s %(message)s", "%H:%M:%S")])
    config = read_config(folder)
    try:
        work(config)
    except (VoVNetError, OSError) as error:
        problem = explained(error)
        if not isinstance(problem, VoVNetError):
            raise
        write_bytes(folder / ERROR_FILE.format(rank()), str(problem).encode())
        sys.exit(1)
