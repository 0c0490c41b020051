"""A fuzz of compositions: random valid overrides end in results that hold together, or in one sentence.

    python -m tests.fuzz seed=0 count=1000 [folder=multirun/fuzz]

Composition N of a seed is always the same. FOLDER/SEED.jsonl gets a line for each: its overrides, what it came to, and
the invariants that it violates; those that have a line already are left out, so that a run is resumed by its command.
"""

import io
import json
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import matplotlib.figure
from PIL import Image

import vovnet
from tests.fuzz.checks import computed, cost_rises, differences, problems_of_files, sentence_problems, table
from tests.fuzz.draw import Composition, composition
from tests.policy.test_route import policy_file
from vovnet.compose import compose_typed
from vovnet.errors import VoVNetError
from vovnet.session import Session

TRAINING = ("training.max_samples=24", "training.epochs=2", "training.batch_size=8")
RESULTS = "results.csv"
QUESTIONS = (
    "What is it?", "Ünïcode: 猫？\u2028next", "=1+1", "a \x1b[31mred\x1b[0m one?", "<|image_pad|> x", "{question}",
    "? " * 90,
)  # fmt: skip


def draw_jsonl(folder: Path) -> None:
    """A set with texts as nobody expects them, images of unlike sizes, several images, options."""
    rng = Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 30), ("test", 14)):
        rows: list[dict[str, Any]] = []
        for number in range(count):
            names = [f"{split}{number}-{part}.png" for part in range(rng.choice([1, 1, 2]))]
            for name in names:
                size = (rng.randint(1, 90), rng.randint(1, 90))
                Image.new("RGB", size, tuple(rng.randbytes(3))).save(folder / name)
            row = {"image": names, "question": rng.choice(QUESTIONS) + f" {number}", "answers": ["red", "=1"]}
            rows.append(row | ({"options": ["left", "right"], "answers": ["B"]} if rng.random() < 0.4 else {}))
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Fuzz:
    """One seed's compositions, run in one session and one folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.session = folder, seed, Session()
        self.runs, self.log = folder / f"{seed}/runs", folder / f"{seed}.jsonl"
        self.places = [f"paths.runs={self.runs}", f"paths.store={folder}/{seed}/outcomes", f"paths.data={folder}/data"]

    def run(self, numbers: Iterator[int] | range) -> None:
        """Run the compositions that have no line yet."""
        known = {line["number"] for line in self.lines()}
        for number in (number for number in numbers if number not in known):
            drawn, begun = composition(Random(f"{self.seed} {number}")), time.monotonic()
            line = {"number": number, **vars(drawn), **self.one(drawn, number)}
            with self.log.open("a") as log:
                log.write(json.dumps(line | {"seconds": round(time.monotonic() - begun, 2)}) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def one(self, drawn: Composition, number: int) -> dict[str, Any]:
        """What a composition comes to, and what it violates."""
        shutil.rmtree(self.runs, ignore_errors=True)
        self.runs.mkdir(parents=True)
        said, violated = io.StringIO(), list[str]()
        outcome, sentence = "done", ""
        with redirect_stdout(said), redirect_stderr(said):
            try:
                for problem in self.problems(drawn, number):
                    violated.append(problem)
            except VoVNetError as error:
                outcome, sentence = "refused", str(error)
                violated += sentence_problems(sentence)
                violated += [f"refused, but left {rows}" for path in self.runs.rglob(RESULTS) if (rows := table(path))]
            except Exception:  # noqa: BLE001  (which is what the fuzz looks for)
                outcome, sentence = "raised", traceback.format_exc()
                violated.append("an exception that is no VoVNetError")
        line = {"outcome": outcome, "sentence": sentence, "violated": violated}
        return line | ({"said": said.getvalue()[-2000:]} if violated else {})

    def problems(self, drawn: Composition, number: int) -> Iterator[str]:
        """Evaluate in replay, again, and live; yields what does not hold.

        Raises:
            VoVNetError: the composition is refused.
        """
        given = [*self.places, *TRAINING, *drawn.overrides]
        given += [f"dataset.path={self.folder}/jsonl"] if "dataset=jsonl" in given else []
        try:
            config = compose_typed("eval", given)
        except VoVNetError as error:
            yield from self.refused_at_once(given, str(error))
            raise
        if drawn.trained:
            vovnet.run("train", given, session=self.session)
        elif not config.policy.baseline.name:
            given.append(f"eval.checkpoint={policy_file(config, self.runs / f'{number}.safetensors')}")
        sweep = ["-m", *given, f"policy.lambda_cost={','.join(map(str, drawn.lambdas))}", "name=replay"]
        first = self.evaluate(sweep)
        before = (first / RESULTS).read_bytes()
        yield from problems_of_files(first)
        yield from cost_rises(first)
        if self.evaluate(sweep) != first or (first / RESULTS).read_bytes() != before:
            yield "the same command comes to other results"
        if rows := computed(first):
            yield f"computed twice: {rows}"
        chosen = drawn.lambdas[number % len(drawn.lambdas)]
        try:
            live = self.evaluate([*given, "-m", "eval.mode=live", f"policy.lambda_cost={chosen}", "name=live"])
        except VoVNetError as error:
            yield from sentence_problems(str(error))
        else:
            yield from problems_of_files(live)
            yield from differences(first, live, chosen)

    def refused_at_once(self, given: list[str], sentence: str) -> Iterator[str]:
        """What is wrong with how the command refuses a configuration."""
        try:
            vovnet.run("eval", given, session=self.session)
        except VoVNetError as error:
            if str(error) != sentence:
                yield f"refused by another sentence: {error}"
        else:
            yield f"not refused: {sentence}"
        if left := [*self.runs.iterdir()]:
            yield f"refused, but left {left}"

    def evaluate(self, overrides: list[str]) -> Path:
        return vovnet.run("eval", overrides, session=self.session).folder


def main(arguments: list[str]) -> int:
    """Run a seed's compositions; 1 if any violates an invariant."""
    given = dict(argument.split("=", 1) for argument in arguments)
    folder = Path(given.get("folder", "multirun/fuzz")).absolute()
    # Drawing figures takes longer than all the rest.
    matplotlib.figure.Figure.savefig = lambda self, place, **_: Path(place).write_text("a figure")  # type: ignore[method-assign]
    draw_jsonl(folder / "jsonl")
    fuzz, count = Fuzz(folder, int(given["seed"])), int(given["count"])
    fuzz.run(range(count))
    lines = [line for line in fuzz.lines() if line["number"] < count]
    for line in lines:
        for problem in line["violated"]:
            print(f"{line['number']}: {problem}\n    {' '.join(line['overrides'])} {line['lambdas']}")
    print(dict(Counter(line["outcome"] for line in lines)), f"{sum(map(bool, (n['violated'] for n in lines)))} violate")
    return int(any(line["violated"] for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
