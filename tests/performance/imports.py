"""Importing another engine's rows, from the start of Python to the end of the command."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.performance.measure import Measurement, in_a_process, peak_mb
from vovnet.api.commands import run
from vovnet.data import VQADataset, load_dataset
from vovnet.files import write_text
from vovnet.schema import RunConfig

TOKENS = {"no": 0, "coarse": 16, "full": 64}  # vision tokens by look
WIDTH = 64  # of the hidden states


def imports(config: RunConfig) -> list[Measurement]:
    """Every question of the training split (easy-VQA's 38,575) under three looks, as JSON lines with hidden states.

    Raises:
        VoVNetError: the import failed.
    """
    runs, data = Path(config.paths.runs), load_dataset(config.dataset, "train")
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-imports-", dir=runs) as folder:
        count = _write(Path(folder) / "rows", data)
        begun = time.monotonic()
        found = in_a_process("an import", __name__, folder)
        took = time.monotonic() - begun
    what = f"{count:,} rows of JSON lines, {found['cpu']:.1f} s of them CPU time"
    return [
        Measurement("importing rows, time", took, "s", 10, what),
        Measurement("importing rows, peak memory", found["peak_mb"], "MB", 500, what),
    ]


def _write(folder: Path, data: VQADataset) -> int:
    """Rows whose answers are right half of the time; the number of them."""
    folder.mkdir()
    rng, lines = np.random.default_rng(0), list[str]()
    for place in range(len(data)):
        sample = data[place]
        for look, tokens in TOKENS.items():
            right, entropy, margin, probability = rng.random(4).tolist()
            row = {"id": sample.id, "look": look, "vision_tokens": tokens, "entropy": entropy, "margin": margin}
            row |= {"prediction": sample.answers[0] if right < 0.5 else "blue", "answer_probability": probability}
            lines.append(json.dumps(row | ({"features_row": place} if look == "no" else {})) + "\n")
    write_text(folder / "rows.jsonl", "".join(lines))
    np.save(folder / "features.npy", rng.standard_normal((len(data), WIDTH), dtype=np.float32))
    return len(lines)


def measure(folder: str) -> dict[str, float]:
    """Import in this process; CPU seconds from its start, and the most memory held."""
    rows = ["store.import_from=" + str(Path(folder) / "rows"), "store.engine=made up"]
    run("store", [*rows, "backbone=imported", "backbone.name=made_up", "eval.split=train", f"paths.runs={folder}"])
    return {"cpu": time.process_time(), "peak_mb": peak_mb()}


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
