"""Types and ranges that the configuration's keys share."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid")

PromptOrder = Literal["text_first", "image_first", "sandwich"]
Dtype = Literal["float32", "bfloat16", "float16"]
FeatureMode = Literal["hidden", "hidden_entropy", "hidden_margin", "hidden_entropy_margin"]
ActionSpace = Literal["ternary", "binary"]
Split = Literal["train", "test"]
PruningMode = Literal["stride", "topk_norm", "random", "pool", "merge"]

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
