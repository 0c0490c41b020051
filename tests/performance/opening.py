"""Opening a large set of one's own: 100,000 questions about 25,000 image files."""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.performance.measure import Measurement, in_a_process, peak_mb
from vovnet.schema import DatasetConfig, SplitFiles

QUESTIONS, ASKED_OF_ONE = 100_000, 4  # questions in all, and about each image


def opening(runs: Path, questions: int = QUESTIONS) -> list[Measurement]:
    """Seconds and memory of a process that opens it for the first time: each image is read once, for its hash.

    Raises:
        VoVNetError: it could not be opened.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-opening-", dir=runs) as folder:
        write_questions(Path(folder), questions)
        found = in_a_process("opening a large set", __name__, folder)
    detail = f"{questions:,} questions in JSONL, {questions // ASKED_OF_ONE:,} image files"
    return [
        Measurement("opening a large set", found["seconds"], "s", 5.0, detail),
        Measurement("opening a large set, memory on top", found["grown_mb"], "MB", 500.0, detail),
    ]


def write_questions(folder: Path, questions: int) -> None:
    """Small PNG files that all differ, and the questions about them."""
    import numpy as np
    from PIL import Image

    (folder / "images").mkdir()
    for number in range(-(-questions // ASKED_OF_ONE)):
        pixels = np.frombuffer(number.to_bytes(12, "big") * 16, np.uint8).reshape(8, 8, 3)
        Image.fromarray(pixels).save(folder / f"images/{number:06d}.png")
    with (folder / "test.jsonl").open("w") as file:
        for number in range(questions):
            row = {
                "id": str(number),
                "image": f"images/{number // ASKED_OF_ONE:06d}.png",
                "question": f"What is shown in picture number {number}, and why?",
                "options": ["left", "right", "above", "below"],
                "answers": ["B"],
            }
            file.write(json.dumps(row) + "\n")


def measure_opening(folder: Path) -> dict[str, float]:
    """Open the questions in a folder; ``seconds``, and by how much the process has ``grown_mb``."""
    from vovnet.data import load_dataset

    files = SplitFiles(train=(), test=("*.jsonl",))
    config = DatasetConfig("jsonl", str(folder), files, "{question}", open_template=None, on_error="raise")
    before, begun = peak_mb(), time.perf_counter()
    load_dataset(config, "test")
    took = time.perf_counter() - begun
    return {"seconds": took, "grown_mb": peak_mb() - before}


if __name__ == "__main__":
    print(json.dumps(measure_opening(Path(sys.argv[1]))))
