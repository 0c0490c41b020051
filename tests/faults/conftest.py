"""The commands that are disturbed, and what they come to undisturbed."""

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
PREPARE = (
    "dataset=mini_mmmu", "dataset.generate.train_images=40", "dataset.generate.test_images=12",
    "prepare.out=${paths.runs}/out", "leaks.allow=[question]",
)  # fmt: skip
LOCAL = ("launcher=local", "launcher.jobs=2")
PIPELINE = (
    "pipeline.stages=[{name:train,entry:train,sweep:true,overrides:[]},"
    "{name:curve,entry:eval,sweep:true,overrides:['policy.lambda_cost=0,0.5','eval.checkpoint={folder}/train']}]",
)


@dataclass(frozen=True)
class Calm:
    """A job undisturbed: its files in the end, how long it took in seconds, and the bytes that it needs on a disk."""

    job: Job
    files: dict[str, Any]
    seconds: float
    bytes: int


class Jobs(dict[str, Job]):
    """The commands by name, each made when it is first asked for: some begin with what others leave."""

    def __init__(self, base: tuple[str, ...], factory: pytest.TempPathFactory) -> None:
        super().__init__()
        self.base, self.factory = base, factory

    def __missing__(self, name: str) -> Job:
        count = (*self.base, "eval.max_samples=60")
        if name == "collect":
            job = Job("collect", count)
        elif name == "policy":
            job = Job("train", (*self.base, *TRAIN))
        elif name == "stage 1":
            job = Job("train", (*self.base, *TRAIN, "training.stage1_epochs=1", "training.stage1_backbone=lora"))
        elif name == "sweep":  # replays the rows of a collection under a trained policy
            job = Job("eval", (*count, *SWEEP), self._after("policy", "collect"))
        elif name == "calibrate":
            job = Job("calibrate", (*self.base, *TRAIN, "calibrate.accuracy_kept=0.9"), self._after("policy"))
        elif name == "prepare":
            job = Job("prepare", PREPARE)
        elif name == "profile":
            job = Job("profile", (*self.base, "eval.max_samples=12", "policy/baseline=always_coarse"))
        elif name in ("oracle", "error_slices"):
            job = Job(name, (*count, *(() if name == "oracle" else ("policy/baseline=cascade",))))
        elif name == "pipeline":
            job = Job("pipeline", (*count, *TRAIN, *PIPELINE))
        elif name == "local":
            job = Job("eval", (*count, "policy/baseline=no_vision,always_full", "name=sweep", *LOCAL))
        elif name == "shards":
            job = Job("collect", (*count, "eval.num_shards=4", "name=sweep", *LOCAL))
        else:
            job = Job("report", self.base, self._after("sweep"), draws=name == "report with figures")
        return self.setdefault(name, job)

    def _after(self, *names: str) -> Path:
        """A folder in which some of the commands have run."""
        runs = self.factory.mktemp("prepared") / "runs"
        self[names[0]].reset(runs)
        for name in names:
            self[name].finish(runs)
        return runs


@pytest.fixture(scope="session")
def jobs(easy_data: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """The five commands on the small data and checkpoint."""
    small = ("eval.max_new_tokens=3", "eval.chunk_rows=8", "eval.batch_size=8")
    return Jobs((f"dataset.path={easy_data}", f"backbone.path={qwen3}", *small), tmp_path_factory)


@pytest.fixture(scope="session")
def calm(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Calm]:
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
