"""Keys of what decides in the policy's place: each policy brings its own, see ``vovnet.registry``."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator, TypeAdapter, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError, PydanticKnownError

from vovnet import registry
from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.schema.ranges import STRICT, PruningMode, Share

if TYPE_CHECKING:
    from vovnet.policy.protocol import Context, Policy

Ratios = tuple[Share, Share, Share]  # NO, COARSE, FULL
TARGET = "_target_"  # key of a YAML file that names a class


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
    looks: tuple[Action, ...] = tuple(Action)

    @property
    def full(self) -> FullLook | None:
        """What FULL means under this policy; None leaves it to ``policy.full_pruning_ratio``."""
        return None

    @property
    def reads_lambda(self) -> bool:
        """Whether a choice depends on ``policy.lambda_cost``."""
        return False

    def menu(self, action_space: tuple[Action, ...]) -> tuple[Action, ...]:
        """The looks that may be chosen, under ``policy.action_space``."""
        return self.looks

    def make(self, context: "Context") -> "Policy":
        """The policy itself.

        Raises:
            VoVNetError: it cannot be made from these options.
        """
        raise NotImplementedError


@dataclass(frozen=True, config=STRICT)
class Outside(PolicyOptions):
    """A policy of the user's own code.

    Attributes:
        target: dotted path of its class.
        options: arguments of the class.
        source: hash of the file that defines it; a changed class has results of its own.
        trusted: false where the configuration came with a file; such code is never imported.
    """

    name: str
    target: str
    options: dict[str, Any]
    source: str = ""
    trusted: bool = True

    @property
    def reads_lambda(self) -> bool:
        """Whatever it reads: its code is not looked into."""
        return True

    def make(self, context: "Context") -> "Policy":
        """Import the class, call it, and let the policy see its context."""
        if not self.trusted:
            raise VoVNetError(
                f"{self.name} is decided by {self.target}, which a file names; code is only taken from a configuration "
                "that you compose yourself, by policy/baseline=NAME."
            )
        from vovnet.policy.protocol import checked

        return checked(registry.build("policy", self.target, _class(self.target), self.options), self).make(context)


def _class(target: str) -> Any:
    """Registered in this process, such as in a notebook, or importable."""
    known = (registry.find("policy", name) for name in registry.names("policy"))
    return next((part for part in known if registry.path_of(part) == target), None) or registry.load(target)


def _options(value: Any, info: ValidationInfo) -> PolicyOptions:
    """The options of a policy, by its name or by ``_target_``."""
    if isinstance(value, PolicyOptions):
        return value
    if not isinstance(value, Mapping):
        raise PydanticKnownError("dataclass_type", {"class_name": "baseline"})
    name = value.get("name", "")
    if TARGET in value or "target" in value:
        return _outside(dict(value), info)
    if name in registry.POLICIES:
        return _by_name(registry.POLICIES[name]).validate_python({name: dict(value)})[name]
    if isinstance(name, str) and (part := registry.find("policy", name)) is not None:
        return _outside({**value, TARGET: registry.path_of(part)}, info)
    expected = ", ".join(repr(known) for known in (*registry.POLICIES, *registry.names("policy")))
    raise PydanticKnownError(
        "union_tag_invalid", {"discriminator": "'name'", "tag": str(name), "expected_tags": expected}
    )


@cache
def _by_name(path: str) -> "TypeAdapter[dict[str, PolicyOptions]]":
    """Checks the options of a policy under its name, which errors then hold as those of a union do."""
    kind: Any = GenericAlias(dict, (str, registry.load(path)))
    return TypeAdapter(kind)


def _outside(value: dict[str, Any], info: ValidationInfo) -> Outside:
    if "target" in value:  # as a summary.json or a job's file holds it
        found = TypeAdapter(Outside).validate_python(value)
    else:
        target = value.pop(TARGET)
        if not isinstance(target, str) or "." not in target:
            raise PydanticCustomError("value_error", "Value error, _target_ must be package.module.Class")
        found = Outside(str(value.pop("name", "") or target.rpartition(".")[2]), target, value)
    if info.context != registry.TRUSTED:
        return replace(found, trusted=False)
    if found.name in registry.POLICIES:
        raise PydanticCustomError(
            "value_error", "Value error, {name} is a policy of VoVNet; give yours another name", {"name": found.name}
        )
    return replace(found, source=registry.source_hash(_class(found.target)), trusted=True)


BaselineConfig = Annotated[PolicyOptions, PlainValidator(_options)]
