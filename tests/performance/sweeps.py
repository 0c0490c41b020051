"""Sweeps against one evaluation that collects everything, the vectorised lambda sweep, and start-up.

Commands are run as a person would run them, in a folder of their own; what they print goes nowhere.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.performance.measure import Measurement, ratio, seconds
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.schema import RunConfig

JOBS, POINTS = 50, 1_000  # lambdas as jobs, and as array work
COLD_ROUNDS = 3  # at most: each collects twice
# Five policies and baselines, each with both fallbacks: ten, and five settings of each.
FIFTY = (
    "policy/baseline=none,no_vision,always_coarse,always_full,uncertainty_threshold",
    "policy.fallback_mode=coarse,full",
    "policy.fallback_entropy_threshold=0,0.05,0.1,0.2,0.5",
)


def sweeps(config: RunConfig, rounds: int) -> list[Measurement]:
    """One cold evaluation, sweeps over what it stored, and a sweep that has to collect everything again.

    Raises:
        VoVNetError: a command failed.
    """
    runs = Path(config.paths.runs).absolute()
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-sweeps-", dir=runs) as folder:
        place = [f"paths.runs={folder}", f"paths.data={Path(config.paths.data).absolute()}", *_asked(config)]
        command("train", "training.epochs=1", "training.max_samples=200", *place)
        first = _cold(folder, *place)
        alone = seconds(lambda: command("eval", *place))
        prices = ",".join(f"{price:.4g}" for price in np.linspace(0, 1, JOBS))
        jobs = seconds(lambda: command("eval", "-m", f"policy.lambda_cost={prices}", *place))
        full = ["policy/baseline=always_full", *place]
        warm = min(seconds(lambda: command("eval", *full)) for _ in range(2))
        grid = _grid(replace(config, paths=replace(config.paths, runs=folder, store=f"{folder}/outcomes")))
        ten = ratio(
            "ten policies x five settings, collection included",
            lambda: _cold(folder, "-m", *FIFTY, *place),
            lambda: _cold(folder, *place),
            1.1,
            min(rounds, COLD_ROUNDS),
        )
    count = config.eval.max_samples or "all"
    detail = f"{count} questions; the evaluation that collects took {first:.1f} s, the same again {alone:.1f} s"
    return [
        Measurement(f"sweep, a job of {JOBS}", jobs / JOBS, "s", 0.2, f"{detail}; {jobs:.1f} s in all"),
        ten,
        Measurement(f"{POINTS} lambdas as array work", grid, "s", 2.0, f"{count} questions"),
        Measurement("warm evaluation, whole process", warm, "s", 3.0, f"always_full, {count} questions"),
    ]


def _cold(folder: str, *arguments: str) -> float:
    """Seconds of an evaluation that finds no outcomes."""
    if (store := Path(folder, "outcomes")).exists():
        shutil.rmtree(store)
    return seconds(lambda: command("eval", *arguments))


def start_up(rounds: int) -> list[Measurement]:
    """Seconds until a command answers that needs no model."""
    asked = {"--help": ["--help"], "--cfg job": ["--cfg", "job"], "a bad override": ["no_such_key=1"]}
    found = []
    for name, arguments in asked.items():
        refused = name == "a bad override"
        took = min(seconds(lambda: command("eval", *arguments, refused=refused)) for _ in range(rounds))  # noqa: B023
        found.append(Measurement(f"start-up, {name}", took, "s", 1.5, f"best of {rounds}"))
    return found


def command(entry: str, *arguments: str, refused: bool = False) -> None:
    """Run an entry point.

    Raises:
        VoVNetError: it failed, or was to be refused and was not.
    """
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{entry}", *arguments], capture_output=True, text=True, env=environment
    )
    if bool(done.returncode) != refused:
        said = (done.stderr.strip() or "it was accepted").splitlines()[-1]
        raise VoVNetError(f"`python -m experiments.{entry} {' '.join(arguments)}` did not do as it should: {said}")


def _asked(config: RunConfig) -> list[str]:
    """What the measured commands take over of the configuration."""
    names: dict[str, str | int | None] = {
        "dataset.path": config.dataset.path,
        "backbone.path": config.backbone.path,
        "eval.max_samples": config.eval.max_samples,
    }
    return [f"{key}={value}" for key, value in names.items() if value is not None]


def _grid(config: RunConfig) -> float:
    """Seconds of a whole lambda sweep on outcomes in memory; it must find what evaluations find.

    Raises:
        VoVNetError: it does not.
    """
    from vovnet.data import load_dataset
    from vovnet.policy.decide import choose, lambda_curve
    from vovnet.policy.vovnet import VoVNet
    from vovnet.results.setting import make_policy
    from vovnet.session import Session
    from vovnet.vlm.budget import budget_of
    from vovnet.vlm.files import find_checkpoint

    checkpoint, dataset = find_checkpoint(config.backbone), load_dataset(config.dataset, config.eval.split)
    policy = make_policy(config, Session())
    assert isinstance(policy, VoVNet)
    actions = config.menu
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    begun = time.perf_counter()
    outcomes = load_outcomes(config, checkpoint, dataset, actions, count).outcomes
    budget = budget_of(config.vision_budget, checkpoint)
    costs, scores = outcomes.stacked("vision_tokens", actions) / budget.max_tokens, outcomes.stacked("score", actions)
    values, prices = policy.head.values(outcomes.text), np.linspace(0, 1, POINTS)
    curve = lambda_curve(values, costs, scores, prices.tolist())
    took = time.perf_counter() - begun
    rows = np.arange(count)
    for point in range(0, POINTS, POINTS // 10):
        columns = choose(values, costs, float(prices[point]))
        if (scores[rows, columns].mean(), costs[rows, columns].mean()) != (curve.accuracy[point], curve.cost[point]):
            raise VoVNetError(f"the vectorised sweep differs from an evaluation at lambda {prices[point]:g}.")
    return took
