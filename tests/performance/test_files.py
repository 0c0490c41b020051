"""The part that measures from files: the command reads what it writes, and its figures follow from its times."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.performance import files
from tests.performance.measure import Measurement
from tests.performance.test_random_sizes import configure
from tests.performance.workload import Bench, make_bench
from vovnet.compose import compose_typed
from vovnet.data import load_dataset
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.qwen.loading import load_builder


@pytest.fixture(scope="module")
def bench() -> Bench:
    return make_bench(configure(size="2b"), tiny=True, rounds=1)


def test_the_command_can_read_what_is_written(bench: Bench, tmp_path: Path) -> None:
    config = compose_typed("collect", files.make_files(bench, tmp_path, 5))
    dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    assert len(dataset) == 5
    assert dataset[0].images[0].size() == bench.load.images[-1]
    assert dataset[0].images[0].path.read_bytes()[:2] == b"\xff\xd8"  # a JPEG
    builder = load_builder(config.backbone, config.vision_budget, checkpoint)
    (three,) = [files.PlainBatches(dataset, builder, 3)[0]]
    assert [len(inputs["input_ids"]) for inputs in three] == [3, 3, 3]
    assert ["pixel_values" in inputs for inputs in three] == [False, True, True]


def test_the_command_reads_as_it_is_asked_to(bench: Bench, tmp_path: Path) -> None:
    invariant = replace(bench, config=configure("backbone.batch_invariant=true", size="2b"))
    assert compose_typed("collect", files.make_files(invariant, tmp_path, 1)).backbone.batch_invariant


def test_its_figures(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = files.AMOUNTS[True]
    took = iter([9.0, 5.0, 5.0 + 0.5 * (amounts.images - amounts.short)])  # half a second a question, 3 s of start
    monkeypatch.setattr(files, "_collect", lambda *_: next(took))
    seconds = {"ready": 0.4, "loop": 2.0}
    monkeypatch.setattr(files, "in_a_process", lambda *given: {files.SECONDS: seconds[given[2]]})
    found = [one for one in files.files(bench, tmp_path) if isinstance(one, Measurement)]
    assert [one.value for one in found] == pytest.approx([0.5 / 0.4, 3.0, 0.5 / 2.0])
    assert [one.passed for one in found] == [False, True, True]
