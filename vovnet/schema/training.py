"""Keys of the two trainings, and of where they run."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Count, Float, Fraction, NonNegative, Positive, Rate, Seed, Width

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
