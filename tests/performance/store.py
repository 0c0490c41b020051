"""Scale of the outcome store: a made-up store of many samples, opened and evaluated in a fresh process.

python -m tests.performance.store FOLDER SAMPLES     (what ``large_store`` starts, once the store is written)
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.performance.measure import Measurement, in_a_process, peak_mb
from vovnet.actions import Action
from vovnet.outcomes.convert import (
    branch_from_table,
    branch_table,
    scores_from_table,
    scores_table,
    text_from_table,
    text_table,
)
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, Outcomes, TextOutcomes, with_scores
from vovnet.outcomes.store import OutcomeStore, TableKey

WIDTH, PART = 4096, 4096  # half-precision features of a sample; samples of a part
TOKENS = {Action.NO: 0, Action.COARSE: 64, Action.FULL: 1024}  # vision tokens
SCORES = TableKey("scores", {"made_up": True})
PRICES = np.linspace(0, 1, 10)  # lambdas
SETTLED = 4.0  # seconds until a file that does not change counts as settled, see vovnet.fingerprint


def large_store(runs: Path, samples: int, settled: float = SETTLED) -> list[Measurement]:
    """Write a store under ``runs``, measure it twice (with and without its checksums known), and delete it.

    Raises:
        VoVNetError: the measuring process failed.
    """
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="benchmark-store-", dir=runs))
    try:
        write_store(folder, samples)
        time.sleep(settled)
        first, later = (in_a_process("measuring the store", __name__, folder, samples) for _ in range(2))
    finally:
        shutil.rmtree(folder)
    detail = f"{samples:,} samples x 3 branches, {WIDTH} features: {later['gigabytes']:.2f} GB"
    checked = f"{detail}; {first['open']:.2f} s where checksums are not known yet"
    return [
        Measurement("store, open", later["open"], "s", 1.0, checked),
        Measurement("store, evaluate a policy", later["evaluate"], "s", 15.0, f"{detail}; open included"),
        Measurement("store, peak memory", later["peak_mb"], "MB", 2000.0, detail),
        Measurement("store, a further lambda", later["price"], "s", 0.1, f"{detail}; mean of {len(PRICES)}"),
    ]


def write_store(folder: Path, samples: int, width: int = WIDTH, part: int = PART) -> None:
    """Made-up outcomes, part by part; FULL is right most often, and the features tell where NO is."""
    store, rng = OutcomeStore(folder), np.random.default_rng(0)
    tables = {name: store.table(key) for name, key in _keys().items()}
    for start in range(0, samples, part):
        size = min(part, samples - start)
        hidden = rng.standard_normal((size, width), dtype=np.float32).astype(np.float16)
        entropy, margin = rng.random((2, size), dtype=np.float32)
        text = TextOutcomes(BlockRows([hidden]), entropy, margin, np.full(size, 30, np.int32))
        tables["text"].write(start, text_table([text], range(size)), {})
        for action, tokens in TOKENS.items():
            easy = hidden[:, 0].astype(np.float32) > (0.5, -0.5, -2.0)[int(action)]
            made = _branch(easy, tokens, rng)
            tables[action.label].write(start, branch_table([made], range(size)), {})
            tables[action.label].inner(SCORES).write(start, scores_table(made), {})


def _branch(right: np.ndarray, tokens: int, rng: np.random.Generator) -> BranchOutcomes:
    def all_of(value: int) -> np.ndarray:
        return np.full(len(right), value, np.int32)

    return BranchOutcomes(
        prediction=(said := np.where(right, "right", "wrong").astype(object)),
        answer=said,
        score=right.astype(np.float64),
        parsed=np.ones(len(right), bool),
        refused=np.zeros(len(right), bool),
        nll=rng.random(len(right), dtype=np.float32),
        confidence=rng.random(len(right), dtype=np.float32),
        vision_tokens=all_of(tokens),
        prompt_tokens=all_of(30 + tokens),
        reused_tokens=all_of(0),
        patches=all_of(4 * tokens),
        generated_tokens=all_of(2),
        seconds=np.full(len(right), 0.01, np.float32),
    )


def _keys() -> dict[str, TableKey]:
    return {name: TableKey(name, {"made_up": True}) for name in ("text", *(action.label for action in TOKENS))}


def measure_store(folder: Path, samples: int, width: int = WIDTH) -> dict[str, Any]:
    """Seconds to open the store, to evaluate a policy from then on, and for each further lambda; memory so far."""
    import torch

    from vovnet.outcomes.routed import Course, Piece, route
    from vovnet.outcomes.units import Tokens
    from vovnet.policy.decide import choose, lambda_curve
    from vovnet.policy.head import PolicyHead
    from vovnet.policy.vovnet import head_values
    from vovnet.results.row import clustered_interval

    torch.manual_seed(0)
    head = PolicyHead(width, 128, len(TOKENS), bounded=True).requires_grad_(False)
    torch.nn.init.normal_(head.output.weight)  # a fresh head's values are all equal
    begun = time.perf_counter()
    tables = {name: OutcomeStore(folder).table(key) for name, key in _keys().items()}
    rows = {name: table.rows(samples) for name, table in tables.items()}
    judged = {action: tables[action.label].inner(SCORES).read(samples) for action in TOKENS}
    read, hidden = {name: one.table for name, one in rows.items()}, rows["text"].matrix("hidden")
    opened = time.perf_counter() - begun

    text = text_from_table(read["text"], hidden)
    branches = {a: with_scores(branch_from_table(read[a.label]), scores_from_table(judged[a])) for a in TOKENS}
    outcomes = Outcomes(text, branches)
    actions = tuple(TOKENS)
    values = head_values(head, text, "hidden")
    costs = outcomes.stacked("vision_tokens", actions) / max(TOKENS.values())
    scores = outcomes.stacked("score", actions)
    chosen = choose(values, costs, 0.1)
    places = {action: np.flatnonzero(chosen == int(action)) for action in TOKENS}
    pieces = [Piece(action, own, outcomes.branches[action].take(own)) for action, own in places.items()]
    routed = route(Course(chosen, pieces, values, None), text, Tokens(max(TOKENS.values())), reads_text=True)
    clustered_interval(routed.chosen.score, np.arange(samples) // 2)
    evaluated = time.perf_counter() - begun

    begun = time.perf_counter()
    lambda_curve(values, costs, scores, PRICES.tolist())
    return {
        "open": opened,
        "evaluate": evaluated,
        "price": (time.perf_counter() - begun) / len(PRICES),
        "peak_mb": peak_mb(),
        "gigabytes": sum(path.stat().st_size for path in folder.rglob("*.arrow")) / 1e9,
        "accuracy": float(routed.chosen.score.mean(dtype=np.float64)),
    }


if __name__ == "__main__":
    print(json.dumps(measure_store(Path(sys.argv[1]), int(sys.argv[2]))))
