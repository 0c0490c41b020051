"""Keys of the baselines: rules in the policy's place, told apart by their name."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Kept, NonNegative, Place, Positive, PruningMode, Seed, Share

Ratios = tuple[Share, Share, Share]  # NO, COARSE, FULL
BUCKETS = 3  # of the random policy that is matched by entropy


@dataclass(frozen=True, config=STRICT)
class NoBaseline:
    """VoVNet itself."""

    name: Literal[""]


@dataclass(frozen=True, config=STRICT)
class FixedBaseline:
    """One action for every question."""

    name: Literal["always_full", "always_coarse", "no_vision"]


@dataclass(frozen=True, config=STRICT)
class UncertaintyBaseline:
    """Look where the text pass is uncertain."""

    name: Literal["uncertainty_threshold"]
    uncertainty: Literal["entropy", "margin"]
    # looks where entropy (nats) >= threshold, or where margin (p1 - p2) <= threshold
    threshold: NonNegative
    vision: Literal["full", "coarse"]


@dataclass(frozen=True, config=STRICT)
class RandomBaseline:
    """Actions drawn at VoVNet's ratios, over all questions or within buckets of entropy."""

    name: Literal["random_policy_matched"]
    seed: Seed
    target_ratios: Ratios | None  # NO, COARSE, FULL; or take them from `match`
    match: Place | None  # results.csv or folder of a VoVNet run or sweep
    match_lambda: NonNegative | None  # its lambda; null where the file holds one row only
    buckets: bool  # match within three buckets of entropy; `match` must then be a single run's folder
    bucket_ratios: tuple[Ratios, Ratios, Ratios] | None
    bucket_thresholds: tuple[NonNegative, NonNegative] | None  # nats; null takes the terciles

    @model_validator(mode="after")
    def _one_target(self) -> "RandomBaseline":
        targets = [self.target_ratios is not None, self.match is not None, self.bucket_ratios is not None]
        if sum(targets) > 1:
            raise ValueError("target_ratios, match and bucket_ratios exclude each other")
        for ratios in (self.target_ratios, *(self.bucket_ratios or ())):
            if ratios is not None and abs(sum(ratios) - 1) > 1e-3:
                raise ValueError(f"ratios {list(ratios)} must sum to 1")
        if self.bucket_thresholds and self.bucket_thresholds[0] > self.bucket_thresholds[1]:
            raise ValueError("bucket_thresholds must not fall")
        return self


@dataclass(frozen=True, config=STRICT)
class PruningBaseline:
    """Always look in full, but keep only some of the vision tokens."""

    name: Literal["vision_token_pruning_proxy"]
    pruning_ratio: Kept  # share of an image's tokens that is kept
    pruning_mode: PruningMode


@dataclass(frozen=True, config=STRICT)
class ResolutionBaseline:
    """Always look, at one resolution between COARSE's and FULL's."""

    name: Literal["resolution_scaling"]
    long_side: Positive  # pixels


@dataclass(frozen=True, config=STRICT)
class OracleBaseline:
    """Knows every branch's score beforehand: an upper bound, no policy."""

    name: Literal["oracle"]
    # cheapest_correct: the cheapest action with the best score; utility: argmax of score - lambda * cost
    rule: Literal["cheapest_correct", "utility"]


@dataclass(frozen=True, config=STRICT)
class CascadeBaseline:
    """COARSE first, then FULL where its answer is uncertain; both are paid for."""

    name: Literal["cascade"]
    threshold: Share  # probability of COARSE's answer below which FULL looks again


BaselineConfig = Annotated[
    NoBaseline
    | FixedBaseline
    | UncertaintyBaseline
    | RandomBaseline
    | PruningBaseline
    | ResolutionBaseline
    | OracleBaseline
    | CascadeBaseline,
    Field(discriminator="name"),
]
