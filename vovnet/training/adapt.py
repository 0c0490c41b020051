"""Stage 1: adapt the backbone to the data under a fixed action."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vovnet.actions import FIXED_POLICIES, Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.ahead import build_batch
from vovnet.outcomes.branches import not_finite
from vovnet.outcomes.judge import Judge, make_judge, warn_of_unread
from vovnet.ranks import is_main_rank, wait_for_all
from vovnet.schema import BackboneConfig, PolicyTraining, RunConfig
from vovnet.session import Session
from vovnet.training.order import EachOnce, StepLoader
from vovnet.training.questions import QuestionBatches, TrainingData, micro_batches, validation_rows
from vovnet.training.step_module import StepModule, adamw
from vovnet.training.steps import fit_steps
from vovnet.training.trainable import save_trained, saved_backbone, trainable_backbone
from vovnet.training.trainer import Place, Plan
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.device import threads_of
from vovnet.vlm.protocol import VLM, Batch, Decoding, Reading

log = logging.getLogger(__name__)

VALIDATION_SAMPLES = 256  # held-out questions answered at each validation


def adapt_backbone(
    config: RunConfig, training: PolicyTraining, data: TrainingData, folder: Path, session: Session | None = None
) -> BackboneConfig:
    """Train the backbone in ``folder/stage1`` and leave it in ``folder/stage1/backbone``; returns what loads it.

    A stage 1 that is finished is not run again; one that was stopped goes on.
    """
    action, done = FIXED_POLICIES[training.stage1_baseline_name], folder / "stage1" / "backbone"
    if training.stage1_epochs == 0:
        return config.backbone
    adapted = saved_backbone(config.backbone, training.stage1_backbone, done)
    if done.is_dir():
        log.info("stage 1 is done: %s", done)
        return adapted
    trainable = trainable_backbone(config, training.stage1_backbone, session)
    backbone = trainable.backbone
    micro = micro_batches(data.train, training.backbone, training.seed)
    plan = adaptation_plan(training, data)
    steps = plan.steps
    log.info(
        "stage 1: the backbone learns under %s (%s) for %d epochs, %d steps",
        training.stage1_baseline_name,
        training.stage1_backbone,
        training.stage1_epochs,
        steps,
    )
    module = AdaptationModule(backbone, action, training, Scoring.of(config, data.dataset, backbone), steps)
    batches = QuestionBatches(data.dataset, backbone.builder, micro, action, steps)
    loader = StepLoader(batches, ahead=threads_of(config.eval.num_workers, backbone.device) > 0)
    place = Place(folder / "stage1", backbone.device, config.trainer, config.logger)
    rows = validation_rows(data.val, VALIDATION_SAMPLES, config.eval.batch_size)
    validation = EachOnce(ValidationBatches(data.dataset, backbone.builder, rows, action))
    fitted = fit_steps(module, loader, plan, place, validation)
    if is_main_rank():
        if module.is_sharded():
            save_trained(config, training.stage1_backbone, fitted.weights, done)
        else:
            trainable.save(done)
    wait_for_all()
    if is_main_rank():
        warn_of_unread({action.label.upper(): fitted.metrics["val/unread"]}, "stage 1 is validated by")
    log.info("stage 1 ended: %s", " ".join(f"{name}={value:.4f}" for name, value in fitted.metrics.items()))
    return adapted


def adaptation_plan(training: PolicyTraining, data: TrainingData) -> Plan:
    """How stage 1 runs."""
    micro = micro_batches(data.train, training.backbone, training.seed)
    return Plan(
        stage="stage1",
        steps=training.stage1_epochs * micro.order.steps_per_epoch,
        save_every=training.save_every,
        validate_every=min(training.save_every, micro.order.steps_per_epoch),
        gradient_clip=training.gradient_clip,
        seed=training.seed,
        accumulate=micro.accumulate,
        monitor=("val/utility", "max"),
        precision=training.backbone.precision,
    )


@dataclass(frozen=True)
class ValidationBatches:
    """Held-out questions under one action."""

    dataset: VQADataset
    builder: Any
    rows: Sequence[list[int]]
    action: Action

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Batch:
        return build_batch(self.dataset, self.builder, self.rows[number], [self.action])


@dataclass(frozen=True)
class Scoring:
    """How validation answers are decoded, judged and priced."""

    decoding: Decoding
    judge: Judge
    lambda_cost: float
    max_tokens: int  # of a maximal FULL image of the budget

    @classmethod
    def of(cls, config: RunConfig, dataset: VQADataset, backbone: VLM) -> "Scoring":
        """As evaluation does it."""
        most = backbone.builder.max_tokens
        return cls(decoding_of(config.eval), make_judge(dataset), config.policy.lambda_cost, most)


class AdaptationModule(StepModule):
    """Mean answer NLL under one action.

    Args:
        backbone: with ``requires_grad`` on what is trained.
        steps: optimiser steps of the schedule.
    """

    def __init__(self, backbone: VLM, action: Action, training: PolicyTraining, scoring: Scoring, steps: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.action = action
        self.training_config = training
        self.scoring = scoring
        self.steps = steps

    def training_step(self, batch: Batch | VoVNetError, batch_idx: int) -> Tensor:
        """Every question counts alike, however long its answer and wherever it is computed."""
        if isinstance(batch, VoVNetError):
            raise batch
        nll = self.backbone.training_nll(batch, self.action)
        self.finite.watch(nll, lambda finite: not_finite("training loss", finite, batch))
        loss = nll.mean()
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch | VoVNetError, batch_idx: int) -> None:
        """NLL, and score and cost of greedy answers."""
        if isinstance(batch, VoVNetError):
            raise batch
        text = self.backbone.read(batch, Action.NO) if self.backbone.cache_reuse else None
        state = self.backbone.read(batch, self.action, text)
        (answers,) = self.backbone.answer([Reading(batch, self.action, state)], self.scoring.decoding)
        judged = [self.scoring.judge(i, a.final) for i, a in zip(batch.indices, answers, strict=True)]
        accuracy = sum(one.value for one in judged) / len(judged)
        cost = float(state.vision_tokens.mean()) / self.scoring.max_tokens
        metrics: dict[str, Tensor | float] = {
            "val/loss": self.backbone.nll(state, batch.references).mean(),
            "val/acc": accuracy,
            "val/unread": sum(not one.parsed for one in judged) / len(judged),
            "val/cost": cost,
            "val/utility": accuracy - self.scoring.lambda_cost * cost,
        }
        self.log_dict(metrics, batch_size=len(batch), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW over what is trained of the backbone."""
        options = self.training_config.backbone
        rates: dict[nn.Module, tuple[float, float]] = {self.backbone: (options.learning_rate, options.weight_decay)}
        return adamw(rates, options.schedule, options.warmup_fraction, self.steps)
