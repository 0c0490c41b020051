"""Policies of the user's own code, found by ``_target_`` or by the name that they are registered under."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from vovnet import registry
from vovnet.policy.protocol import Context, Policy, checked
from vovnet.schema.baselines import PolicyOptions
from vovnet.schema.code import Code, read_code
from vovnet.schema.ranges import STRICT


@dataclass(frozen=True, config=STRICT)
class Outside(PolicyOptions):
    """The options of such a policy: what results call it, and its class."""

    name: str
    code: Code

    @property
    def reads_lambda(self) -> bool:
        """Whatever it reads: its code is not looked into."""
        return True

    def make(self, context: Context) -> Policy:
        """Import the class, call it, and let the policy see its context."""
        return checked(self.code(), self.name).make(context)


def outside(value: Mapping[str, Any], trusted: bool) -> Outside:
    """The options in a configuration.

    Args:
        value: of a YAML file, or what a summary.json or a job's file holds of such options.
        trusted: the user has composed it.
    """
    options = dict(value)
    name = str(options.pop("name", ""))
    if registry.TARGET not in options and set(options) != {"code"}:
        TypeAdapter(Outside).validate_python({"name": name, **options})  # says what is wrong
    code = read_code("policy", options.get("code", options), trusted)
    assert code is not None
    found = Outside(name or code.name, code)
    if found.name in registry.POLICIES:
        raise PydanticCustomError(
            "value_error", "{name} is a policy of VoVNet; give yours another name", {"name": repr(found.name)}
        )
    return found
