"""The commands that are disturbed, and what they come to undisturbed."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import Job, final, on_disk

TRAIN = (
    "training.max_samples=60",
    "training.epochs=2",
    "training.batch_size=16",
    "training.backbone.batch_size=16",
    "training.backbone.micro_batch_size=8",
    "training.backbone.learning_rate=0.01",
    "training.save_every=1",
)
SWEEP = ("policy.lambda_cost=0,0.1,0.2,0.5", "hydra.mode=MULTIRUN", "name=sweep")


@dataclass(frozen=True)
class Calm:
    """A job undisturbed: its files in the end, how long it took in seconds, and the bytes that it needs on a disk."""

    job: Job
    files: dict[str, Any]
    seconds: float
    bytes: int


@pytest.fixture(scope="session")
def jobs(easy_data: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """The five commands by name."""
    base = (
        f"dataset.path={easy_data}", f"backbone.path={qwen3}", "eval.max_new_tokens=3", "eval.chunk_rows=8",
        "eval.batch_size=8",
    )  # fmt: skip
    count = (*base, "eval.max_samples=60")
    found = {
        "collect": Job("collect", count),
        "policy": Job("train", (*base, *TRAIN)),
        "stage 1": Job("train", (*base, *TRAIN, "training.stage1_epochs=1", "training.stage1_backbone=lora")),
    }
    trained = tmp_path_factory.mktemp("trained") / "runs"  # a policy, and the rows that a sweep replays
    for job in (found["policy"], found["collect"]):
        if not trained.exists():
            job.reset(trained)
        job.finish(trained)
    found["sweep"] = Job("eval", (*count, *SWEEP), trained)
    swept = tmp_path_factory.mktemp("swept") / "runs"
    shutil.copytree(trained, swept)
    found["sweep"].finish(swept)
    return found | {"report": Job("report", base, swept), "report with figures": Job("report", base, swept, draws=True)}


@pytest.fixture(scope="session")
def calm(jobs: dict[str, Job], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Calm]:
    """What a job comes to in a folder, computed once a session."""
    known: dict[str, Calm] = {}

    def run(name: str) -> Calm:
        if name not in known:
            runs = place(tmp_path_factory)
            jobs[name].reset(runs)
            seconds = jobs[name].finish(runs)
            known[name] = Calm(jobs[name], final(runs), seconds, on_disk(runs))
        return known[name]

    return run


def place(factory: pytest.TempPathFactory) -> Path:
    """One folder for every run: paths stand in the results, and they are to be equal too."""
    return factory.getbasetemp() / "disturbed" / "runs"
