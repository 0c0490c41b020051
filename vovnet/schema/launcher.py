"""Keys of launchers: where the jobs of a sweep run. None of them changes a result."""

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WrapValidator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Count, Positive, Rate, auto_or


def _one_or_several(value: Any) -> Any:
    """A value of an option; a union of types would object once for each of them."""
    several = value if isinstance(value, list | tuple) else [value]
    if not several or not all(isinstance(one, int | float | str) for one in several):
        raise ValueError("give one value, or a list of them such as [n1,n2]")
    return tuple(map(str, several)) if several is value else value


def _named(value: Any) -> Any:
    """The name of a device; its number in most cases."""
    return str(value) if type(value) is int else value


Device = Annotated[str, BeforeValidator(_named)]
if TYPE_CHECKING:
    Jobs = int | Literal["auto"]
else:
    Jobs = Annotated[Positive, WrapValidator(auto_or)]
Option = Annotated[bool | int | float | str | tuple[str, ...], BeforeValidator(_one_or_several)]


@dataclass(frozen=True, config=STRICT)
class BasicLauncher:
    """One job after another in this process."""

    kind: Literal["basic"]


@dataclass(frozen=True, config=STRICT)
class LocalLauncher:
    """A process for each job, several at once on this machine."""

    kind: Literal["local"]
    jobs: Jobs  # at once; auto: as many as CUDA devices, else as half the cores
    devices: tuple[Device, ...]  # CUDA devices, one for each job that runs at once; empty: auto gives each its own

    def places(self) -> tuple[str | None, ...]:
        """The CUDA device of each job that runs at once; None shows it all."""
        if self.jobs != "auto":
            devices = self.devices or (None,)
            return tuple(devices[number % len(devices)] for number in range(self.jobs))
        if self.devices:
            return self.devices
        import torch

        found = torch.cuda.device_count()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",")[:found] if visible else [str(number) for number in range(found)]
        return tuple(names) or (None,) * max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True, config=STRICT)
class SlurmLauncher:
    """An array of Slurm jobs; null leaves a setting to the cluster."""

    kind: Literal["slurm"]
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    nodes: Positive
    tasks_per_node: Positive  # processes of one job: one per device for training on several
    gpus_per_node: Positive | str | None  # 4, or a100:4
    cpus_per_task: Positive | None
    mem_gb: Rate | None  # per node
    timeout_min: Positive
    array_parallelism: Positive  # jobs of a sweep that may run at once
    max_num_timeout: Count  # how often a job that reached its time limit goes on
    setup: tuple[str, ...]  # shell lines before the job: module load cuda
    # Further options of sbatch, without their dashes; false leaves one out, a list is joined by commas.
    additional_parameters: dict[str, Option]


LauncherConfig = Annotated[BasicLauncher | LocalLauncher | SlurmLauncher, Field(discriminator="kind")]
