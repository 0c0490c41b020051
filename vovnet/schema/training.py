"""Keys of the two trainings."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Fraction, NonNegative, Positive, Rate, Seed


@dataclass(frozen=True, config=STRICT)
class PolicyTraining:
    """Stage 2: the policy head, from stored outcomes of the training split."""

    kind: Literal["policy"]
    epochs: Positive
    batch_size: Positive
    learning_rate: Rate
    weight_decay: NonNegative
    val_fraction: Fraction  # share of image groups held out to choose the best epoch
    max_samples: Positive | None  # questions of the training split to collect; null takes all
    live: bool  # run the branches in every step instead of reading the store
    seed: Seed


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

    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_key_value_heads: Positive
    vision_hidden_size: Positive
    vision_intermediate_size: Positive
    vision_depth: Positive
    vision_heads: Positive
    deepstack_layers: tuple[int, ...]
    patch_size: Positive  # pixels
    max_side: Positive  # pixels; sizes the table of learned position embeddings
    vocab_size: Positive


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
    vision_steps: Annotated[int, Field(ge=0)]  # phase 0: the vision tower alone, on labelled scenes
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
    num_workers: Annotated[int, Field(ge=0, le=64)]  # processes that make batches; 0 makes them between the steps

    @model_validator(mode="after")
    def _layer_exists(self) -> "TinyBackboneTraining":
        if self.word_loss.layer > self.architecture.num_layers:
            raise ValueError(f"word_loss.layer must be at most architecture.num_layers, {self.architecture.num_layers}")
        return self


Training = Annotated[PolicyTraining | TinyBackboneTraining, Field(discriminator="kind")]
