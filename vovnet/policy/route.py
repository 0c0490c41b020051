"""Live routing: text pass, decision, then only the chosen branch of each sample."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.actions import Action
from vovnet.data import Item, Sample, VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.branches import Group, TextState, read_text, run_groups, text_outcomes
from vovnet.outcomes.judge import Judge, make_judge
from vovnet.outcomes.load import branch_backbone
from vovnet.outcomes.looks import check_looks
from vovnet.outcomes.routed import Routed, route
from vovnet.outcomes.rows import BranchOutcomes, no_text
from vovnet.policy.protocol import COSTS, SAMPLES, TEXT, Policy, Question, View
from vovnet.policy.steps import Asked, follow
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.budget import max_tokens
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.protocol import VLM, Batch, Decoding, State


@dataclass(frozen=True)
class Router:
    """A backbone, a policy and the rules of decoding and judging, ready to answer batches."""

    backbone: VLM
    policy: Policy
    decoding: Decoding
    judge: Judge
    seed: int
    max_tokens: int  # of a maximal FULL image of the configured budget

    def __call__(self, items: Sequence[Item]) -> Routed:
        """Answer a batch of mixed actions; images are opened only where an action looks at them."""
        begun = time.perf_counter()
        batch = self.backbone.builder.build(items, [], references=False)
        samples, needs = [sample for _, sample, _ in items], self.policy.needs
        state = read_text(self.backbone, batch) if TEXT in needs else None
        text = no_text(len(batch)) if state is None else text_outcomes(state, batch, self.backbone.feature_dtype)
        view = View(
            np.array([index for index, _, _ in items]),
            text=text if TEXT in needs else None,
            costs=self.costs(samples) if COSTS in needs else None,
            samples=[Question(sample) for sample in samples] if SAMPLES in needs else None,
        )
        course = follow(self.policy, view, lambda asked: self._answer(items, batch, state, asked))
        routed = route(course, text, self.max_tokens, state is not None)
        # Everything between question and answer: reading, deciding, opening images, decoding.
        routed.chosen.seconds[:] = (time.perf_counter() - begun) / len(batch)
        return routed

    def costs(self, samples: Sequence[Sample]) -> np.ndarray:
        """Normalised cost of each of the policy's looks, [N, A]; reads image headers, decodes nothing."""
        builder = self.backbone.builder
        tokens = [builder.tokens(sample, self.policy.looks) for sample in samples]
        return np.asarray(tokens, dtype=np.float64) / self.max_tokens

    def _answer(
        self, items: Sequence[Item], batch: Batch, state: TextState | None, asked: Asked
    ) -> dict[Action, BranchOutcomes]:
        """Answer some rows of a batch under each action; all are decoded together."""
        places = [rows.tolist() for rows in asked.values()]
        own = [None] * len(asked) if state is None else state.prefill.split(places)
        groups = [self._group(items, batch, a, rows, text) for a, rows, text in zip(asked, places, own, strict=True)]
        return dict(zip(asked, run_groups(self.backbone, groups, self.decoding, self.judge, self.seed), strict=True))

    def _group(self, items: Sequence[Item], batch: Batch, action: Action, rows: list[int], text: State | None) -> Group:
        """The samples that chose one action, with their images and their part of the text pass."""
        samples = [items[row][1] for row in rows]
        return Group(self.backbone.builder.with_images(batch.select(rows), samples, [action]), action, text)


def make_router(
    config: RunConfig,
    dataset: VQADataset,
    policy: Policy,
    backbone: VLM | None = None,
    session: Session | None = None,
) -> Router:
    """A router over a backbone; the session's one copy unless another is given.

    Raises:
        VoVNetError: the policy must know every outcome first, as the oracle, or the whole split's text passes, or the
            model cannot take one of its looks.
    """
    if why := policy.only_replayed():
        raise VoVNetError(why)
    checkpoint = find_checkpoint(config.backbone, session=session)
    check_looks(config, checkpoint, policy.looks)
    backbone = branch_backbone(config, session) if backbone is None else backbone
    return Router(
        backbone=backbone,
        policy=policy,
        decoding=decoding_of(config.eval),
        judge=make_judge(dataset),
        seed=config.eval.seed,
        max_tokens=max_tokens(config.vision_budget, checkpoint),
    )
