"""``+experiment=question``, which is one command, against a loop in plain transformers; both as whole processes.

What counts is CPU time: how long they take beside other work tells more of that work.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.performance.measure import Measurement, ratio
from tests.performance.phases import CHECK
from tests.performance.plain import RATIOS
from tests.performance.sweeps import command
from vovnet.actions import USUAL
from vovnet.compose import compose_typed
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.asked import Asked
from vovnet.outcomes.convert import column
from vovnet.schema import RunConfig
from vovnet.vlm.files import find_checkpoint

QUESTIONS = 200
WARM = 5.1  # CPU seconds: 0.35 of what four commands once took
TRAINED = ("training.epochs=1", "training.max_samples=1000")
PRUNED = "policy/baseline=vision_token_pruning_proxy"


def question(config: RunConfig, rounds: int, count: int = QUESTIONS) -> list[Measurement]:
    """Answers compared, then the command without stored outcomes against the loop, and with them.

    Raises:
        VoVNetError: a command failed.
    """
    runs = Path(config.paths.runs).absolute()
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-question-", dir=runs) as folder:
        place = ["dataset=mini_textvqa", f"eval.max_samples={count}", *TRAINED, f"paths.runs={folder}"]
        command("train", *place)
        store, data = Path(folder, "outcomes"), Path(folder, "data", "mini_textvqa")
        said: list[dict[str, list[str]]] = []

        def asked() -> None:
            command("eval", "+experiment=question", *place)

        def cold() -> float:
            shutil.rmtree(store)
            return cpu_seconds(asked)

        def plain() -> float:
            return cpu_seconds(lambda: said.append(_answers(config, data, count)))

        found = ratio("the question, cold, CPU time against a loop in plain transformers", cold, plain, 1.0, rounds)
        warm = min(cpu_seconds(asked) for _ in range(2))
        wrong = _unlike(said[0], place, count)
    looks = f"of {count} questions under {len(said[0])} looks"
    return [
        Measurement(f"{CHECK}answers of the loop that the store does not hold", wrong, "answers", 0, looks),
        found,
        Measurement("the question, warm, CPU time", warm, "s", WARM, f"{count} questions"),
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    """What the processes that some work waits for take of all cores."""

    def used() -> float:
        found = resource.getrusage(resource.RUSAGE_CHILDREN)
        return found.ru_utime + found.ru_stime

    begun = used()
    work()
    return used() - begun


def _answers(config: RunConfig, data: Path, count: int) -> dict[str, list[str]]:
    """What the loop prints."""
    folder = find_checkpoint(config.backbone).folder
    call = [sys.executable, "-m", "tests.performance.plain", str(folder), str(data), str(count)]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        raise VoVNetError(f"the loop in plain transformers failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def _unlike(said: dict[str, list[str]], place: list[str], count: int) -> int:
    """How many of the loop's answers the store holds otherwise."""
    asked = {look.label: (Asked(compose_typed("eval", place), (look,)), look) for look in USUAL}
    for share in RATIOS:
        pruned = compose_typed("eval", [PRUNED, f"policy.baseline.pruning_ratio={share}", *place])
        asked[f"full {share}"] = Asked(pruned, USUAL[2:]), USUAL[2]
    wrong = 0
    for name, (one, look) in asked.items():
        dataset = load_dataset(one.config.dataset, "test")
        table = one.tables(find_checkpoint(one.config.backbone), dataset).answers[look.label].read(count)
        wrong += sum(a != b for a, b in zip(column(table["prediction"]), said[name], strict=True))
    return wrong
