"""Training steps of a backbone of real size: stage 1 by LoRA, and a live stage 2 that trains it along.

A plain loop around the modules' own ``training_step``; what Lightning adds is measured by ``training_step``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.performance import floors
from tests.performance.measure import Measurement
from tests.performance.phases import new_and_past, prompt_length
from tests.performance.workload import Bench, Timing
from vovnet.actions import Action
from vovnet.lightning_parts import quiet_lightning
from vovnet.outcomes.judge import make_judge
from vovnet.outcomes.units import Tokens
from vovnet.policy.features import feature_width
from vovnet.policy.fixed import Always
from vovnet.policy.head import PolicyHead
from vovnet.policy.route import Router
from vovnet.schema import PolicyTraining
from vovnet.training.adapt import AdaptationModule, Scoring
from vovnet.training.module import VoVNetModule
from vovnet.training.questions import LiveBatch
from vovnet.training.trainable import add_lora

SMALL, LARGE = 4, 16  # questions at once without and with gradient checkpointing
STEPS = 100  # of the learning-rate schedule; speed does not depend on it


def learning(bench: Bench) -> Iterator[Measurement | Timing]:
    """Seconds, memory and the share of the measured peak (``share_of_floor``) of whole optimiser steps."""
    training = bench.config.training
    quiet_lightning()
    sizes = (SMALL, LARGE) if bench.load.batches[-1] >= LARGE else (2, 4)
    with _lora(bench, training):
        yield _stage1(bench, training, sizes[0], "")
        yield _stage2(bench, replace(training, stage2_backbone="lora"), sizes[0])
        bench.backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
        yield _stage1(bench, training, sizes[1], ", gradient checkpointing")
        bench.backbone.model.gradient_checkpointing_disable()


@contextmanager
def _lora(bench: Bench, training: PolicyTraining) -> Iterator[None]:
    """The backbone in training mode with adapters, which are taken out again."""
    torch.manual_seed(0)
    wrapped = add_lora(bench.backbone.model, training.backbone)
    bench.backbone.train()
    try:
        yield
    finally:
        bench.backbone.model = wrapped.unload()
        bench.backbone.eval().requires_grad_(False)


def _stage1(bench: Bench, training: PolicyTraining, size: int, how: str) -> Timing:
    """One micro-batch under FULL."""
    image = bench.load.images[0]
    data, batch = bench.data(size, image), bench.batch(size, image, actions=[Action.FULL])
    scoring = Scoring.of(bench.config, data, bench.backbone)
    module = AdaptationModule(bench.backbone, Action.FULL, training, scoring, STEPS)
    prompt, _ = new_and_past(bench, image, Action.FULL, reuse=False)
    length = prompt + bench.load.answer - 1
    work = floors.training_step(bench.sizes.text, [length] * size, size * bench.load.answer)
    work += floors.vision(bench.sizes, [bench.patches(image, Action.FULL)] * size)
    step = _step(module, training, lambda: module.training_step(batch, 0))
    return bench.time("training step", f"stage 1, LoRA, FULL{how}", size, size * length, step, work)


def _stage2(bench: Bench, training: PolicyTraining, size: int) -> Timing:
    """Every branch of one micro-batch, head and adapters learning from the references' likelihood."""
    image, text, load = bench.load.images[0], bench.sizes.text, bench.load
    config, backbone = bench.config, bench.backbone
    policy = replace(config.policy, objective=replace(config.policy.objective, name="mixture", loss="nll"))
    actions, data = config.menu, bench.data(size, image)
    scoring = Scoring.of(config, data, backbone)
    router = Router(backbone, Always(*actions), scoring.decoding, make_judge(data), 0, Tokens(scoring.max_tokens))
    width = feature_width(policy.feature_mode, backbone.hidden_size)
    head = PolicyHead(width, policy.hidden_size, len(actions), bounded=False)
    module = VoVNetModule(head, policy, actions, training, router, STEPS).to(bench.device)
    batch = LiveBatch(data.items(), torch.zeros(size, len(actions)))
    prompt = prompt_length(bench, load.question)
    read = [(prompt, 0)] + [new_and_past(bench, image, a, reuse=True) for a in actions if a is not Action.NO]
    read += [(load.answer - 1, prompt)] * len(actions)
    work, tokens = floors.Work(0, 0), 0
    for new, past in read:
        language = floors.language(text, [new] * size, [past] * size)
        work, tokens = work + language.times(2), tokens + size * new
    work += floors.output(text, size * load.answer * len(actions)).times(2)
    for action in set(actions) - {Action.NO}:
        work += floors.vision(bench.sizes, [bench.patches(image, action)] * size)
    step = _step(module, training, lambda: module.training_step(batch, 0))
    return bench.time("training step", "stage 2, live, LoRA, mixture of NLL", size, tokens, step, work)


def _step(module: Any, training: PolicyTraining, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward, backward, clipping and AdamW, in bfloat16 as ``precision=bf16-mixed`` does it."""
    module.train()
    optimizer = module.configure_optimizers()["optimizer"]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    kind = module.backbone.device.type

    def step() -> None:
        with torch.autocast(kind, torch.bfloat16):
            value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, training.gradient_clip)
        optimizer.step()

    return step
