"""Keys of what decides in the policy's place: each policy brings its own, see ``vovnet.registry``."""

from collections.abc import Mapping
from functools import cache
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator, TypeAdapter, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticKnownError

from vovnet import registry
from vovnet.actions import USUAL, Action
from vovnet.schema.ranges import STRICT, PruningMode, Share

if TYPE_CHECKING:
    from vovnet.policy.protocol import Context, Policy

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

    def make(self, context: "Context") -> "Policy":
        """The policy itself.

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
