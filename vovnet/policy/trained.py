"""No baseline: the policy's own keys say which trained head decides."""

from dataclasses import fields
from pathlib import Path
from typing import Literal

from pydantic.dataclasses import dataclass

from vovnet.errors import VoVNetError
from vovnet.policy.checkpoint import open_policy
from vovnet.policy.ddp_checkpoint import load_ddp_policy
from vovnet.policy.find import find_policy
from vovnet.policy.interpolated import Interpolated
from vovnet.policy.protocol import Context, Policy
from vovnet.policy.sequential import Sequential
from vovnet.policy.vovnet import ValueHead, VoVNet
from vovnet.schema import RunConfig, finer
from vovnet.schema.baselines import PolicyOptions
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
