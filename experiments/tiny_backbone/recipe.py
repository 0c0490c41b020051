"""The recipe's keys, their types and ranges; ``recipe.yaml`` holds the packaged backbone's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from omegaconf import OmegaConf
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from vovnet.errors import VoVNetError
from vovnet.explain import explain_validation
from vovnet.schema.ranges import STRICT, Count, Fraction, Int, NonNegative, Positive, Rate, Seed, Width

FILE = Path(__file__).with_name("recipe.yaml")


@dataclass(frozen=True, config=STRICT)
class Phase:
    """A stretch of training: which questions, and how often each branch is drawn."""

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
class Architecture:
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
    """Supervision of a middle layer, see ``words``."""

    layer: Positive  # after how many layers of the language model
    weight: NonNegative  # beside the answer's NLL; 0 leaves it out


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """How the tiny backbone is trained from random weights."""

    architecture: Architecture
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
    def _layer_exists(self) -> "Recipe":
        if self.word_loss.layer > self.architecture.num_layers:
            raise ValueError(f"word_loss.layer must be at most architecture.num_layers, {self.architecture.num_layers}")
        return self


def load_recipe(changes: Sequence[str] = ()) -> Recipe:
    """The recipe of ``recipe.yaml`` with changes such as ``num_workers=14``.

    Raises:
        VoVNetError: one sentence naming the key that is unknown or out of range.
    """
    values = OmegaConf.merge(OmegaConf.load(FILE), OmegaConf.from_dotlist(list(changes)))
    try:
        return TypeAdapter(Recipe).validate_python(OmegaConf.to_container(values))
    except ValidationError as error:
        raise VoVNetError(explain_validation(error)) from error
