"""Speed against yardsticks that are measured in the same run.

python -m experiments.benchmark
python -m experiments.benchmark benchmark.only=[training_step]
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.compose import launch
from vovnet.jobs import all_done
from vovnet.schema import RunConfig

if TYPE_CHECKING:
    from vovnet.benchmark.measure import Measurement


def run(config: RunConfig, folder: Path) -> "list[Measurement]":
    """Measure and write ``benchmark.json``."""
    import logging
    import platform

    import torch

    from vovnet.benchmark.training import policy_training, training_step
    from vovnet.errors import VoVNetError
    from vovnet.files import write_json
    from vovnet.results.provenance import provenance

    parts = {"training_step": training_step, "policy_training": policy_training}
    if config.benchmark is None:
        raise VoVNetError("benchmark.rounds is missing; start from conf/benchmark.yaml.")
    unknown = set(config.benchmark.only) - set(parts)
    if unknown:
        raise VoVNetError(f"there is no benchmark {min(unknown)}; choose among {', '.join(parts)}.")
    found: list[Measurement] = []
    for name in config.benchmark.only or parts:
        logging.getLogger(__name__).info("measuring %s", name)
        found += parts[name](config, config.benchmark.rounds)
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads()}
    lines = [measurement.as_json() for measurement in found]
    write_json(folder / "benchmark.json", {"measurements": lines, **machine, **provenance()})
    return found


def show(found: "list[Measurement]", folder: Path) -> None:
    """Print each figure beside its target."""
    for one in found:
        verdict = "pass" if one.passed else "MISS"
        print(f"{verdict}  {one.name}: {one.value:.3f} {one.unit} (at most {one.target:g}; {one.detail})")
    print(f"outputs: {folder}")


def main() -> None:
    """Console entry point."""
    launch("benchmark", run, show, all_done)


if __name__ == "__main__":
    main()
