"""Live evaluation: Lightning's Trainer routes the questions, on one device or shared out to several.

Some are answered again in batches of another size. In half precision a GPU sums in another order then, which moves
logits in their last bits; where two tokens or two actions are about as good, it may choose the other one.

``python -m vovnet.results.live FOLDER`` is one of several ranks on this machine.
"""

import itertools
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from vovnet.data import Item, VQADataset, item, load_dataset
from vovnet.errors import VoVNetError, first_line
from vovnet.lightning_parts import environment, interruptible, quiet_lightning
from vovnet.outcomes.limits import BatchLimit
from vovnet.outcomes.routed import Routed, join_routed, read_routed, write_routed
from vovnet.policy.module import RoutingModule
from vovnet.policy.protocol import Policy
from vovnet.policy.route import Router, make_router
from vovnet.rank_launch import launch_ranks, needs_launch, run_rank
from vovnet.ranks import check_ranks, is_main_rank, rank, world_size
from vovnet.results.setting import make_policy
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import Progress, progress

RANKS = "ranks"  # folder of started ranks while they run
ROUTED = "routed.npz"
log = logging.getLogger(__name__)
SAMPLE = 64  # questions
WARN_ABOVE = 0.01  # share of them


def route_live(
    config: RunConfig, dataset: VQADataset, policy: Policy, count: int, folder: Path, session: Session
) -> tuple[Routed, float, dict[str, Any]]:
    """Answer the first ``count`` questions on ``trainer.devices``.

    Where ranks exist already, each gets all results.

    Returns:
        What was done, the peak memory in MB, and ``batch_agreement`` where batches may matter and this process is the
        only one.

    Raises:
        VoVNetError: the devices are not there, the policy cannot run live, or a rank failed.
    """
    if not needs_launch(config):
        router = _router(config, dataset, policy, session)
        routed, memory = _predict(config, dataset, router, count)
        facts = {}
        if world_size() == 1 and count >= SAMPLE and depends_on_batches(router):
            facts["batch_agreement"] = batch_agreement(router, [item(dataset, row) for row in range(SAMPLE)])
        return routed, memory, facts
    if policy.file is not None:  # that very file, whatever is trained meanwhile
        config = replace(config, eval=replace(config.eval, checkpoint=str(policy.file), ddp_checkpoint_path=None))
    place = folder / RANKS
    place.mkdir(parents=True, exist_ok=True)
    try:
        launch_ranks(config, place, "vovnet.results.live", "begins anew")
        return *read_routed(place / ROUTED), {}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _as_rank(config: RunConfig, folder: Path) -> None:
    """One rank's work; rank 0 hands over what all have found."""
    session = Session()
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    policy = make_policy(config, session)
    router = _router(config, dataset, policy, session)
    found = _predict(config, dataset, router, min(len(dataset), config.eval.max_samples or len(dataset)))
    if is_main_rank():
        write_routed(folder / ROUTED, *found)


def _router(config: RunConfig, dataset: VQADataset, policy: Policy, session: Session) -> Router:
    check_ranks(config.trainer.devices, config.trainer.num_nodes)
    return make_router(config, dataset, policy, session=session)


def _predict(config: RunConfig, dataset: VQADataset, router: Router, count: int) -> tuple[Routed, float]:
    quiet_lightning()
    module = RoutingModule(router)
    limit = BatchLimit.of(router.backbone, dataset, router.policy.looks, config.eval.batch_tokens)
    limit.refuse_alone(range(count))
    batches = Batches(dataset, count, config.eval.batch_size, limit)
    with ExitStack() as shown:
        bar = None
        if is_main_rank():
            bar = shown.enter_context(progress(f"live routing {dataset.name}/{dataset.split}", count, "samples"))
        trainer = _trainer(config, module, Watch(batches, bar))
        shown.callback(router.preparing.close)
        with interruptible():
            trainer.predict(module, batches, return_predictions=False)
    return module.routed, module.memory_mb


def _trainer(config: RunConfig, module: RoutingModule, callback: L.Callback) -> L.Trainer:
    """A trainer that predicts on the configured devices, with a whole backbone on each."""
    where, device = config.trainer, module.router.backbone.device
    several, cuda = where.devices * where.num_nodes > 1, device.type == "cuda"
    try:
        return L.Trainer(
            accelerator="gpu" if cuda else "cpu",
            strategy="ddp" if several else "auto",
            devices=[device.index or 0] if cuda and not several else where.devices,
            num_nodes=where.num_nodes,
            plugins=[environment()],
            callbacks=[callback],
            logger=False,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise VoVNetError(f"trainer.devices={where.devices} cannot run here: {first_line(error)}") from error


@dataclass(frozen=True)
class Batches:
    """This rank's batches of a split, in order: those of one device, dealt in turn.

    A rank that would have none takes the last one too, since all ranks have to come together in the end.

    Attributes:
        limit: cuts a rank's batches that would not fit into its memory.
    """

    dataset: VQADataset
    count: int
    size: int
    limit: BatchLimit | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[list[Item], list[Item]]]:
        """Each with the next one, which is empty after the last."""
        batches = ([item(self.dataset, i) for i in rows] for rows in self._rows)
        return itertools.pairwise(itertools.chain(batches, [[]]))

    @cached_property
    def _rows(self) -> list[Sequence[int]]:
        every = range(0, self.count, self.size)
        starts = every[rank() :: world_size()] or every[-1:]
        whole = [range(start, min(start + self.size, self.count)) for start in starts]
        return [part for rows in whole for part in ([rows] if self.limit is None else self.limit.parts(rows))]

    def answered(self, number: int) -> int:
        """About how many questions all ranks have answered when this one has finished a batch."""
        return min(self.count, world_size() * sum(map(len, self._rows[: number + 1])))


class Watch(L.Callback):
    """Shows progress, and leaves SIGTERM to whoever handled it before: Lightning goes on predicting after one."""

    def __init__(self, batches: Batches, bar: Progress | None) -> None:
        self.batches, self.bar = batches, bar
        self.terminate = signal.getsignal(signal.SIGTERM)

    def on_predict_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Signals are Lightning's by now."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.terminate)

    def on_predict_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count this rank's batch, and as many of each other rank."""
        if self.bar is not None:
            self.bar.advance(self.batches.answered(batch_idx) - self.bar.done)


if __name__ == "__main__":
    folder_of_rank = Path(sys.argv[1])
    run_rank(folder_of_rank, lambda config: _as_rank(config, folder_of_rank))


def depends_on_batches(router: Router) -> bool:
    """Whether the model's numbers may differ from batch size to batch size by more than float32's last bits."""
    return router.backbone.device.type == "cuda" and router.backbone.model.dtype != torch.float32


def batch_agreement(router: Router, items: Sequence[Item]) -> dict[str, Any]:
    """Answer questions one by one and all at once; the shares whose action and whose answer differ. Warns of many."""
    router = replace(router, threads=0)  # one question after another, nothing ahead
    with torch.inference_mode():
        alone, together = join_routed([router([one]) for one in items]), router(items)
    differ = {
        "actions_differ": float((alone.actions != together.actions).mean()),
        "answers_differ": float((alone.chosen.prediction != together.chosen.prediction).mean()),
    }
    if max(differ.values()) > WARN_ABOVE:
        log.warning(
            "of %d questions, %.1f %% take another action and %.1f %% get another answer alone than in one batch "
            "(half precision); single questions cannot be compared across batch sizes: backbone.dtype=float32 or "
            "backbone.batch_invariant=true makes them alike",
            len(items),
            100 * differ["actions_differ"],
            100 * differ["answers_differ"],
        )
    return {"questions": len(items), **differ}
