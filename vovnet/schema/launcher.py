"""Keys of launchers: where the jobs of a sweep run. None of them changes a result."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Count, Positive, Rate


def _one_or_several(value: Any) -> Any:
    """A value of an option; a union of types would object once for each of them."""
    several = value if isinstance(value, list | tuple) else [value]
    if not several or not all(isinstance(one, int | float | str) for one in several):
        raise ValueError("give one value, or a list of them such as [n1,n2]")
    return tuple(map(str, several)) if several is value else value


Option = Annotated[bool | int | float | str | tuple[str, ...], BeforeValidator(_one_or_several)]


@dataclass(frozen=True, config=STRICT)
class BasicLauncher:
    """One job after another in this process."""

    kind: Literal["basic"]


@dataclass(frozen=True, config=STRICT)
class LocalLauncher:
    """A process for each job, several at once on this machine."""

    kind: Literal["local"]
    jobs: Positive  # at once
    devices: tuple[str, ...]  # CUDA devices, one for each job that runs at once; empty shows all to every job


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
