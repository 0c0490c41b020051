"""From files by the commands that a user types: a checkpoint on disk, a folder of JPEGs, and default settings.

Beside the command: the same collection on images that are ready, and a plain loop of processor and ``generate``.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForImageTextToText

from tests.performance.clock import once
from tests.performance.measure import Measurement, in_a_process, seconds
from tests.performance.sweeps import command
from tests.performance.workload import Bench, Timing
from vovnet.actions import USUAL, Action
from vovnet.compose import compose_typed
from vovnet.data import VQADataset, load_dataset
from vovnet.outcomes.ahead import build_batch
from vovnet.outcomes.collect import Collector
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.outcomes.store import OutcomeStore
from vovnet.outcomes.tables import Tables
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.qwen.forward import pad_left
from vovnet.vlm.qwen.generate import generate
from vovnet.vlm.qwen.model import Backbone

TOKENS = ["eval.max_new_tokens=16"]
MODULE, SECONDS = "tests.performance.files", "seconds_a_question"
LOOP = 32  # questions at once of the plain loop, which at 64 takes as long a question


@dataclass(frozen=True)
class Amounts:
    """Images, those of a short run, those that are made ready, and those of the plain loop."""

    images: int
    short: int
    ready: int
    loop: int


AMOUNTS = {False: Amounts(1088, 64, 512, 192), True: Amounts(12, 4, 8, 4)}  # by ``Bench.tiny``


def files(bench: Bench, folder: Path) -> Iterator[Measurement | Timing]:
    """Questions a second of ``experiments.collect``, its start, and what they are compared with."""
    amounts = AMOUNTS[bench.tiny]
    place = folder / "files"
    shutil.rmtree(place, ignore_errors=True)
    given = make_files(bench, place, amounts.images)
    # The first run hashes the weights and compares the fast path with the generic one; both are remembered.
    first = _collect(place, given, amounts.short)
    short = _collect(place, given, amounts.short)
    long, used = _watched(lambda: _collect(place, given, amounts.images))
    took = max(long - short, 1e-9) / (amounts.images - amounts.short)  # seconds a question, the start left out
    yield Timing("files", f"collect, {amounts.images} JPEGs", 64, amounts.images, took * amounts.images, note=used)
    ready = in_a_process("the ready images", MODULE, "ready", place, amounts.ready, *given)[SECONDS]
    yield _share("seconds a question from files, by those of ready images", took, ready, 1 / 0.9)
    start = short - amounts.short * took
    detail = f"a run of {amounts.short} questions took {short:.1f} s, the first one of this checkpoint {first:.1f} s"
    yield Measurement("start of a collection, beside its questions", start, "s", 6, detail)
    plain = in_a_process("the plain loop", MODULE, "loop", place, amounts.loop, *given)[SECONDS]
    yield _share("seconds a question from files, by a plain loop's", took, plain, 1 / 2)


def _share(name: str, ours: float, other: float, target: float) -> Measurement:
    return Measurement(name, ours / other, "x", target, f"{1 / ours:.1f} against {1 / other:.1f} questions a second")


def make_files(bench: Bench, place: Path, count: int) -> list[str]:
    """Write a checkpoint and questions about JPEGs; returns the overrides that name them."""
    model, data = place / "model", place / "data"
    (data / "images").mkdir(parents=True)
    bench.backbone.model.save_pretrained(model)
    bench.backbone.builder.save(model)
    width, height = bench.load.images[-1]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda n: _photo(data / f"images/{n}.jpg", n, width, height), range(count)))
    digits = np.random.default_rng(0).integers(0, 10, (count, 40))
    rows = [
        {"image": f"images/{n}.jpg", "question": "".join(map(str, digits[n, : 12 + n % 28])), "answer": "77"}
        for n in range(count)
    ]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [f"backbone={bench.config.backbone.name}", f"backbone.path={model}"]
    if bench.config.backbone.batch_invariant:
        given.append("backbone.batch_invariant=true")
    return [*given, "dataset=jsonl", f"dataset.path={data}", *TOKENS]


def _photo(path: Path, number: int, width: int, height: int) -> None:
    """Blots with grain, which take as many bytes as a photograph."""
    rng = np.random.default_rng(number)
    blots = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    levels = np.asarray(blots.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = rng.integers(-12, 13, levels.shape, dtype=np.int16)
    Image.fromarray((levels + grain).clip(0, 255).astype(np.uint8)).save(path, quality=85)


def _collect(place: Path, given: Sequence[str], count: int) -> float:
    """Seconds of the command into a fresh store, start and end of the process included."""
    store = place / "store"
    shutil.rmtree(store, ignore_errors=True)
    where = [f"paths.store={store}", f"paths.runs={place / 'runs'}"]
    return seconds(lambda: command("collect", *given, *where, f"eval.max_samples={count}"))


def _watched(work: Any) -> tuple[float, str]:
    """What work returns, and the device's use in the second half of it, as nvidia-smi says."""
    if shutil.which("nvidia-smi") is None:
        return work(), ""
    call = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as watch:
        found = work()
        watch.terminate()
        said = [int(line) for line in (watch.communicate()[0] or "").split() if line.isdigit()]
    half = said[len(said) // 2 :]
    return found, f"utilisation {sum(half) / max(1, len(half)):.0f} % in the second half"


def _ready(place: Path, given: Sequence[str], count: int) -> float:
    """Seconds a question of the same collection where every image has been opened and resized."""
    config = compose_typed("collect", [*given, f"paths.store={place / 'ready'}"])
    dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    backbone = load_backbone(config.backbone, config.vision_budget, config.eval.cache_reuse, checkpoint=checkpoint)
    backbone.builder.kept.limit = 2**36
    keys = table_keys(config, checkpoint, dataset, looks_of(config, USUAL))

    def collect(folder: str) -> None:
        tables = Tables.of(OutcomeStore(place / folder), keys, dataset, with_text=True)
        Collector(
            OutcomeStore(place / folder), tables.collected, USUAL, dataset, config.eval, lambda: backbone, {}, "ready"
        ).fill(count)

    collect("ready0")
    return once(lambda: collect("ready1"), backbone.device) / count


@dataclass(frozen=True)
class PlainBatches(Dataset[list[dict[str, Any]]]):
    """Inputs of ``generate`` for NO, COARSE and FULL; images by the model's own processor, in worker processes."""

    dataset: VQADataset
    builder: Any
    count: int

    def __len__(self) -> int:
        return -(-self.count // LOOP)

    def __getitem__(self, number: int) -> list[dict[str, Any]]:
        rows = range(number * LOOP, min((number + 1) * LOOP, self.count))
        batch = build_batch(self.dataset, self.builder, rows, [])
        pictures = [self.dataset[row].images[0].load() for row in rows]
        return [self._inputs(batch, pictures, action) for action in USUAL]

    def _inputs(self, batch: Any, pictures: Sequence[Image.Image], action: Action) -> dict[str, Any]:
        form, seen, cpu = self.builder.format, dict[str, Any](), torch.device("cpu")
        if action is Action.NO:
            prompts = [form.text_pass(question) for question in batch.questions]
        else:
            sizes = [self.builder.budget.target_size(*picture.size, action) for picture in pictures]
            shown = [
                picture.resize(size, Image.Resampling.BICUBIC) for picture, size in zip(pictures, sizes, strict=True)
            ]
            seen = dict(self.builder.image_processor(images=shown, do_resize=False, return_tensors="pt"))
            grids = [tuple(grid) for grid in seen["image_grid_thw"].tolist()]
            prompts = [form.with_images(q, [grid]) for q, grid in zip(batch.questions, grids, strict=True)]
        padded = pad_left(prompts, [0] * len(prompts), self.builder.end_token, cpu)
        inputs = {"input_ids": padded.ids, "attention_mask": padded.mask}
        if seen:
            inputs["mm_token_type_ids"] = ((padded.ids == form.image_pad) & padded.mask.bool()).int()
        return inputs | seen


def _plain_loop(place: Path, given: Sequence[str], count: int) -> float:
    """Seconds a question of the three branches by transformers alone, after a first batch."""
    config = compose_typed("collect", list(given))
    dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    backbone = load_backbone(config.backbone, config.vision_budget, checkpoint=checkpoint)
    assert isinstance(backbone, Backbone)
    device, decoding = backbone.device, decoding_of(config.eval)
    model: Any = AutoModelForImageTextToText.from_pretrained(
        checkpoint.folder,
        dtype=backbone.model.dtype,
        attn_implementation=config.backbone.attn_implementation,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    model = model.to(device).eval()
    workers = min(8, os.cpu_count() or 1) if device.type == "cuda" else 0
    batches = PlainBatches(dataset, backbone.builder, count)
    loader = DataLoader(batches, batch_size=None, num_workers=workers, pin_memory=device.type == "cuda")

    def answer(inputs: Mapping[str, Any]) -> None:
        moved = {name: part.to(device, non_blocking=True) for name, part in inputs.items()}
        ids = generate(model, moved, decoding, backbone.end_tokens, backbone.builder.end_token)
        backbone.builder.tokenizer.batch_decode(ids.tolist())

    with torch.inference_mode():
        for inputs in batches[0]:
            answer(inputs)  # first calls take longer
        begun = time.perf_counter()
        for three in loader:
            for inputs in three:
                answer(inputs)
    return (time.perf_counter() - begun) / count


def main(kind: str, place: Path, count: int, given: Sequence[str]) -> None:
    """Measure in a process whose memory and configuration are nobody else's."""
    work = {"ready": _ready, "loop": _plain_loop}[kind]
    print(json.dumps({SECONDS: work(place, given, count)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
