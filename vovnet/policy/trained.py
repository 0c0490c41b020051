"""Options of policies that are not built in: one that was trained, one of the user's own package."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from vovnet import registry
from vovnet.errors import VoVNetError
from vovnet.policy.checkpoint import open_policy
from vovnet.policy.ddp_checkpoint import load_ddp_policy
from vovnet.policy.find import find_policy
from vovnet.policy.interpolated import Interpolated
from vovnet.policy.protocol import Context, Policy, checked
from vovnet.policy.vovnet import Sequential, ValueHead, VoVNet
from vovnet.schema import RunConfig, finer
from vovnet.schema.code import Code, read_code
from vovnet.schema.policy import PolicyOptions
from vovnet.schema.ranges import STRICT

HEADS = 4  # kept in a session: a seed or an objective each


@dataclass(frozen=True, config=STRICT)
class Trained(PolicyOptions):
    """No baseline: the policy's own keys say which trained head decides."""

    name: Literal[""]

    @property
    def reads_lambda(self) -> bool:
        """It weighs values against costs."""
        return True

    def make(self, context: Context) -> Policy:
        """The head of the configured or the newest fitting policy file."""
        config, session = context.config, context.session
        policy = [getattr(config.policy, field.name) for field in fields(config.policy) if field.name != "lambda_cost"]
        asked = (
            repr([policy, config.backbone, config.vision_budget, config.dataset]),
            repr([config.training, config.eval.checkpoint, config.eval.ddp_checkpoint_path, config.paths.runs]),
        )
        head = session.once("trained policy", asked, lambda: _head(context), keep=4 * HEADS)
        if config.policy.interpolate:
            return _between(head, config)
        return policy_of(head, config.policy.lambda_cost)


def _head(context: Context) -> "ValueHead":
    """The head that a configuration asks for; a file is read once a session."""
    config, checkpoint = context.config, context.checkpoint
    plain = config.eval.ddp_checkpoint_path
    if plain is not None:
        path = Path(plain).expanduser()
        head, card = load_ddp_policy(path, config, checkpoint)
        return ValueHead(head.eval, card, path)
    path, moves = find_policy(config, checkpoint, context.session), config.eval.other_backbone

    def read() -> ValueHead:
        policy = open_policy(path, checkpoint, moves)
        return ValueHead.of(policy, moved=policy.card.fingerprint != checkpoint.fingerprint)

    return context.session.once("policy head", (path, checkpoint.fingerprint), read, HEADS)


def _between(head: "ValueHead", config: RunConfig) -> Interpolated:
    try:
        looks = finer(head.card.menu, config.vision_budget, config.policy.interpolate)
    except ValueError as error:
        raise VoVNetError(f"policy.interpolate={config.policy.interpolate}: {error}.") from error
    return Interpolated(head, config.policy.lambda_cost, looks)


def policy_of(head: ValueHead, lambda_cost: float) -> VoVNet:
    """The policy that a head was trained for, at a lambda."""
    return (Sequential if head.card.procedure == "sequential" else VoVNet)(head, lambda_cost)


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
