"""Training: a backbone step against a bare PyTorch loop, and a policy from stored outcomes."""

import copy
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from tests.performance.measure import Measurement, peak_mb, ratio, seconds
from vovnet.actions import ACTION_SPACES, Action
from vovnet.data import item, load_dataset
from vovnet.lightning_parts import quiet_lightning
from vovnet.policy.features import SCALARS
from vovnet.policy.head import PolicyHead
from vovnet.policy.objective import OutcomeBatch
from vovnet.schema import ObjectiveConfig, PolicyConfig, PolicyTraining, RunConfig
from vovnet.training.adapt import AdaptationModule, Scoring
from vovnet.training.module import VoVNetModule
from vovnet.training.order import EachOnce, StepLoader, StepOrder
from vovnet.training.policy import OutcomeBatches
from vovnet.training.step_module import rate
from vovnet.training.steps import fit_steps
from vovnet.training.trainable import trainable_backbone
from vovnet.training.trainer import Place, Plan
from vovnet.vlm.protocol import Batch

STEPS, WARM = 24, 4  # steps of a round, and how many of them are not counted
SAMPLES, EPOCHS, WIDTH = 20_000, 50, 96  # of the policy training
SEEDS = (0, 1, 2)  # of the ablations
PER_ACTION = ("score", "nll", "cost")
HELD_OUT = 2_000  # samples beside them that every epoch validates with


def training_step(config: RunConfig, rounds: int) -> list[Measurement]:
    """A LoRA step of stage 1 on prepared batches, against the same arithmetic in a plain loop."""
    training = config.training
    quiet_lightning()
    trainable = trainable_backbone(config, "lora")
    dataset, size = load_dataset(config.dataset, "train"), training.backbone.micro_batch_size
    builder = trainable.backbone.builder
    items = [item(dataset, row) for row in range(STEPS * size)]
    batches = [builder.build(items[i * size : (i + 1) * size], [Action.FULL]) for i in range(STEPS)]
    scoring = Scoring.of(config, dataset, trainable.backbone)
    module = AdaptationModule(trainable.backbone, Action.FULL, training, scoring, STEPS)
    before = copy.deepcopy(module.state_dict())

    def ours() -> float:
        module.load_state_dict(before)
        return _framework(module, batches, training)

    def bare() -> float:
        module.load_state_dict(before)
        return _bare(module, batches, training)

    return [ratio("training step against a bare loop", ours, bare, 1.05, rounds)]


def policy_training(config: RunConfig, rounds: int) -> list[Measurement]:
    """Stage 2 on 20,000 made-up outcomes for 50 epochs: seconds and memory."""
    training = config.training
    quiet_lightning()
    outcomes = made_up(SAMPLES + HELD_OUT)
    steps = EPOCHS * -(-SAMPLES // training.batch_size)
    before = peak_mb()
    took = min(seconds(lambda: fit(config.policy, training, outcomes, EPOCHS)) for _ in range(rounds))
    grown = max(0.0, peak_mb() - before)
    detail = f"{steps} steps of {training.batch_size}"
    return [
        Measurement("policy training, 20,000 samples, 50 epochs", took, "s", 10.0, detail),
        Measurement("policy training, memory on top", grown, "MB", 500.0, detail),
    ]


def ablations(config: RunConfig) -> list[Measurement]:
    """The trainings of blocks D1 to D4, each under every seed, on as many made-up outcomes."""
    training = config.training
    quiet_lightning()
    outcomes, policy = made_up(SAMPLES + HELD_OUT), config.policy
    mixture = replace(policy, objective=ObjectiveConfig("mixture", 1.0, 1.0, "nll"))
    block_d = [
        *(replace(policy, feature_mode=mode) for mode in SCALARS),
        *(replace(mixture, use_straight_through=hard) for hard in (True, False)),
        *(replace(mixture, lambda_cost=price) for price in (0.0, 0.05)),
        replace(policy, action_space="ternary"),
        replace(policy, action_space="binary"),
    ]
    begun = time.perf_counter()
    for seed in SEEDS:
        for one in block_d:
            fit(one, replace(training, seed=seed), outcomes, training.epochs)
    took = time.perf_counter() - begun
    count = len(SEEDS) * len(block_d)
    detail = f"{count} trainings of {training.epochs} epochs on {SAMPLES:,} samples, {took / count:.1f} s each"
    return [Measurement("D1 to D4 over three seeds", took, "s", 180.0, detail)]


def fit(policy: PolicyConfig, training: PolicyTraining, outcomes: OutcomeBatch, epochs: int) -> None:
    """Train a head as stage 2 does, all but the last ``HELD_OUT`` samples, which each epoch validates with."""
    features = WIDTH + len(SCALARS[policy.feature_mode])
    menu = ACTION_SPACES[policy.action_space]
    columns = [int(look) for look in menu]
    taken = OutcomeBatch(outcomes.features[:, :features], *(getattr(outcomes, n)[:, columns] for n in PER_ACTION))
    count, value = len(taken.score) - HELD_OUT, policy.objective.name == "value"
    order = StepOrder(np.arange(count), training.batch_size, training.seed, keep_rest=True)
    steps = epochs * order.steps_per_epoch
    torch.manual_seed(training.seed)
    head = PolicyHead(features, policy.hidden_size, len(columns), bounded=value)
    module = VoVNetModule(head, policy, menu, training, steps=steps)
    monitor = ("val/loss", "min") if value else ("val/utility", "max")
    plan = Plan("stage2", steps, training.save_every, order.steps_per_epoch, 1.0, training.seed, monitor=monitor)
    noisy = not value and policy.use_straight_through
    loader = StepLoader(OutcomeBatches(taken, order, steps, len(columns) if noisy else 0))
    validation = EachOnce([taken.rows(torch.arange(count, count + HELD_OUT))])
    with tempfile.TemporaryDirectory() as folder:
        fit_steps(module, loader, plan, Place(Path(folder), torch.device("cpu")), validation)


def made_up(count: int) -> OutcomeBatch:
    """Outcomes of three actions that nothing can be learned from; features with room for entropy and margin."""
    rng = np.random.default_rng(0)
    return OutcomeBatch(
        features=torch.from_numpy(rng.standard_normal((count, WIDTH + 2), dtype=np.float32)),
        score=torch.from_numpy((rng.random((count, 3)) < 0.5).astype(np.float32)),
        nll=torch.from_numpy(rng.random((count, 3), dtype=np.float32)),
        cost=torch.tensor([[0.0, 0.0625, 1.0]]).expand(count, 3),
    )


class Clock(L.Callback):
    """Seconds from the end of the warm-up, ``warm`` steps, to the last step."""

    def __init__(self, warm: int = WARM) -> None:
        self.warm, self.begun, self.ended = warm, 0.0, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
        """Note the time, once the device has done all it was given."""
        if torch.cuda.is_available() and trainer.global_step in (self.warm, trainer.max_steps):
            torch.cuda.synchronize()
        if trainer.global_step == self.warm:
            self.begun = time.perf_counter()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()  # spreading the weights held all of them
        self.ended = time.perf_counter()


def _framework(module: AdaptationModule, batches: list[Batch], training: PolicyTraining) -> float:
    clock = Clock()
    plan = Plan("stage1", STEPS, 10 * STEPS, 10 * STEPS, training.gradient_clip, training.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), module.backbone.device)
        fit_steps(module, StepLoader(batches), plan, place, own=[clock])
    return clock.ended - clock.begun


def _bare(module: AdaptationModule, batches: list[Batch], training: PolicyTraining) -> float:
    """What one would write without a framework: forward, backward, clip, step, schedule."""
    options = training.backbone
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=options.weight_decay)
    module.train()
    begun = 0.0
    for number, batch in enumerate(batches):
        if number == WARM:
            begun = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate(
                number, options.schedule, round(options.warmup_fraction * STEPS), STEPS, 0.0
            )
        loss = module.backbone.training_nll(batch, Action.FULL).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, training.gradient_clip)
        optimizer.step()
    return time.perf_counter() - begun
