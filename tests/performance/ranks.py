"""Stage 1 of a backbone of real size over several devices, by DDP and FSDP, through the trainer that trainings use.

python -m tests.performance.ranks FOLDER          (one rank; ``ranks`` starts as many as there are devices)
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from tests.performance.floors import Rates
from tests.performance.learning import SMALL
from tests.performance.measure import Measurement
from tests.performance.phases import new_and_past
from tests.performance.random_weights import random_backbone, sizes_of
from tests.performance.training import Clock
from tests.performance.workload import TINY, Bench, Timing, Workload
from vovnet.actions import Action
from vovnet.files import write_json
from vovnet.lightning_parts import quiet_lightning
from vovnet.rank_launch import launch_ranks, read_config
from vovnet.ranks import end_with_parent, is_main_rank
from vovnet.schema import RunConfig, TrainerConfig
from vovnet.training.adapt import AdaptationModule, Scoring
from vovnet.training.order import StepLoader
from vovnet.training.steps import fit_steps
from vovnet.training.trainable import add_lora
from vovnet.training.trainer import Place, Plan

STEPS, WARM = 12, 4  # steps in all, and how many of them are not counted
FOUND, TINY_FILE = "found.json", "tiny"
STRATEGIES: tuple[Literal["single", "ddp", "fsdp"], ...] = ("single", "ddp", "fsdp")


@dataclass(frozen=True)
class Step:
    """A micro-batch on every rank, and one optimiser step."""

    seconds: float
    tokens: int  # of one rank
    peak: int | None  # bytes, of rank 0


def ranks(bench: Bench, folder: Path) -> Iterator[Measurement | Timing]:
    """Seconds of a step on one device and on all, each with the same micro-batch a device."""
    devices = torch.cuda.device_count() if bench.device.type == "cuda" else 2
    if devices < 2:
        yield Timing("training over devices", "DDP and FSDP", 0, 0, None, note="not run: this machine has one device")
        return
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()  # the ranks are processes of their own
    alone: float | None = None
    for strategy in STRATEGIES:
        count = 1 if strategy == "single" else devices
        trainer = TrainerConfig(strategy=strategy, devices=count, num_nodes=1)
        place = folder / "ranks" / strategy
        shutil.rmtree(place, ignore_errors=True)  # those of an earlier run, which the ranks would go on from
        place.mkdir(parents=True)
        if bench.tiny:
            (place / TINY_FILE).touch()
        launch_ranks(replace(bench.config, trainer=trainer), place, "tests.performance.ranks", "begins anew")
        step = Step(**json.loads((place / FOUND).read_text(encoding="utf-8")))
        rows, case = count * _rows(bench.load), f"stage 1, LoRA, FULL, {strategy} on {count}"
        yield Timing("training over devices", case, rows, count * step.tokens, step.seconds, None, step.peak)
        alone = step.seconds if alone is None else alone
        if count > 1:
            detail = f"{step.seconds * 1e3:.0f} ms against {alone * 1e3:.0f} ms of one device with the same rows each"
            yield Measurement(f"a step by {strategy} on {count} devices", step.seconds / alone, "x", 1.25, detail)


def measure_step(config: RunConfig, folder: Path) -> Step:
    """What one rank does."""
    training = config.training
    quiet_lightning()
    tiny = (folder / TINY_FILE).exists()
    sizes, load = sizes_of(config.backbone, tiny), TINY if tiny else Workload()
    backbone = random_backbone(config.backbone, load.budget or config.vision_budget, sizes)
    bench = Bench(config, backbone, sizes, load, Rates(1, 1), rounds=1)
    torch.manual_seed(0)
    add_lora(backbone.model, training.backbone)
    rows, image = _rows(load), load.images[0]
    scoring = Scoring.of(config, bench.data(rows, image), backbone)
    module = AdaptationModule(backbone, Action.FULL, training, scoring, STEPS)
    batch, clock = bench.batch(rows, image, actions=[Action.FULL]), Clock(WARM)
    often = 10 * STEPS  # never
    plan = Plan("stage1", STEPS, often, often, training.gradient_clip, training.seed, precision="bf16-mixed")
    device = backbone.device  # Lightning leaves the weights on the CPU
    place = Place(folder, device, config.trainer)
    fit_steps(module, StepLoader([batch] * STEPS), plan, place, own=[clock])
    prompt, _ = new_and_past(bench, image, Action.FULL, reuse=False)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    seconds = (clock.ended - clock.begun) / (STEPS - WARM)
    return Step(seconds, rows * (prompt + load.answer - 1), peak)


def _rows(load: Workload) -> int:
    return min(SMALL, load.batches[-1])


def main(folder: Path) -> None:
    """Measure; rank 0 writes."""
    end_with_parent()
    found = measure_step(read_config(folder), folder)
    if is_main_rank():
        write_json(folder / FOUND, vars(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
