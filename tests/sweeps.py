"""A sweep's jobs as its task is handed them."""

from collections.abc import Sequence
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from vovnet.compose import register_resolvers
from vovnet.options import conf_dir
from vovnet.sweep_batch import Batch
from vovnet.sweep_jobs import given_overrides


class Callbacks:
    """Notes what Hydra's callbacks are told."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    def on_job_start(self, **given: Any) -> None:
        """A job begins."""

    def on_job_end(self, job_return: Any, **given: Any) -> None:
        """A job has ended."""
        self.ended.append(job_return)


class Task:
    """Keeps the batch that it is handed."""

    batch: Batch

    def __call__(self, config: Any) -> None:
        """Runs no single job."""

    def sweep(self, batch: Batch) -> None:
        """Called by the sweeper."""
        self.batch = batch


def batch_of(root: str, overrides: Sequence[str], task: Any = None) -> Batch:
    """What ``-m`` with these overrides hands to a command."""
    register_resolvers()
    task = task or Task()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(root, list(overrides), RunMode.MULTIRUN)
        context = HydraContext(loader, Callbacks())  # type: ignore[arg-type]
        sweeper = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=master)
        sweeper.sweep(given_overrides(master, "task"))
    return task.batch  # type: ignore[no-any-return]
