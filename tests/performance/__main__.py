"""Speed against yardsticks that are measured in the same run.

python -m tests.performance
python -m tests.performance --only training_step,live
python -m tests.performance --random qwen3_vl_8b                   (the path at published size, on a GPU)
python -m tests.performance --random qwen3_vl_8b --tiny            (the same on a CPU, in seconds)

Other arguments are overrides of ``experiments.eval``: ``eval.batch_size=16``, ``backbone.compile=true``.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from tests.performance import (
    embedded,
    files,
    growth,
    implementations,
    imports,
    kernels,
    learning,
    opening,
    phases,
    question,
    ranks,
    routing,
    store,
    sweeps,
    training,
)
from tests.performance.measure import Measurement
from tests.performance.phases import CHECK
from tests.performance.random_weights import PUBLISHED
from tests.performance.report import Found, circumstances, write
from tests.performance.workload import Bench, Timing, make_bench
from vovnet.compose import compose_typed
from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig

log = logging.getLogger(__name__)
Parts = dict[str, Callable[[], Iterable[Found]]]


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        only: names of parts; empty takes all.
        rounds: of each measurement; medians are reported.
        random: published sizes that random weights are drawn with; None measures the packaged backbone.
        tiny: inputs, and random weights, of a size that a CPU runs in seconds.
        samples: questions of the made-up store; a million are 8 GB under ``paths.runs`` while it is measured.
    """

    only: tuple[str, ...] = ()
    rounds: int = 5
    random: str | None = None
    tiny: bool = False
    samples: int = 1_000_000


def configured(options: Options, overrides: Sequence[str]) -> RunConfig:
    """The configuration that is measured; random weights are read text first, the order in which caches are reused."""
    if options.random is None:
        return compose_typed("eval", overrides)
    given = (f"backbone={options.random}", "backbone.prompt_order=text_first", *overrides)
    config = compose_typed("eval", given)
    return replace(config, backbone=replace(config.backbone, name=options.random))


def run(config: RunConfig, options: Options, folder: Path) -> list[Found]:
    """Measure, and write ``performance.json`` and ``.md`` after every figure: a run that is killed keeps them.

    Raises:
        VoVNetError: there is no such part, or a command that is measured failed.
    """
    bench = None if options.random is None else make_bench(config, options.tiny, options.rounds)
    parts = _packaged(config, options) if bench is None else _published(bench, folder)
    if unknown := set(options.only) - set(parts):
        raise VoVNetError(f"there is no part {min(unknown)}; choose among {', '.join(parts)}.")
    found, seconds, facts = list[Found](), dict[str, float](), circumstances(bench)
    for name in options.only or parts:
        begun = time.monotonic()
        try:
            for one in parts[name]():
                found.append(one)
                write(folder, found, facts, seconds)
        except torch.OutOfMemoryError as error:  # the parts after it may fit
            found.append(Timing(name, "stopped", 0, 0, None, note=str(error).splitlines()[0]))
            torch.cuda.empty_cache()
        seconds[name] = time.monotonic() - begun
        log.info("%s took %.0f s", name, seconds[name])
        write(folder, found, facts, seconds)
    return found


def _packaged(config: RunConfig, options: Options) -> Parts:
    """What the packaged backbone and made-up outcomes can show."""
    rounds, tiny, runs = options.rounds, options.tiny, Path(config.paths.runs)
    return {
        "collection": lambda: embedded.collection(config, rounds, tiny),
        "live": lambda: embedded.live(config, rounds, tiny),
        "implementations": lambda: implementations.implementations(config, rounds),
        "pruning": lambda: embedded.pruning(config, rounds, tiny),
        "start_up": lambda: sweeps.start_up(rounds),
        "growth": lambda: growth.growth(config),
        "imports": lambda: imports.imports(config),
        "opening": lambda: opening.opening(runs),
        "sweeps": lambda: sweeps.sweeps(config, rounds),
        "question": lambda: question.question(config, rounds),
        "store": lambda: store.large_store(runs, options.samples),
        "ablations": lambda: training.ablations(config),
        "training_step": lambda: training.training_step(config, rounds),
        "policy_training": lambda: training.policy_training(config, rounds),
    }


def _published(bench: Bench, folder: Path) -> Parts:
    """The path at published size, the most important first; no gradients outside of training."""
    inferred = {
        "checks": phases.checks,
        "phases": phases.phases,
        "targets": routing.targets,
        "proportion": phases.proportion,
        "pruning": phases.pruning,
        "live": routing.live,
        "attention": kernels.attention,
        "compile": kernels.compiled,
    }
    return {name: partial(torch.inference_mode()(part), bench) for name, part in inferred.items()} | {
        "learning": lambda: learning.learning(bench),
        "ranks": lambda: ranks.ranks(bench, folder),
        "files": lambda: files.files(bench, folder),
        "generic": lambda: implementations.generate_beside(bench, folder),
    }


def show(found: Sequence[Found], folder: Path) -> None:
    """Print each figure beside its target.

    Raises:
        VoVNetError: a check failed: the times beside it mean nothing.
    """
    targets = [one for one in found if isinstance(one, Measurement)]
    for one in targets:
        verdict = "pass" if one.passed else "MISS"
        print(f"{verdict}  {one.name}: {one.value:.4g} {one.unit} (at most {one.target:.4g}; {one.detail})")
    print(f"outputs: {folder}")
    if failed := [one.name for one in targets if one.name.startswith(CHECK) and not one.passed]:
        raise VoVNetError(f"{failed[0]} failed; the times in {folder} count for nothing until it is fixed.")


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=lambda text: tuple(text.split(",")), default=(), help="parts, with commas")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement")
    parser.add_argument("--random", choices=PUBLISHED, help="random weights of these sizes")
    parser.add_argument("--tiny", action="store_true", help="inputs and random weights for a CPU")
    parser.add_argument("--samples", type=int, default=1_000_000, help="of the made-up store; a million are 8 GB")
    parser.add_argument("--out", type=Path, default=Path("multirun/performance"), help="folder of the results")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as experiments.eval takes them")
    given = parser.parse_args(arguments)
    options = Options(given.only, given.rounds, given.random, given.tiny, given.samples)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        show(run(configured(options, given.overrides), options, given.out), given.out)
    except VoVNetError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
