"""Policies of the user's own code, found by ``_target_`` or by the name that they are registered under."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from vovnet import registry
from vovnet.errors import VoVNetError
from vovnet.policy.protocol import Context, Policy, checked
from vovnet.schema.baselines import PolicyOptions
from vovnet.schema.ranges import STRICT


@dataclass(frozen=True, config=STRICT)
class Outside(PolicyOptions):
    """The options of such a policy.

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

    def make(self, context: Context) -> Policy:
        """Import the class, call it, and let the policy see its context."""
        if not self.trusted:
            raise VoVNetError(
                f"{self.name} is decided by {self.target}, which a file names; code is only taken from a configuration "
                "that you compose yourself, by policy/baseline=NAME."
            )
        return checked(registry.build("policy", self.target, _class(self.target), self.options), self).make(context)


def outside(value: Mapping[str, Any], trusted: bool) -> Outside:
    """The options in a configuration.

    Args:
        value: of a YAML file, or what a summary.json or a job's file holds of such options.
        trusted: the user has composed it.
    """
    if registry.TARGET not in value:
        found = TypeAdapter(Outside).validate_python(dict(value))
    else:
        options = dict(value)
        target = options.pop(registry.TARGET)
        if not isinstance(target, str) or "." not in target:
            raise PydanticCustomError("value_error", "_target_ must be package.module.Class")
        found = Outside(str(options.pop("name", "") or target.rpartition(".")[2]), target, options)
    if not trusted:
        return replace(found, trusted=False)
    if found.name in registry.POLICIES:
        raise PydanticCustomError(
            "value_error", "{name} is a policy of VoVNet; give yours another name", {"name": repr(found.name)}
        )
    return replace(found, source=registry.source_hash(_class(found.target)), trusted=True)


def _class(target: str) -> Any:
    """Registered in this process, such as in a notebook, or importable."""
    known = (registry.find("policy", name) for name in registry.names("policy"))
    return next((part for part in known if registry.path_of(part) == target), None) or registry.load(target)
