"""What a collection costs a question, and how much memory it holds, as the set grows."""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.performance.measure import Measurement, in_a_process, peak_mb
from vovnet.schema import RunConfig

SMALL, LARGE = 1_000, 4_000  # questions of easy-VQA's training split
WARM = 32  # questions before the clock starts: loading the backbone, first allocations


def growth(config: RunConfig, small: int = SMALL, large: int = LARGE) -> list[Measurement]:
    """A large collection against a small one, each in a process and a store of its own.

    Raises:
        VoVNetError: a collection failed.
    """
    runs = Path(config.paths.runs)
    runs.mkdir(parents=True, exist_ok=True)
    found = {}
    for count in (small, large):
        with tempfile.TemporaryDirectory(prefix="benchmark-growth-", dir=runs) as folder:
            what = f"collecting {count} questions"
            found[count] = in_a_process(what, __name__, folder, Path(config.paths.data).absolute(), count)
    each = {count: 1e3 * one["seconds"] / count for count, one in found.items()}
    peaks = {count: one["peak_mb"] for count, one in found.items()}
    took = f"{each[large]:.2f} ms a question of {large:,}, {each[small]:.2f} ms of {small:,}"
    held = f"{peaks[large]:.0f} MB with {large:,} questions, {peaks[small]:.0f} MB with {small:,}"
    return [
        Measurement("collection, time a question as the set grows", each[large] / each[small], "x", 1.1, took),
        Measurement("collection, peak memory as the set grows", peaks[large] / peaks[small], "x", 1.1, held),
    ]


def measure(folder: str, data: str, count: int) -> dict[str, float]:
    """Collect in this process; seconds after the warm-up, and the most memory held."""
    from hydra import compose, initialize_config_dir

    from vovnet.actions import USUAL
    from vovnet.compose import register_resolvers, to_typed
    from vovnet.data import load_dataset
    from vovnet.options import conf_dir
    from vovnet.outcomes.asked import Asked
    from vovnet.outcomes.load import collect_outcomes
    from vovnet.vlm.files import find_checkpoint

    register_resolvers()
    asked = [f"paths.runs={folder}", f"paths.data={data}", "eval.split=train", f"eval.chunk_rows={WARM}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        warm, config = (to_typed(compose("eval", keys)) for keys in (asked, asked[:-1]))
    checkpoint, dataset = find_checkpoint(config.backbone), load_dataset(config.dataset, config.eval.split)
    collect_outcomes(Asked(warm, USUAL), checkpoint, dataset, WARM)
    begun = time.perf_counter()
    collect_outcomes(Asked(config, USUAL), checkpoint, dataset, count + WARM)
    return {"seconds": time.perf_counter() - begun, "peak_mb": peak_mb()}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
