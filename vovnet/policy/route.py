"""Live routing: text pass, decision, then only the chosen branch of each sample."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vovnet.actions import Action
from vovnet.data import Item, Sample, VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.ahead import Preparing
from vovnet.outcomes.branches import Group, TextState, read_text, run_groups, text_outcomes
from vovnet.outcomes.judge import Judge, judged, make_judge
from vovnet.outcomes.load import branch_backbone
from vovnet.outcomes.looks import check_looks
from vovnet.outcomes.routed import Routed, route
from vovnet.outcomes.rows import BranchOutcomes, TextOutcomes, no_text
from vovnet.outcomes.units import Unit, unit_of
from vovnet.policy.protocol import COSTS, SAMPLES, TEXT, Policy, Question, View
from vovnet.policy.steps import Asked, Asking, ask
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.device import threads_of
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.protocol import VLM, Batch, Decoding, Each

Prepared = tuple[list[Batch], float]  # one batch a look, and the seconds that opening their images took


@dataclass
class Begun:
    """Questions that are decided on and not answered yet.

    Attributes:
        asking: goes on once the looks of ``asked`` are taken.
        images: gives the batches of those looks with their images, and the seconds that opening them took.
        seconds: spent on these questions so far.
        preparing: of them, on opening and resizing images.
    """

    items: Sequence[Item]
    batch: Batch
    state: TextState | None
    text: TextOutcomes
    asking: Asking
    asked: Asked
    images: Callable[[], Prepared]
    seconds: float
    preparing: float = 0.0


@dataclass(frozen=True)
class Router:
    """A backbone, a policy and the rules of decoding and judging, ready to answer batches.

    Attributes:
        unit: of costs.
        threads: prepare images, so that those of a batch that is begun are ready when the one before is answered.
    """

    backbone: VLM
    policy: Policy
    decoding: Decoding
    judge: Judge
    seed: int
    unit: Unit
    threads: int = 0

    @cached_property
    def preparing(self) -> Preparing:
        """The threads."""
        return Preparing(self.threads)

    def __call__(self, items: Sequence[Item]) -> Routed:
        """Answer a batch of mixed actions; images are opened only where an action looks at them."""
        return self.finish(self.begin(items))

    def begin(self, items: Sequence[Item]) -> Begun:
        """Read and decide, and let the first looks' images be prepared."""
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
        asking = ask(self.policy, view)
        asked = next(asking)
        images = self._prepare(items, batch, asked)
        return Begun(items, batch, state, text, asking, asked, images, time.perf_counter() - begun)

    def finish(self, begun: Begun) -> Routed:
        """Answer; latency counts what was done for these questions, and not what was waited for others."""
        course = None
        while course is None:
            batches, took = begun.images()
            start = time.perf_counter()
            taken = self._answer(begun, batches)
            try:
                begun.asked = begun.asking.send(taken)
                begun.images = self._prepare(begun.items, begun.batch, begun.asked)
            except StopIteration as end:
                course = end.value
            begun.seconds += took + time.perf_counter() - start
            begun.preparing += took
        routed = route(course, begun.text, self.unit, begun.state is not None)
        size = len(begun.batch)
        # Everything between question and answer: reading, deciding, opening images, decoding.
        routed.chosen.seconds[:] = begun.seconds / size
        return replace(routed, preparing=np.full(size, begun.preparing / size, dtype=np.float32))

    def costs(self, samples: Sequence[Sample]) -> np.ndarray:
        """Normalised cost of each of the policy's looks, [N, A]; reads image headers, decodes nothing."""
        builder, looks = self.backbone.builder, self.policy.looks
        tokens = np.array([builder.tokens(sample, looks) for sample in samples])
        whole = tokens
        if self.unit.pruned:
            whole = np.array([builder.tokens(sample, looks, whole=True) for sample in samples])
        return np.stack(
            [self.unit.of(look, tokens[:, place], whole[:, place]) for place, look in enumerate(looks)], axis=1
        )

    def _prepare(self, items: Sequence[Item], batch: Batch, asked: Asked) -> Callable[[], Prepared]:
        """Begin to open the images of some looks."""

        def build(each: Each) -> Prepared:
            start, made = time.perf_counter(), list[Batch]()
            for action, rows in asked.items():
                samples = [items[row][1] for row in rows.tolist()]
                part = self.backbone.builder.with_images(batch.select(rows.tolist()), samples, [action], each)
                made.append(part.pin_memory() if self._pins else part)
            return made, time.perf_counter() - start

        return self.preparing.submit(build)

    @property
    def _pins(self) -> bool:
        """In a thread; between the steps it would be a copy of its own."""
        return self.preparing.threads > 0 and self.backbone.device.type == "cuda"

    def _answer(self, begun: Begun, batches: Sequence[Batch]) -> dict[Action, BranchOutcomes]:
        """Answer some rows of a batch under each action; all are decoded together."""
        places = [rows.tolist() for rows in begun.asked.values()]
        own = [None] * len(places) if begun.state is None else begun.state.prefill.split(places)
        groups = [
            Group(part, action, text, with_state=action in self.policy.states)
            for part, action, text in zip(batches, begun.asked, own, strict=True)
        ]
        answers = run_groups(self.backbone, groups, self.decoding, self.seed)
        return {g.action: judged(said, g.batch.indices, self.judge) for g, said in zip(groups, answers, strict=True)}


def check_live(config: RunConfig, policy: Policy) -> None:
    """Refuse what exists in replay only.

    Raises:
        VoVNetError: the policy must know every outcome first, as the oracle, or the whole split's text passes, or the
            model is a server's.
    """
    if why := policy.only_replayed():
        raise VoVNetError(why)
    if config.backbone.base_url is not None:
        raise VoVNetError(
            f"the server of backbone={config.backbone.name} is asked in collections only; set eval.mode=replay, or "
            "backbone.path to the model itself."
        )


def make_router(
    config: RunConfig,
    dataset: VQADataset,
    policy: Policy,
    backbone: VLM | None = None,
    session: Session | None = None,
) -> Router:
    """A router over a backbone; the session's one copy unless another is given.

    Raises:
        VoVNetError: as ``check_live``, or the model cannot take one of the policy's looks.
    """
    check_live(config, policy)
    checkpoint = find_checkpoint(config.backbone, session=session)
    check_looks(config, checkpoint, policy.looks)
    backbone = branch_backbone(config, session) if backbone is None else backbone
    return Router(
        backbone=backbone,
        policy=policy,
        decoding=decoding_of(config.eval),
        judge=make_judge(dataset),
        seed=config.eval.seed,
        unit=unit_of(config, checkpoint, policy.looks),
        threads=threads_of(config.eval.num_workers, backbone.device),
    )
