"""What a policy is asked to be: its options, its training objective, and the baselines'."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, TypeAdapter, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticKnownError

from vovnet import registry
from vovnet.actions import USUAL, Action
from vovnet.schema.backbone import VisionBudgetConfig
from vovnet.schema.code import ObjectiveCode, code_beside
from vovnet.schema.menu import MenuLook, menu_of
from vovnet.schema.ranges import (
    STRICT,
    ActionSpace,
    CostUnit,
    FeatureMode,
    Kept,
    NonNegative,
    Procedure,
    PruningMode,
    Share,
    Temperature,
    Width,
)

Ratios = tuple[Share, ...]  # of each look of a menu; of NO, COARSE and FULL where it has none of its own


@dataclass(frozen=True, config=STRICT)
class FullLook:
    """What FULL means where it is not the whole image.

    Attributes:
        long_side: pixels; None takes the budget's.
        pruning: how tokens are left out, and the share that is kept; None keeps all.
    """

    long_side: int | None = None
    pruning: tuple[PruningMode, float] | None = None


class PolicyOptions:
    """The options of a policy. Most policies are their own options; others are made from them."""

    name: str
    looks: tuple[Action, ...] = USUAL

    @property
    def full(self) -> FullLook | None:
        """What FULL means under this policy; None leaves it to ``policy.full_pruning_ratio``."""
        return None

    @property
    def reads_lambda(self) -> bool:
        """Whether a choice depends on ``policy.lambda_cost``."""
        return False

    def menu(self, configured: tuple[Action, ...]) -> tuple[Action, ...]:
        """The looks that may be chosen, under the configured menu."""
        return self.looks

    def make(self, context: Any) -> Any:
        """The ``vovnet.policy.protocol.Policy`` itself, of a ``Context`` from there.

        Raises:
            VoVNetError: it cannot be made from these options.
        """
        raise NotImplementedError


def _options(value: Any, info: ValidationInfo) -> PolicyOptions:
    """The options of a policy, by its name or by ``_target_``."""
    if isinstance(value, PolicyOptions):
        return value
    if not isinstance(value, Mapping):
        raise PydanticKnownError("dataclass_type", {"class_name": "baseline"})
    name = value.get("name", "")
    if registry.TARGET in value or "code" in value:
        return _outside(value, info)
    if name in registry.POLICIES:
        return _by_name(registry.POLICIES[name]).validate_python({name: dict(value)})[name]
    if isinstance(name, str) and (part := registry.find("policy", name)) is not None:
        return _outside({**value, registry.TARGET: registry.path_of(part)}, info)
    expected = ", ".join(repr(known) for known in (*registry.POLICIES, *registry.names("policy")))
    raise PydanticKnownError(
        "union_tag_invalid", {"discriminator": "'name'", "tag": str(name), "expected_tags": expected}
    )


@cache
def _by_name(path: str) -> "TypeAdapter[dict[str, PolicyOptions]]":
    """Checks the options of a policy under its name, which errors then hold as those of a union do."""
    kind: Any = GenericAlias(dict, (str, registry.load(path)))
    return TypeAdapter(kind)


def _outside(value: Mapping[str, Any], info: ValidationInfo) -> PolicyOptions:
    found: PolicyOptions = registry.load(registry.OUTSIDE)(value, trusted=info.context == registry.TRUSTED)
    return found


BaselineConfig = Annotated[PolicyOptions, PlainValidator(_options)]


OBJECTIVES = ("value", "mixture")


@dataclass(frozen=True, config=STRICT)
class ObjectiveConfig:
    """How the policy head learns from outcomes.

    ``name`` is ``value``, ``mixture`` or what results call an objective of one's own, which ``code`` names.
    """

    name: str
    temperature: Temperature  # tau of the (Gumbel-)softmax; `mixture` only
    entropy_weight: NonNegative  # of tau times the entropy of the soft weights, taken off the loss; `mixture` only
    loss: Literal["nll", "error"]  # branch loss L_a of `mixture`: answer NLL in nats, or 1 - score
    code: ObjectiveCode = None

    @model_validator(mode="after")
    def _named(self) -> "ObjectiveConfig":
        if (self.code is None) != (self.name in OBJECTIVES):
            what = f"{self.name} is one of VoVNet's" if self.code else f"{self.name} is none of VoVNet's"
            raise ValueError(
                f"the objective {what}; give code={{_target_: package.module.NAME}} to one of your own only"
            )
        return self

    @property
    def reads_nll(self) -> bool:
        """Whether a training needs the references' NLL; one's own may read all there is."""
        return self.name != "value" and self.loss == "nll"


OWN_OBJECTIVE = {"temperature": 1.0, "entropy_weight": 0.0, "loss": "nll"}  # unused by an objective of one's own
OBJECTIVE_KEYS = frozenset(f.name for f in fields(ObjectiveConfig))
Objective = Annotated[ObjectiveConfig, BeforeValidator(code_beside("code", OWN_OBJECTIVE, OBJECTIVE_KEYS))]


@dataclass(frozen=True, config=STRICT)
class PolicyConfig:
    """What the policy reads, what it may choose, and what a whole image is worth."""

    lambda_cost: NonNegative  # accuracy (0 to 1) worth one whole FULL image
    feature_mode: FeatureMode
    action_space: ActionSpace
    hidden_size: Width  # units of the head's hidden layer
    use_straight_through: bool  # `mixture`: hard Gumbel samples forward, soft gradient backward
    objective: Objective
    baseline: BaselineConfig
    # A NO whose text pass is uncertain is raised to this action; null never does.
    fallback_mode: Literal["coarse", "full"] | None
    fallback_entropy_threshold: NonNegative | None  # nats; raised where the entropy is at least this
    fallback_margin_threshold: NonNegative | None  # p1 - p2; raised where the margin is at most this
    # instead of the threshold in nats: the entropy that this share of the training split's questions stays below
    fallback_entropy_quantile: Share | None = None
    # What a cost of 1 is: a maximal FULL image's vision tokens, operations, or time as profiled on latency_device
    cost_unit: CostUnit = "tokens"
    latency_device: str | None = None  # of those that were profiled; null takes the only one
    # sequential: decides again by what a look has yielded; `value` only
    procedure: Procedure = "one_step"
    # FULL of a policy that chooses: a share of an image's tokens that is kept, and how. Fixed baselines look whole.
    full_pruning_ratio: Kept = 1.0
    full_pruning_mode: PruningMode = "merge"
    looks: tuple[MenuLook, ...] | None = None  # a menu of one's own in place of action_space, cheapest first
    # Looks between any two neighbours that differ in size, chosen by interpolated values; the head has not learned them
    interpolate: Annotated[int, Field(ge=0, le=16)] = 0

    def menu(self, budget: VisionBudgetConfig) -> tuple[Action, ...]:
        """The looks to choose among, cheapest first; see ``RunConfig.menu``."""
        return menu_of(self.action_space, self.looks, budget)

    @model_validator(mode="after")
    def _one_menu(self) -> "PolicyConfig":
        if self.looks is None:
            return self
        if self.action_space != "ternary":
            raise ValueError(f"looks and action_space={self.action_space} exclude each other; leave one of them out")
        if len(self.looks) < 2 or self.looks[0] != "no":
            raise ValueError("looks names no, which costs nothing, and then other looks, the cheapest first")
        return self

    @model_validator(mode="after")
    def _a_device_is_of_latencies(self) -> "PolicyConfig":
        if self.latency_device is not None and self.cost_unit != "latency":
            raise ValueError("latency_device is read with cost_unit=latency only")
        return self

    @model_validator(mode="after")
    def _what_looks_again(self) -> "PolicyConfig":
        count = len(self.looks) if self.looks is not None else 2 if self.action_space == "binary" else 3
        if self.procedure == "sequential" and (self.objective.name != "value" or count < 3):
            raise ValueError(
                "procedure=sequential learns scores and looks between the first and the last; it needs objective=value "
                "and a menu of three looks or more (action_space=ternary or ladder, or looks)"
            )
        return self

    @model_validator(mode="after")
    def _what_interpolates(self) -> "PolicyConfig":
        if self.interpolate and (self.procedure == "sequential" or self.full_pruning_ratio < 1):
            raise ValueError("interpolate is for policies that look once at whole images; set it to 0")
        return self

    @model_validator(mode="after")
    def _fallback_has_a_trigger(self) -> "PolicyConfig":
        entropies = (self.fallback_entropy_threshold, self.fallback_entropy_quantile)
        if None not in entropies:
            raise ValueError("fallback_entropy_threshold and fallback_entropy_quantile exclude each other")
        if (self.fallback_mode is None) != ((*entropies, self.fallback_margin_threshold) == (None, None, None)):
            raise ValueError(
                "fallback_mode needs fallback_entropy_threshold, fallback_entropy_quantile or "
                "fallback_margin_threshold, and the other way round"
            )
        return self
