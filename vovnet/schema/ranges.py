"""Types and ranges that the configuration's keys share.

Upper bounds are far above any use. They keep a slip of the finger (a threshold of 1e308, a layer of a trillion units)
from becoming an overflow or an allocator's error much later.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, PydanticKnownError

from vovnet.actions import PruningMode as PruningMode

DIGITS = 12  # of a configured number
STRICT = ConfigDict(extra="forbid")

PromptOrder = Literal["auto", "text_first", "image_first", "sandwich"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
FeatureMode = Literal["hidden", "hidden_entropy", "hidden_margin", "hidden_entropy_margin"]
ActionSpace = Literal["ternary", "binary", "ladder"]
CostUnit = Literal["tokens", "flops", "latency"]
Procedure = Literal["one_step", "sequential"]  # looks once, or again by what the first look yields
Split = Literal["train", "test"]


def _number(value: Any) -> Any:
    """A number as people write it; true is none, although Python counts with it, and -0.0 is 0.0, which hashes alike.

    Twelve digits tell all numbers apart that anybody means: 0.30000000000000004, which adding up 0.1 gives, is 0.3.
    """
    if isinstance(value, bool):
        raise PydanticCustomError("no_number", "Input should be a number, not a truth value")
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise PydanticKnownError("finite_number")
    return float(f"{value:.{DIGITS}g}") + 0.0


def auto_or(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    """The word, or a number; a union of types would object once for each of them."""
    return value if value == "auto" else number(value)


def _name(value: str) -> str:
    if value in ("", ".", "..") or set("/\\\0") & set(value) or len(value.encode()) > 200:
        raise ValueError(f"{value[:40]!r} is no name for a folder; leave out slashes, and give paths by paths.runs")
    return value


def _place(value: str) -> str:
    if "\0" in value or len(value.encode()) > 4095 or any(len(part.encode()) > 255 for part in value.split("/")):
        raise ValueError(f"no file system takes a path such as {value[:40]!r}…; give another one")
    try:
        Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value.partition('/')[0]} is nobody's home folder here; give another path") from error
    return value


def _below(pattern: str) -> str:
    """A pattern that ``Path.rglob`` takes and that stays in its folder."""
    parts = pattern.split("/")
    if not pattern or pattern.startswith(("/", "~")) or ".." in parts or "\0" in pattern:
        raise ValueError(f"the pattern {pattern!r} must name files below dataset.path")
    if any("**" in part and part != "**" for part in parts) or parts[-1] == "**":
        raise ValueError(f"the pattern {pattern!r} must have ** for whole folders only, as in **/*.tsv")
    return _place(pattern)


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number)]
Name = Annotated[str, AfterValidator(_name)]  # of a folder
Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]  # path of a file or folder
Pattern = Annotated[str, AfterValidator(_below)]  # of file names below a folder

Count = Annotated[Int, Field(ge=0, le=10**12)]
Positive = Annotated[Int, Field(gt=0, le=10**12)]
Width = Annotated[Int, Field(gt=0, le=2**16)]  # units of a layer
NonNegative = Annotated[Float, Field(ge=0, le=1e6)]
Rate = Annotated[Float, Field(gt=0)]
Temperature = Annotated[Float, Field(ge=1e-4, le=1e4)]  # logits divided by it stay finite
if TYPE_CHECKING:
    Workers = int | Literal["auto"]
else:
    Workers = Annotated[Int, Field(ge=0, le=256), WrapValidator(auto_or)]
if TYPE_CHECKING:
    Tokens = int | Literal["auto"]
else:
    Tokens = Annotated[Int, Field(gt=0, le=10**12), WrapValidator(auto_or)]
Fraction = Annotated[Float, Field(gt=0, lt=1)]
Share = Annotated[Float, Field(ge=0, le=1)]
Kept = Annotated[Float, Field(gt=0, le=1)]  # share of an image's tokens
Seed = Annotated[Int, Field(ge=0, lt=2**32)]
