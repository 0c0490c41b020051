"""Stage 2: train the policy head on the training split's outcomes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import numpy as np
import torch

from vovnet.data import item
from vovnet.outcomes.branches import read_text
from vovnet.outcomes.judge import unread_shares, warn_of_unread
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.rows import Outcomes
from vovnet.outcomes.units import paid_each, unit_of
from vovnet.policy import FILE_NAME
from vovnet.policy.card import make_card
from vovnet.policy.checkpoint import save_policy
from vovnet.policy.features import feature_width, features
from vovnet.policy.fixed import Always
from vovnet.policy.head import PolicyHead, SequentialHead
from vovnet.policy.objective import Objective, OutcomeBatch, make_objective
from vovnet.policy.route import make_router
from vovnet.ranks import is_main_rank, rank, wait_for_all, world_size
from vovnet.schema import BackboneConfig, PolicyTraining, RunConfig
from vovnet.session import Session
from vovnet.training.module import VoVNetModule
from vovnet.training.order import EachOnce, StepLoader, StepOrder, StepSource
from vovnet.training.questions import LiveBatch, LiveBatches, TrainingData, micro_batches, validation_rows
from vovnet.training.sequential import LookBatch, SequentialModule, look_tensors
from vovnet.training.steps import fit_steps
from vovnet.training.trainable import Trainable, save_trained, saved_backbone, trainable_backbone
from vovnet.training.trainer import Place, Plan
from vovnet.vlm.device import pick_device
from vovnet.vlm.files import Checkpoint, find_checkpoint
from vovnet.vlm.protocol import VLM

log = logging.getLogger(__name__)
STANDARDISE_STEPS = 8  # whose features set mean and scale in live training
LEARNED = "the policy learns from"
LIVE_VALIDATION_SAMPLES = 512  # held-out questions whose branches are run at each validation


@dataclass(frozen=True)
class Trained:
    """What a policy training leaves behind.

    Attributes:
        path: the policy file.
        metrics: validation metrics of the kept step.
        computed: outcome rows that had to be computed first, per branch.
        data: what it learned from.
        backbone: loads the backbone that the policy belongs to.
        plan: how stage 2 ran.
        unread: share of the answers it learned from that could not be read, by action.
    """

    path: Path
    metrics: dict[str, float]
    computed: dict[str, int]
    data: TrainingData
    backbone: BackboneConfig
    plan: Plan
    unread: dict[str, float]


@dataclass(frozen=True)
class Setup:
    """A stage 2 that is ready to run.

    Attributes:
        accumulate: batches an optimiser step; ``epoch``: optimiser steps an epoch.
        trainable: the backbone, where it is trained along.
        unread: share of unreadable answers by action; None where they are answered in the training itself.
    """

    module: VoVNetModule | SequentialModule
    batches: StepSource
    validation: Sequence[OutcomeBatch | LookBatch | LiveBatch]
    accumulate: int
    epoch: int
    computed: dict[str, int]
    trainable: Trainable | None = None
    unread: dict[str, float] | None = None


def train_head(
    config: RunConfig, training: PolicyTraining, data: TrainingData, folder: Path, session: Session | None = None
) -> Trained:
    """Train the head in ``folder`` and write the best step's policy file there, and its backbone if that learned."""
    live = training.live or training.stage2_backbone != "frozen"
    setup = (_live if live else _stored)(config, training, data, session or Session())
    log.info(
        "stage 2: the policy learns for %d epochs, %d steps; backbone %s",
        training.epochs,
        training.epochs * setup.epoch,
        "frozen" if setup.trainable is None else f"trained along ({training.stage2_backbone})",
    )
    # `value` is judged by its scoring rule, which needs no lambda; `mixture` by what it is trained for.
    monitor = ("val/loss", "min") if objective_of(config).bounded else ("val/utility", "max")
    plan = Plan(
        stage="stage2",
        steps=training.epochs * setup.epoch,
        save_every=training.save_every,
        validate_every=setup.epoch,
        gradient_clip=training.gradient_clip,
        seed=training.seed,
        accumulate=setup.accumulate,
        monitor=monitor,
        precision=training.backbone.precision if live else "32-true",
    )
    device, trainer = pick_device(config.backbone.device), config.trainer
    if not live:
        # Stored outcomes make steps so small that a GPU's launches would cost more than the arithmetic, and a head
        # alone is not worth spreading.
        device = torch.device("cpu")
        trainer = trainer if trainer.strategy == "single" else replace(trainer, strategy="ddp")
    place = Place(folder, device, trainer, config.logger)
    fitted = fit_steps(setup.module, StepLoader(setup.batches), plan, place, EachOnce(setup.validation))
    backbone, path = config.backbone, folder / FILE_NAME
    if setup.trainable is not None:
        assert training.stage2_backbone != "frozen"
        if is_main_rank() and setup.module.is_sharded():
            save_trained(config, training.stage2_backbone, fitted.weights, folder / "backbone")
            setup.module.head.load_state_dict(_of_head(fitted.weights))
        elif is_main_rank():
            setup.trainable.save(folder / "backbone")
        wait_for_all()
        backbone = saved_backbone(config.backbone, training.stage2_backbone, folder / "backbone")
    if is_main_rank():
        belongs = replace(config, backbone=backbone)
        checkpoint = find_checkpoint(backbone, session=session if setup.trainable is None else None)  # just written
        card = make_card(belongs, checkpoint, setup.module.head.width, data.dataset.fingerprint)
        save_policy(path, setup.module.head, card)
    wait_for_all()
    unread = setup.unread
    if unread is None:
        assert isinstance(setup.module, VoVNetModule)
        unread = setup.module.unread_shares()
        if is_main_rank():
            warn_of_unread(unread, LEARNED)
    return Trained(path, fitted.metrics, setup.computed, data, backbone, plan, unread)


def _of_head(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("head."): tensor for name, tensor in weights.items() if name.startswith("head.")}


def _stored(config: RunConfig, training: PolicyTraining, data: TrainingData, session: Session) -> Setup:
    """From stored outcomes: everything the head needs, as tensors in memory."""
    checkpoint, actions = find_checkpoint(config.backbone, session=session), config.menu
    nll, sequential = config.policy.objective.reads_nll, config.policy.procedure == "sequential"
    states = actions[1:-1] if sequential else ()
    loaded = load_outcomes(
        config, checkpoint, data.dataset, actions, data.count, session=session, with_nll=nll, states=states
    )
    everything = training_tensors(config, checkpoint, loaded.outcomes)
    unread = unread_shares(loaded.outcomes, actions, np.concatenate([data.train, data.val]))
    warn_of_unread(unread, LEARNED)
    order = StepOrder(data.train, training.batch_size, training.seed, keep_rest=True)
    steps = training.epochs * order.steps_per_epoch
    noisy = config.policy.objective.name == "mixture" and config.policy.use_straight_through
    module: VoVNetModule | SequentialModule
    tensors: OutcomeBatch | LookBatch = everything
    if sequential:
        groups = [data.dataset[row].group for row in range(data.count)]
        tensors = look_tensors(loaded.outcomes, everything, states, config.policy.feature_mode, groups)
        module = _sequential(config, training, tensors, steps)
        train = tensors.rows(torch.from_numpy(data.train))
        module.head.standardise([train.stage(stage) for stage in range(len(actions) - 1)])
    else:
        head = _new_head(config, training, everything.features.shape[1])
        head.standardise(everything.features[torch.from_numpy(data.train)])
        module = VoVNetModule(head, config.policy, actions, training, steps=steps)
    return Setup(
        module=module,
        batches=OutcomeBatches(tensors, order, steps, len(actions) if noisy else 0),
        validation=[tensors.rows(torch.from_numpy(data.val))],  # on every rank the same
        accumulate=1,
        epoch=order.steps_per_epoch,
        computed=dict(loaded.computed),
        unread=unread,
    )


def _live(config: RunConfig, training: PolicyTraining, data: TrainingData, session: Session) -> Setup:
    """Branches run in every step, with the backbone frozen or trained along."""
    actions = config.menu
    trainable, backbone = None, None
    if training.stage2_backbone != "frozen":
        trainable = trainable_backbone(config, training.stage2_backbone, session)
        backbone = trainable.backbone
    router = make_router(config, data.dataset, Always(*actions), backbone, session)
    width = feature_width(config.policy.feature_mode, router.backbone.hidden_size)
    micro = micro_batches(data.train, training.backbone, training.seed)
    steps = training.epochs * micro.order.steps_per_epoch
    module = VoVNetModule(_new_head(config, training, width), config.policy, actions, training, router, steps)
    module.head.standardise(_first_features(module, data, micro.order, router.backbone))
    parts = validation_rows(data.val, LIVE_VALIDATION_SAMPLES, config.eval.batch_size)
    return Setup(
        module=module,
        batches=LiveBatches(data.dataset, micro, len(actions), steps),
        validation=[LiveBatch([item(data.dataset, i) for i in part], None) for part in parts],
        accumulate=micro.accumulate,
        epoch=micro.order.steps_per_epoch,
        computed={},
        trainable=trainable,
    )


@torch.no_grad()
def _first_features(module: VoVNetModule, data: TrainingData, order: StepOrder, backbone: VLM) -> torch.Tensor:
    """Text-pass features of the first steps' questions, the same on every rank."""
    found = []
    for step in range(min(STANDARDISE_STEPS, order.steps_per_epoch)):
        batch = backbone.builder.build([item(data.dataset, i) for i in order.step(step).tolist()], [])
        found.append(module.live_features(read_text(backbone, batch)).cpu())
    return torch.cat(found)


@dataclass(frozen=True)
class OutcomeBatches:
    """A rank's part of each step by tensor indexing; a per-sample loader would cost more than the training.

    Attributes:
        noise_actions: actions to draw Gumbel noise for; 0 draws none.
    """

    outcomes: OutcomeBatch | LookBatch
    order: StepOrder
    steps: int
    noise_actions: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> OutcomeBatch | LookBatch:
        rows = self.order.step(step)
        part = np.array_split(np.arange(len(rows)), world_size())[rank()]
        mine = part if len(part) else np.array([0])  # a rank must have a gradient; without rows it weighs nothing
        batch = replace(self.outcomes.rows(torch.from_numpy(rows[mine])), weight=len(part) * world_size() / len(rows))
        if self.noise_actions and isinstance(batch, OutcomeBatch):
            return replace(batch, noise=torch.from_numpy(self.order.gumbel(step, self.noise_actions)[mine]))
        return batch


def training_tensors(config: RunConfig, checkpoint: Checkpoint, outcomes: Outcomes) -> OutcomeBatch:
    """Stored outcomes as the head learns from them: the score of a refusal is 0, whatever the benchmark gives it."""
    actions = config.menu
    score, refused = (outcomes.stacked(name, actions) for name in ("score", "refused"))
    nll = outcomes.stacked("nll", actions) if config.policy.objective.reads_nll else np.full_like(score, np.nan)
    score = np.where(refused > 0, 0.0, score)  # as ``Score.target``, which live training reads
    costs = paid_each(unit_of(config, checkpoint, actions), outcomes, actions)
    return OutcomeBatch(
        features=torch.from_numpy(features(outcomes.text, config.policy.feature_mode)),
        score=torch.from_numpy(score).float(),
        nll=torch.from_numpy(nll).float(),
        cost=torch.from_numpy(costs).float(),
    )


def objective_of(config: RunConfig) -> Objective:
    """The configured objective."""
    return make_objective(config.policy.objective, config.policy.use_straight_through)


def _new_head(config: RunConfig, training: PolicyTraining, width: int) -> PolicyHead:
    """A fresh head. Seeds here and not earlier: collecting outcomes draws from the same generators, so
    a training that had to collect first would otherwise differ from one that found them."""
    L.seed_everything(training.seed, verbose=False)
    actions = len(config.menu)
    return PolicyHead(width, config.policy.hidden_size, actions, objective_of(config).bounded)


def _sequential(config: RunConfig, training: PolicyTraining, tensors: LookBatch, steps: int) -> SequentialModule:
    """A fresh head that may look again; seeds as ``_new_head``."""
    L.seed_everything(training.seed, verbose=False)
    sizes = tensors.features.shape[1], tensors.seen.shape[2], config.policy.hidden_size, tensors.score.shape[1]
    return SequentialModule(SequentialHead(*sizes), config.policy, config.menu, training, steps)
