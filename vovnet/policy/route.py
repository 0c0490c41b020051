"""Live routing: text pass, decision, then only the chosen branch of each sample."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.actions import Action
from vovnet.backbone.backbone import Backbone
from vovnet.backbone.budget import VisionBudget
from vovnet.backbone.decoding import Decoding, decoding_of
from vovnet.backbone.forward import Prefill
from vovnet.backbone.inputs import Batch
from vovnet.data import Item, Sample, VQADataset
from vovnet.decision import Decision
from vovnet.errors import VoVNetError
from vovnet.outcomes.branches import Group, read_text, run_groups, text_outcomes
from vovnet.outcomes.judge import Judge, make_judge
from vovnet.outcomes.load import branch_backbone
from vovnet.outcomes.routed import Routed, look_twice
from vovnet.outcomes.rows import BranchOutcomes, no_text
from vovnet.policy.baselines import CascadePolicy, OraclePolicy, RandomPolicy
from vovnet.policy.policies import AnyPolicy, FallbackPolicy, Policy
from vovnet.schema import RunConfig
from vovnet.session import Session


@dataclass(frozen=True)
class Router:
    """A backbone, a policy and the rules of decoding and judging, ready to answer batches."""

    backbone: Backbone
    policy: Policy | CascadePolicy
    decoding: Decoding
    judge: Judge
    seed: int
    max_tokens: int  # of a maximal FULL image of the configured budget

    def __call__(self, items: Sequence[Item]) -> Routed:
        """Answer a batch of mixed actions; images are opened only where an action looks at them."""
        begun = time.perf_counter()
        builder = self.backbone.builder
        batch = builder.build(items, [], references=False)
        samples = [sample for _, sample, _ in items]
        costs = self.costs(samples) if self.policy.reads_costs else np.zeros((len(items), len(self.policy.actions)))
        state = read_text(self.backbone, batch) if self.policy.reads_text else None
        text = no_text(len(batch)) if state is None else text_outcomes(state, batch, self.backbone.feature_dtype)
        first = None
        if isinstance(self.policy, CascadePolicy):
            first = self._answer([self._group(items, batch, Action.COARSE, np.arange(len(batch)), None)])[0]
            again = self.policy.again(first)
            decision = Decision(np.where(again, int(Action.FULL), int(Action.COARSE)).astype(np.int64))
        else:
            decision = self.policy.decide(text, costs, np.array([index for index, _, _ in items]))
        chose = {a: np.flatnonzero(decision.actions == int(a)) for a in Action}
        known = {} if first is None else {Action.COARSE: first.take(chose[Action.COARSE])}
        asked = {a: rows for a, rows in chose.items() if len(rows) and a not in known}
        own = [None] * len(asked) if state is None else state.prefill.split([rows.tolist() for rows in asked.values()])
        groups = [self._group(items, batch, *one) for one in zip(asked, asked.values(), own, strict=True)]
        answered = self._answer(groups)
        chosen = _in_order([*known.values(), *answered], [*(chose[a] for a in known), *asked.values()])
        # Everything between question and answer: reading, deciding, opening images, decoding.
        chosen.seconds[:] = (time.perf_counter() - begun) / len(batch)
        routed = Routed(
            actions=decision.actions,
            chosen=chosen,
            cost=chosen.vision_tokens / self.max_tokens,
            values=decision.values,
            entropy=text.entropy,
            margin=text.margin,
            text_tokens=text.text_tokens,
            fallback=decision.fallback,
        )
        return routed if first is None else look_twice(first, routed, again, self.max_tokens)

    def costs(self, samples: Sequence[Sample]) -> np.ndarray:
        """Normalised cost of each allowed action, [N, A]; reads image headers, decodes nothing."""
        builder = self.backbone.builder
        tokens = [builder.tokens(sample, self.policy.actions) for sample in samples]
        return np.asarray(tokens, dtype=np.float64) / self.max_tokens

    def _answer(self, groups: Sequence[Group]) -> list[BranchOutcomes]:
        return run_groups(self.backbone, groups, self.decoding, self.judge, self.seed) if groups else []

    def _group(
        self, items: Sequence[Item], batch: Batch, action: Action, rows: np.ndarray, text: Prefill | None
    ) -> Group:
        """The samples that chose one action, with their images and their part of the text pass."""
        chosen = rows.tolist()
        samples = [items[row][1] for row in chosen]
        return Group(self.backbone.builder.with_images(batch.select(chosen), samples, [action]), action, text)


def _in_order(parts: Sequence[BranchOutcomes], places: Sequence[np.ndarray]) -> BranchOutcomes:
    """The outcomes of some groups as those of their batch; ``places`` are each group's rows of it, rising."""
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate(places))
    return BranchOutcomes.join(parts).take(order)


def make_router(
    config: RunConfig,
    dataset: VQADataset,
    policy: AnyPolicy,
    backbone: Backbone | None = None,
    session: Session | None = None,
) -> Router:
    """A router over a backbone; the session's one copy unless another is given.

    Raises:
        VoVNetError: the policy must know every outcome first, as the oracle, or the whole split's text passes.
    """
    if isinstance(policy, OraclePolicy):
        raise VoVNetError("the oracle chooses among outcomes that are known; run it with eval.mode=replay.")
    drawn = policy.inner if isinstance(policy, FallbackPolicy) else policy
    if isinstance(drawn, RandomPolicy) and drawn.thresholds is None:
        raise VoVNetError(
            "the terciles of entropy are known when every question has been read; give policy.baseline."
            "bucket_thresholds (`python -m experiments.match` prints them), or run with eval.mode=replay."
        )
    backbone = branch_backbone(config, session) if backbone is None else backbone
    factor = backbone.builder.budget.factor  # pixels a token's side
    return Router(
        backbone=backbone,
        policy=policy,
        decoding=decoding_of(config.eval),
        judge=make_judge(dataset),
        seed=config.eval.seed,
        max_tokens=VisionBudget(config.vision_budget.coarse, config.vision_budget.full, factor).max_tokens,
    )
