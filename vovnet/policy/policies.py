"""Policies and baselines under one interface: text-pass features and costs in, actions out."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vovnet.actions import ACTION_SPACES, FIXED_POLICIES, Action
from vovnet.backbone.files import Checkpoint
from vovnet.decision import Decision
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import TextOutcomes
from vovnet.outcomes.variants import full_pruning
from vovnet.policy.baselines import CascadePolicy, OraclePolicy, UncertaintyPolicy
from vovnet.policy.checkpoint import PolicyCard, load_policy
from vovnet.policy.ddp_checkpoint import load_ddp_policy
from vovnet.policy.decide import choose
from vovnet.policy.features import features
from vovnet.policy.find import find_policy
from vovnet.policy.matching import random_policy
from vovnet.schema import (
    CascadeBaseline,
    FeatureMode,
    FixedBaseline,
    NoBaseline,
    OracleBaseline,
    PruningBaseline,
    RandomBaseline,
    ResolutionBaseline,
    RunConfig,
    UncertaintyBaseline,
)
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.policy.head import PolicyHead

VALUE_BLOCK, VALUE_SIZE = 65_536, 1 << 21  # rows and features of a forward pass at most: memory on large stores


class Policy(Protocol):
    """Chooses an action per sample."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """What it may choose, cheapest first."""
        ...

    @property
    def reads_text(self) -> bool:
        """Whether deciding needs the text pass, which is then charged."""
        ...

    @property
    def reads_costs(self) -> bool:
        """Whether deciding needs what each action would cost; images' headers tell."""
        ...

    def decide(self, text: TextOutcomes, costs: np.ndarray, rows: np.ndarray) -> Decision:
        """Decide from text-pass features, normalised costs [N, len(actions)] and places in the split [N]."""
        ...


@dataclass(frozen=True)
class FixedPolicy:
    """Always the dearest of its actions, without reading anything."""

    actions: tuple[Action, ...]
    reads_text: bool = False
    reads_costs: bool = False

    def decide(self, text: TextOutcomes, costs: np.ndarray, rows: np.ndarray) -> Decision:
        """Ignore everything."""
        return Decision(np.full(len(costs), int(self.actions[-1]), dtype=np.int64))


@dataclass(frozen=True)
class VoVNetPolicy:
    """The trained head with a lambda."""

    head: "PolicyHead"
    card: PolicyCard
    lambda_cost: float
    reads_text: bool = True
    reads_costs: bool = True

    @property
    def actions(self) -> tuple[Action, ...]:
        """The head's action space."""
        return ACTION_SPACES[self.card.action_space]

    def decide(self, text: TextOutcomes, costs: np.ndarray, rows: np.ndarray) -> Decision:
        """argmax_a v_a - lambda c_a, ties to the cheaper."""
        values = self.values(text)
        columns = choose(values, costs, self.lambda_cost)
        return Decision(np.array([int(a) for a in self.actions])[columns], values)

    def values(self, text: TextOutcomes) -> np.ndarray:
        """Values of all samples, float64 [N, A]. Always on the CPU: live and replay share every bit of it."""
        values = head_values(self.head, text, self.card.feature_mode)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise VoVNetError(
                f"the policy's values of question {int(np.flatnonzero(~finite)[0])} of the split (from 0) are NaN or "
                "infinite; its weights or scales are damaged, train it again."
            )
        return values


@dataclass(frozen=True)
class FallbackPolicy:
    """A policy whose uncertain NOs are raised to COARSE or FULL (block E1)."""

    inner: Policy
    to: Action
    entropy_threshold: float | None  # nats
    margin_threshold: float | None  # p1 - p2
    reads_text: bool = True

    @property
    def reads_costs(self) -> bool:
        """As the inner policy does."""
        return self.inner.reads_costs

    @property
    def actions(self) -> tuple[Action, ...]:
        """The inner policy's, and the one that NO is raised to."""
        return tuple(sorted({*self.inner.actions, self.to}))

    def decide(self, text: TextOutcomes, costs: np.ndarray, rows: np.ndarray) -> Decision:
        """Raise a NO where entropy or margin reaches its threshold."""
        own = [self.actions.index(action) for action in self.inner.actions]
        decision = self.inner.decide(text, costs[:, own], rows)
        uncertain = np.zeros(len(rows), dtype=bool)
        if self.entropy_threshold is not None:
            uncertain |= text.entropy >= self.entropy_threshold
        if self.margin_threshold is not None:
            uncertain |= text.margin <= self.margin_threshold
        raised = uncertain & (decision.actions == int(Action.NO))
        return Decision(np.where(raised, int(self.to), decision.actions), decision.values, raised)


def head_values(head: "PolicyHead", text: TextOutcomes, mode: FeatureMode) -> np.ndarray:
    """A head's values of all samples, float64 [N, A], block by block.

    A sweep over lambda asks the same head about the same stored features again: its answer is remembered by the
    content of both.
    """
    source = text.hidden.source()
    if source is None:  # features that lie in no file
        return _head_values(head, text, mode)
    asked = (mode, source, hashlib.sha256(b"".join(t.numpy().tobytes() for t in head.state_dict().values())).digest())
    if asked not in _VALUES:
        while len(_VALUES) >= REMEMBERED:
            del _VALUES[next(iter(_VALUES))]
        _VALUES[asked] = _head_values(head, text, mode)
        _VALUES[asked].setflags(write=False)
    return _VALUES[asked]


REMEMBERED = 4  # values of heads: a seed or an objective each
_VALUES: dict[tuple[object, ...], np.ndarray] = {}


def _head_values(head: "PolicyHead", text: TextOutcomes, mode: FeatureMode) -> np.ndarray:
    import torch

    blocks = []
    step = max(1, min(VALUE_BLOCK, VALUE_SIZE // max(1, text.hidden.width)))
    with torch.inference_mode():
        for start in range(0, len(text), step):
            rows = np.arange(start, min(start + step, len(text)))
            blocks.append(head(torch.from_numpy(features(text, mode, rows))).double().numpy())
    return np.concatenate(blocks)


AnyPolicy = Policy | OraclePolicy | CascadePolicy


def make_policy(
    config: RunConfig, checkpoint: Checkpoint, session: Session | None = None
) -> tuple[AnyPolicy, Path | None]:
    """The configured policy or baseline, and the file its head came from.

    Raises:
        VoVNetError: no fitting policy file, or a baseline that cannot be built.
    """
    path, session = None, session or Session()
    baseline = config.policy.baseline
    if isinstance(baseline, NoBaseline):
        if config.eval.ddp_checkpoint_path is not None:
            path = Path(config.eval.ddp_checkpoint_path).expanduser()
            head, card = load_ddp_policy(path, config, checkpoint)
        else:
            path = find_policy(config, checkpoint, session)
            asked = path, checkpoint.fingerprint
            head, card = session.once("policy head", asked, partial(load_policy, path, checkpoint), keep=REMEMBERED)
        policy: AnyPolicy = VoVNetPolicy(head, card, config.policy.lambda_cost)
    else:
        policy = _make_baseline(config)
    mode = config.policy.fallback_mode
    if mode is None:
        return policy, path
    if isinstance(policy, OraclePolicy | CascadePolicy):
        raise VoVNetError(f"{baseline.name} decides without the text pass; leave policy.fallback_mode=null.")
    limits = config.policy.fallback_entropy_threshold, config.policy.fallback_margin_threshold
    return FallbackPolicy(policy, Action[mode.upper()], *limits), path


def _make_baseline(config: RunConfig) -> AnyPolicy:
    baseline = config.policy.baseline
    match baseline:
        case FixedBaseline(name=name):
            return FixedPolicy((FIXED_POLICIES[name],))
        case UncertaintyBaseline(uncertainty=measure, threshold=threshold, vision=vision):
            return UncertaintyPolicy(measure, threshold, Action[vision.upper()])
        case RandomBaseline():
            return random_policy(baseline, config.dataset, config.eval.split, full_pruning(config))
        case OracleBaseline(rule=rule):
            return OraclePolicy(ACTION_SPACES[config.policy.action_space], rule, config.policy.lambda_cost)
        case CascadeBaseline(threshold=threshold):
            return CascadePolicy(threshold)
        case PruningBaseline() | ResolutionBaseline():  # what FULL means is changed, see outcomes.variants
            return FixedPolicy((Action.FULL,))
        case _:
            raise TypeError(f"no policy for {baseline}")


def valued_actions(policy: AnyPolicy) -> tuple[Action, ...]:
    """The actions that a policy's values are of; a fallback may raise NO to another one."""
    return policy.inner.actions if isinstance(policy, FallbackPolicy) else policy.actions


def head_card(policy: AnyPolicy) -> PolicyCard | None:
    """The card of the trained head that decides, if one does."""
    inner = policy.inner if isinstance(policy, FallbackPolicy) else policy
    return inner.card if isinstance(inner, VoVNetPolicy) else None
