"""What trainings and live runs set of Lightning: who started the ranks, its messages, Ctrl-C."""

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from vovnet.ranks import world_size


class StartedRanks(LightningEnvironment):
    """This process alone, or ranks that ``vovnet.rank_launch`` has started."""

    def teardown(self) -> None:
        """Lightning's own forgets the number of ranks, which what comes next has to know."""


def environment() -> ClusterEnvironment:
    """Who started the ranks. Requeueing is submitit's alone: two owners would requeue twice or not at all."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "LOCAL_RANK" not in os.environ and world_size() > 1:
        return SLURMEnvironment(auto_requeue=False)
    return StartedRanks()


def quiet_lightning() -> None:
    """Show Lightning's warnings only; drop the ones that are about Lightning's own code."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    # A run that goes on finds its own files.
    warnings.filterwarnings("ignore", message=r".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=r".*gradient_checkpointing_enable.*")
    warnings.filterwarnings("ignore", message=r".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*`srun` command is available.*")
    warnings.filterwarnings("ignore", message=r".*module\(s\) in eval mode.*")  # frozen parts are, on purpose


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it Ctrl-C raises KeyboardInterrupt; Lightning leaves the process and ignores Ctrl-C from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from end
