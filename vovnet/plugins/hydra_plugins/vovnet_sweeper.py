"""Hydra's sweeper of VoVNet, ``hydra/sweeper=vovnet``.

Hydra takes sweepers from the namespace package ``hydra_plugins`` only and imports whatever lies there whenever any
program that uses it starts. So this module imports VoVNet when it sweeps, not before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class SweeperConf:
    """Keys under ``hydra.sweeper``.

    Attributes:
        params: choices of each swept key, as on the command line.
        grids: the same under names of their own; the jobs are the union of the grids, each multiplied with ``params``
            and with what the command line sweeps.
    """

    _target_: str = "hydra_plugins.vovnet_sweeper.VoVNetSweeper"
    params: dict[str, str] = field(default_factory=dict)
    grids: dict[str, dict[str, str]] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="vovnet", node=SweeperConf, provider="vovnet")


class VoVNetSweeper(Sweeper):
    """Hands all jobs over at once: it calls ``task_function.sweep(batch)``, see ``vovnet.sweep_batch.Batch``."""

    def __init__(self, params: Mapping[str, str], grids: Mapping[str, Mapping[str, str]]) -> None:
        self.params, self.grids = params, grids

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra has composed."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep.

        Args:
            arguments: overrides of the command line.
        """
        from vovnet.sweep_batch import Batch
        from vovnet.sweep_jobs import expand

        run = getattr(self.task_function, "sweep", None)
        if run is None or self.hydra_context is None or self.config is None or self.task_function is None:
            raise HydraException("hydra/sweeper=vovnet runs VoVNet's own commands; choose hydra/sweeper=basic")
        grids = expand(self.params, self.grids, arguments, self.hydra_context.config_loader)
        return run(Batch(self.config, grids, self.hydra_context, self.task_function))
