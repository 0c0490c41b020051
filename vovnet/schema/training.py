"""Keys of the two trainings, and of where they run."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Count, Float, Fraction, Int, NonNegative, Positive, Rate, Seed, Width

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
class Phase:
    """A stretch of backbone training: which questions, and how often each branch is drawn."""

    steps: Positive
    # open: those without options and not answered by yes or no; text: those that mini_mmbench marks as
    # answered by their text alone
    questions: Literal["open", "text", "all"]
    branch_weights: tuple[NonNegative, NonNegative, NonNegative]  # NO, COARSE, FULL
    set_weights: dict[str, NonNegative]  # how often each set of a mixture is drawn; empty: all images alike

    @model_validator(mode="after")
    def _some_branch(self) -> "Phase":
        if sum(self.branch_weights) <= 0:
            raise ValueError("branch_weights must not all be 0")
        return self


@dataclass(frozen=True, config=STRICT)
class TinyArchitecture:
    """Sizes of a small Qwen3-VL."""

    hidden_size: Width
    intermediate_size: Width
    num_layers: Width
    num_heads: Width
    num_key_value_heads: Width
    vision_hidden_size: Width
    vision_intermediate_size: Width
    vision_depth: Width
    vision_heads: Width
    deepstack_layers: tuple[Int, ...]
    patch_size: Width  # pixels
    max_side: Width  # pixels; sizes the table of learned position embeddings
    vocab_size: Width


@dataclass(frozen=True, config=STRICT)
class WordLoss:
    """Supervision of a middle layer, see ``vovnet.training.tiny_words``."""

    layer: Positive  # after how many layers of the language model
    weight: NonNegative  # beside the answer's NLL; 0 leaves it out


@dataclass(frozen=True, config=STRICT)
class TinyBackboneTraining:
    """The recipe of the packaged tiny backbone, from random weights."""

    kind: Literal["tiny_backbone"]
    architecture: TinyArchitecture
    vision_steps: Count  # phase 0: the vision tower alone, on labelled scenes
    vision_batch_size: Positive  # scenes
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    word_loss: WordLoss
    batch_size: Positive
    optimizer: Literal["adamw", "muon"]  # muon: for the matrices inside the layers; AdamW for the rest
    learning_rate: Rate
    weight_decay: NonNegative
    warmup_fraction: Fraction
    gradient_clip: Rate
    questions_per_image: Positive  # drawn together at most, so that an image is encoded once
    shuffle_options: bool  # another order of the options every time a question is drawn
    flips: tuple[str, ...]  # sets whose images may be mirrored at random: no question of theirs tells left from right
    val_fraction: Fraction
    save_every: Positive  # steps
    seed: Seed
    num_threads: Positive
    num_workers: Annotated[Int, Field(ge=0, le=64)]  # processes that make batches; 0 makes them between the steps

    @model_validator(mode="after")
    def _layer_exists(self) -> "TinyBackboneTraining":
        if self.word_loss.layer > self.architecture.num_layers:
            raise ValueError(f"word_loss.layer must be at most architecture.num_layers, {self.architecture.num_layers}")
        return self


Training = Annotated[PolicyTraining | TinyBackboneTraining, Field(discriminator="kind")]
