"""Speed against yardsticks that are measured in the same run.

python -m experiments.benchmark
python -m experiments.benchmark benchmark.only=[training_step]
python -m experiments.benchmark backbone=qwen3_vl_8b_random
python -m experiments.benchmark backbone=qwen3_vl_8b_random benchmark.scale=tiny     (the same on a CPU, in seconds)
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.jobs import all_done
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import say

if TYPE_CHECKING:
    from vovnet.benchmark.report import Found
    from vovnet.benchmark.workload import Bench

Parts = dict[str, Callable[[], "Iterable[Found]"]]


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[Found]":
    """Measure, and write ``benchmark.json`` and ``benchmark.md`` after every figure: a run that is killed keeps them.

    Raises:
        VoVNetError: there is no such part, or a check failed.
    """
    import logging
    import time

    import torch

    from vovnet.benchmark.report import circumstances, write
    from vovnet.benchmark.workload import Timing, make_bench
    from vovnet.errors import VoVNetError
    from vovnet.vlm.files import RANDOM

    options = config.benchmark
    if options is None:
        raise VoVNetError("benchmark.rounds is missing; start from conf/benchmark.yaml.")
    log, begun = logging.getLogger(__name__), time.monotonic()
    bench = None
    if config.backbone.name.startswith(RANDOM):
        bench = make_bench(config, options.scale == "tiny", options.rounds)
        log.info("%s on %s after %.0f s", config.backbone.name, bench.device, time.monotonic() - begun)
    parts = _small(config, options.rounds) if bench is None else _large(bench, folder)
    unknown = set(options.only) - set(parts)
    if unknown:
        raise VoVNetError(f"there is no benchmark {min(unknown)}; choose among {', '.join(parts)}.")
    found: list[Found] = []
    facts = circumstances(bench)
    seconds: dict[str, float] = {}
    for name in options.only or parts:
        part_begun = time.monotonic()
        try:
            for one in parts[name]():
                found.append(one)
                write(folder, found, facts, seconds)
        except torch.OutOfMemoryError as error:  # the parts after it may fit
            found.append(Timing(name, "stopped", 0, 0, None, note=str(error).splitlines()[0]))
            torch.cuda.empty_cache()
        seconds[name] = time.monotonic() - part_begun
        log.info("%s took %.0f s", name, seconds[name])
        write(folder, found, facts, seconds)
    return found


def _small(config: RunConfig, rounds: int) -> Parts:
    """What the packaged backbone and made-up outcomes can show."""
    from vovnet.benchmark import embedded
    from vovnet.benchmark.growth import growth
    from vovnet.benchmark.implementations import implementations
    from vovnet.benchmark.imports import imports
    from vovnet.benchmark.opening import opening
    from vovnet.benchmark.store import large_store
    from vovnet.benchmark.sweeps import start_up, sweeps
    from vovnet.benchmark.training import ablations, policy_training, training_step

    samples = config.benchmark.samples if config.benchmark else 0
    return {
        "collection": lambda: embedded.collection(config, rounds),
        "live": lambda: embedded.live(config, rounds),
        "implementations": lambda: implementations(config, rounds),
        "pruning": lambda: embedded.pruning(config, rounds),
        "start_up": lambda: start_up(rounds),
        "growth": lambda: growth(config),
        "imports": lambda: imports(config),
        "opening": lambda: opening(Path(config.paths.runs)),
        "sweeps": lambda: sweeps(config, rounds),
        "store": lambda: large_store(Path(config.paths.runs), samples),
        "ablations": lambda: ablations(config),
        "training_step": lambda: training_step(config, rounds),
        "policy_training": lambda: policy_training(config, rounds),
    }


def _large(bench: "Bench", folder: Path) -> Parts:
    """The path at real size, the most important first; no gradients outside of training."""
    import torch

    from vovnet.benchmark import files, kernels, learning, phases, ranks, routing

    def inferred(part: "Callable[[Bench], Iterable[Found]]") -> "Callable[[], Iterable[Found]]":
        return lambda: torch.inference_mode()(part)(bench)

    return {
        "checks": inferred(phases.checks),
        "phases": inferred(phases.phases),
        "targets": inferred(routing.targets),
        "proportion": inferred(phases.proportion),
        "pruning": inferred(phases.pruning),
        "live": inferred(routing.live),
        "learning": lambda: learning.learning(bench),
        "attention": inferred(kernels.attention),
        "compile": inferred(kernels.compiled),
        "ranks": lambda: ranks.ranks(bench, folder),
        "files": lambda: files.files(bench, folder),
    }


def show(found: "list[Found]", folder: Path) -> None:
    """Print each figure beside its target.

    Raises:
        VoVNetError: a check failed: the times beside it mean nothing.
    """
    from vovnet.benchmark.measure import Measurement
    from vovnet.benchmark.phases import CHECK
    from vovnet.errors import VoVNetError

    targets = [one for one in found if isinstance(one, Measurement)]
    for one in targets:
        verdict = "pass" if one.passed else "MISS"
        say(f"{verdict}  {one.name}: {one.value:.4g} {one.unit} (at most {one.target:.4g}; {one.detail})")
    say(f"outputs: {folder}")
    broken = [one.name for one in targets if one.name.startswith(CHECK) and not one.passed]
    if broken:
        raise VoVNetError(f"{broken[0]} failed; the times in {folder} count for nothing until it is mended.")


finish = all_done  # a sweep of it leaves no table


def main() -> None:
    """Console entry point."""
    launch("benchmark", run, show, finish)


if __name__ == "__main__":
    main()
