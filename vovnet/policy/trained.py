"""Policies that are not built in: one that was trained, also over a finer menu, and one of the user's own package."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from vovnet import registry
from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import TextOutcomes
from vovnet.policy.checkpoint import open_policy
from vovnet.policy.ddp_checkpoint import load_ddp_policy
from vovnet.policy.find import find_policy
from vovnet.policy.protocol import Context, Policy, Value, checked
from vovnet.policy.vovnet import Sequential, ValueHead, VoVNet
from vovnet.schema import RunConfig, finer
from vovnet.schema.code import Code, read_code
from vovnet.schema.policy import PolicyOptions
from vovnet.schema.ranges import STRICT

LEAST = 1e-6  # of a maximal image; measured time may come to nothing
HEADS = 4  # kept in a session: a seed or an objective each


class Interpolated(VoVNet):
    """Chooses among a finer menu than its head's, so that what is spent on a question is nearly continuous.

    Between two looks of the head's menu, a value is linear in the logarithm of the cost: as an image grows by equal
    factors, its value rises by equal steps, so that a size in between may be the best one (on a line over the cost
    itself one of its ends always is). Like CARES (arXiv 2510.19496), which also learns a few sizes and serves all.

    Args:
        looks: cheapest first; every look of the head's menu among them.
    """

    def __init__(self, head: ValueHead, lambda_cost: float, looks: tuple[Action, ...]) -> None:
        super().__init__(head, lambda_cost)
        self.known = [looks.index(look) for look in self.looks]
        self.looks = looks

    def estimates(self, text: TextOutcomes, costs: np.ndarray) -> np.ndarray:
        """The head's values, and those in between."""
        values = np.empty(costs.shape)
        values[:, self.known] = self.head.values(text)
        for low, high in zip(self.known, self.known[1:], strict=False):
            for look in range(low + 1, high):
                share = _share(costs[:, low], costs[:, look], costs[:, high])
                values[:, look] = values[:, low] + share * (values[:, high] - values[:, low])
        return values

    def columns(self) -> dict[str, Value]:
        """The head's, and how many looks there are besides its own."""
        return super().columns() | {"interpolated": len(self.looks) - len(self.known)}


def _share(low: np.ndarray, cost: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far a cost is from one to another in its logarithm, 0 to 1, [N]; 0 where both are the same."""
    start, here, end = (np.log(np.maximum(one, LEAST)) for one in (low, cost, high))
    whole = end - start
    share: np.ndarray = np.clip((here - start) / np.where(whole > 0, whole, 1.0), 0.0, 1.0)
    return share


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
