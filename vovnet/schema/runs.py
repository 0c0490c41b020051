"""Keys of what a run does besides deciding: evaluation, training, pipelines, reports, the endpoint."""

import os
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WrapValidator, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.code import Metrics
from vovnet.schema.ranges import (
    STRICT,
    Count,
    Float,
    Fraction,
    Int,
    NonNegative,
    Place,
    Positive,
    Rate,
    Seed,
    Split,
    Temperature,
    Tokens,
    Width,
    Workers,
    auto_or,
)

if TYPE_CHECKING:
    Jobs = int | Literal["auto"]
else:
    Jobs = Annotated[Positive, WrapValidator(auto_or)]


@dataclass(frozen=True, config=STRICT)
class ServeConfig:
    """Where the endpoint listens, and what a request may hold."""

    host: Annotated[str, Field(min_length=1)]  # other than this machine only with a key in the environment
    port: Annotated[Int, Field(ge=0, le=65535)]  # 0 takes a free one
    max_characters: Positive  # of a question
    max_images: Positive  # of a request
    max_image_megabytes: Rate  # of an encoded image
    max_megapixels: Rate  # of a decoded one
    max_waiting: Positive  # requests that wait for an answer; further ones are turned away


Schedule = Literal["constant", "linear", "cosine"]  # after the warm-up; the last two fall to 0
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]  # Lightning's names
Part = Annotated[Float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class TrainerConfig:
    """Where a training or a live evaluation runs; changes nothing but speed and the last bits of a training."""

    strategy: Literal["single", "ddp", "fsdp"]
    devices: Positive  # on each node; one process each
    num_nodes: Positive

    @model_validator(mode="after")
    def _one_device_is_single(self) -> "TrainerConfig":
        if self.strategy == "single" and self.devices * self.num_nodes > 1:
            raise ValueError("strategy=single runs on one device of one node; choose trainer=ddp for more")
        return self


@dataclass(frozen=True, config=STRICT)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2022) on linear layers, by peft."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)]  # last parts of the layers' names
    rank: Width
    alpha: Rate  # the update is scaled by alpha / rank
    dropout: Part


@dataclass(frozen=True, config=STRICT)
class BackboneTraining:
    """How the backbone's own weights are trained, in stage 1 and in a live stage 2."""

    lora: LoraConfig
    train_vision: bool  # false leaves the vision tower as it is
    gradient_checkpointing: bool  # stage 1 only: compute activations again instead of keeping them
    learning_rate: Rate
    weight_decay: NonNegative
    batch_size: Positive  # questions an optimiser step, all devices together
    micro_batch_size: Positive  # questions at once on one device; the rest is accumulated
    schedule: Schedule
    warmup_fraction: Part  # of the optimiser steps
    precision: Precision


@dataclass(frozen=True, config=STRICT)
class PolicyTraining:
    """Stage 1 adapts the backbone under a fixed action; stage 2 trains the policy head."""

    kind: Literal["policy"]
    stage1_epochs: Count  # 0 leaves the backbone as it is
    stage1_baseline_name: Literal["always_full", "always_coarse", "no_vision"]
    stage1_backbone: Literal["lora", "full"]
    stage2_backbone: Literal["frozen", "lora", "full"]  # frozen: from stored outcomes; else live, trained along
    backbone: BackboneTraining
    epochs: Positive  # of stage 2
    batch_size: Positive  # stored outcomes an optimiser step, all devices together
    learning_rate: Rate  # of the head
    weight_decay: NonNegative
    schedule: Schedule
    warmup_fraction: Part  # of the optimiser steps
    lambda_warmup_fraction: Part  # of the optimiser steps in which lambda rises from 0; `mixture` only
    gradient_clip: NonNegative  # norm; 0 does not clip
    save_every: Positive  # optimiser steps
    val_fraction: Fraction  # share of image groups held out to choose the best epoch
    max_samples: Positive | None  # questions of the training split to collect; null takes all
    live: bool  # run the branches in every step although the backbone is frozen
    seed: Seed

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> "PolicyTraining":
        whole, part = self.backbone.batch_size, self.backbone.micro_batch_size
        if whole % part:
            raise ValueError(f"backbone.batch_size ({whole}) must be a multiple of backbone.micro_batch_size ({part})")
        if self.backbone.gradient_checkpointing and self.stage2_backbone != "frozen":
            raise ValueError(
                "backbone.gradient_checkpointing drops the cache that a live stage 2 continues; "
                "set it to false or stage2_backbone to frozen"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class EvalConfig:
    """How outcomes are collected and decisions are scored; the same for every policy."""

    mode: Literal["replay", "live"]
    split: Split
    max_samples: Positive | None
    batch_size: Positive
    batch_tokens: Tokens  # of a batch, the longest prompt times the number of prompts; auto: what fits
    num_workers: Workers  # threads that prepare images; auto: on a GPU by the cores there are for it, on a CPU none
    chunk_rows: Positive  # rows per store file; at most this much work is lost when killed
    max_new_tokens: Annotated[Int, Field(gt=0, le=2**15)]
    num_beams: Annotated[Int, Field(gt=0, le=1000)]
    do_sample: bool
    temperature: Temperature
    cache_reuse: bool  # continue the text pass's key-value cache when the order allows it
    seed: Seed  # of sampled decoding and of the random fallback
    random_fallback: bool  # MMMU: draw a letter for a choice that cannot be read, as its evaluator does
    num_shards: Positive  # experiments.collect only: parts that the chunks of a split are dealt to
    shard: Count | None  # which part this job collects; null collects all
    checkpoint: Place | None  # policy file, or a folder of trainings; null takes the newest fitting under paths.runs
    ddp_checkpoint_path: (
        Place | None
    )  # a plain checkpoint-*.pt or Lightning .ckpt instead, see policy/ddp_checkpoint.py

    other_backbone: bool = False  # take a policy that another backbone of the same width was trained for
    metrics: Metrics = field(default_factory=dict)  # of the user's own, by the name of its column

    @model_validator(mode="after")
    def _one_policy(self) -> "EvalConfig":
        if self.checkpoint is not None and self.ddp_checkpoint_path is not None:
            raise ValueError("checkpoint and ddp_checkpoint_path exclude each other; set one of them to null")
        return self

    @model_validator(mode="after")
    def _shard_exists(self) -> "EvalConfig":
        if self.shard is not None and self.shard >= self.num_shards:
            raise ValueError(f"shard={self.shard} must be below num_shards={self.num_shards}")
        return self

    @model_validator(mode="after")
    def _one_way_of_decoding(self) -> "EvalConfig":
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample=true and num_beams>1 exclude each other")
        return self


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
