"""Several ranks: started here, by torchrun or by srun; each reads the job's configuration from its folder."""

import faulthandler
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vovnet.errors import VoVNetError, explained
from vovnet.explain import explain_validation
from vovnet.files import read_object, write_bytes, write_json
from vovnet.jobs import Record, run_recorded, write_record
from vovnet.rank_errors import LOOK_EVERY, RankWatch, clear_errors, leave_error
from vovnet.ranks import PARENT, cores, end_with_parent, is_main_rank, rank, world_size
from vovnet.registry import TRUSTED
from vovnet.schema import RunConfig
from vovnet.terminal import indented, log_handler, say

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"


def write_config(config: RunConfig, folder: Path) -> None:
    """Leave a job's configuration in its folder, and nothing that tasks of an earlier run left there."""
    clear_errors(folder)
    write_json(folder / CONFIG_FILE, asdict(config))


def read_config(folder: Path) -> RunConfig:
    """Read a job's configuration.

    Raises:
        VoVNetError: it cannot be read, or does not fit the code, which may have changed while the job waited.
    """
    try:
        return TypeAdapter(RunConfig).validate_python(read_object(folder / CONFIG_FILE), context=TRUSTED)
    except ValidationError as error:  # a ValueError too
        raise VoVNetError(f"{folder / CONFIG_FILE}: {explain_validation(error)}; submit the job again.") from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise VoVNetError(f"{folder / CONFIG_FILE} is damaged ({said}); submit the job again.") from error


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
    import torch  # only here: it takes seconds to import

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
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder)], env=os.environ | place | {PARENT: str(os.getpid())}
        )
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


def _wait(processes: Sequence[subprocess.Popen[bytes]], grace: float = GRACE) -> None:
    """Until all ranks have ended; once one has failed, the others wait for it in vain and get so many seconds."""
    deadline: float | None = None
    while any(process.poll() is None for process in processes):
        if deadline is None and any(process.poll() for process in processes):
            deadline = time.monotonic() + grace
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


OF_RANKS = ("train", "collect", "eval")  # commands that several ranks may run together
# Seconds that a rank waits with its error. The main rank reports it or fails the same way; the launcher then ends all
# ranks.
PATIENCE = 20.0


def join_ranks(config_name: str) -> None:
    """Prepare this process to be one of several ranks.

    Raises:
        VoVNetError: the command runs in one process, or the ranks would have different folders.
    """
    if config_name not in OF_RANKS:
        raise VoVNetError(f"experiments.{config_name} runs in one process; leave torchrun or srun out.")
    if any("${now:" in argument for argument in sys.argv):
        raise VoVNetError("the ranks of a run would give ${now:...} different values; name the folder yourself.")
    if not is_main_rank():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def refuse_sweep() -> None:
    """A sweep of several ranks.

    Raises:
        VoVNetError: always.
    """
    raise VoVNetError(
        "a sweep is not run by several ranks; leave torchrun or srun out (trainer.devices=N starts the ranks of each "
        "job), or use launcher=slurm."
    )


def run_as_rank(
    work: Callable[[], object], folder: Path, record: Record, reported: set[str] | None = None
) -> Exception | None:
    """Do a job's work as one of its ranks; returns the error that it ended with."""
    if is_main_rank():
        with RankWatch(folder, lambda left: _end_with_rank(left, folder, record)):
            return run_recorded(work, folder, record, reported)
    logging.getLogger().setLevel(logging.WARNING)
    try:
        work()
    except Exception as error:
        problem = explained(error)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            leave_error(folder, problem)  # again: the main rank, which begins later, clears away what it finds
            time.sleep(LOOK_EVERY)
        return problem
    return None


def _end_with_rank(left: Mapping[str, Any], folder: Path, record: Record) -> None:
    """End this process, the main rank, because another rank has failed."""
    try:
        if "traceback" in left:
            say(left["traceback"], file=sys.stderr)
        say(f"error: {indented(left['error'])}", file=sys.stderr)
        write_record(folder, {**record, "status": "failed", "error": left["error"]})
    finally:
        os._exit(1)  # the main thread may wait in a collective operation for ever; files are written whole
