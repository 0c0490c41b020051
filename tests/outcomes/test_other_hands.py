"""The store while others remove from it, with links to nowhere in it, and files that are edited in place."""

import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import Configure, compose_config
from vovnet.errors import VoVNetError
from vovnet.fingerprint import fingerprint_files
from vovnet.outcomes.inspect import prune, summarise
from vovnet.outcomes.parts import DamagedPart
from vovnet.outcomes.rows import FileRows
from vovnet.outcomes.store import OutcomeStore, TableKey
from vovnet.outcomes.tables import Tables
from vovnet.results.evaluate import evaluate

KEY = TableKey("full", {"dataset": {"name": "d"}, "backbone": {"fingerprint": "f" * 12}})


@pytest.fixture
def configure(easy_data: Path, tmp_path: Path) -> Configure:
    return lambda *overrides, root="eval": compose_config(
        f"dataset.path={easy_data}", f"paths.runs={tmp_path}", "eval.max_samples=6", *overrides, root=root
    )


@pytest.mark.parametrize("times", [1, 9])
def test_rows_that_are_pruned_before_they_are_read_are_computed_again_or_missed_in_a_sentence(
    times: int, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = Tables.judge, [times]

    def judge(self: Tables, *arguments: object) -> None:
        original(self, *arguments)  # type: ignore[arg-type]
        if left[0]:
            left[0] -= 1
            prune(tmp_path / "outcomes", "full", confirm=True)

    monkeypatch.setattr(Tables, "judge", judge)
    config = configure("policy/baseline=always_full")
    if times == 1:
        assert evaluate(config, tmp_path / "run").row.num_samples == 6
    else:
        with pytest.raises(VoVNetError, match="holds rows up to 0, not 6: others have removed them; run"):
            evaluate(config, tmp_path / "run")


def test_writing_reading_listing_and_pruning_at_once_end_in_sentences_at_most(tmp_path: Path) -> None:
    table, problems, until = OutcomeStore(tmp_path).table(KEY), list[Exception](), time.monotonic() + 0.7
    table.write(0, pa.table({"x": [0]}), {})

    def repeat(work: object, *allowed: type[Exception]) -> None:
        while time.monotonic() < until:
            try:
                work()  # type: ignore[operator]
            except allowed:
                continue
            except Exception as error:  # noqa: BLE001  (whatever it is, the test shows it)
                problems.append(error)
                return

    works = (
        (lambda: table.write(0, pa.table({"x": [0]}), {}), VoVNetError),  # pruned again in each of its attempts
        (lambda: table.read(1), DamagedPart),
        (lambda: summarise(tmp_path),),
        (lambda: prune(tmp_path, "full", confirm=True), VoVNetError),  # there is none at this moment
        (lambda: prune(tmp_path, "full", confirm=True), VoVNetError),
    )
    threads = [threading.Thread(target=repeat, args=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_links_to_nowhere_hide_no_table(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, pa.table({"x": [0]}), {})
    (table.folder / "000000001-000000002-00000000.arrow").symlink_to("nowhere")
    (table.folder / "notes.json").symlink_to("nowhere")
    (tmp_path / "coarse-0123456789abcdef").symlink_to("nowhere")
    (tmp_path / "no-0123456789abcdef").symlink_to(table.folder)
    assert [(one.branch, one.rows) for one in summarise(tmp_path)] == [("full", 1), ("no", 1)]
    prune(tmp_path, "no-", confirm=True)
    assert table.read(1)["x"].to_pylist() == [0]  # the link is removed, not what it led to
    prune(tmp_path, "full", confirm=True)
    assert summarise(tmp_path) == []


def test_a_file_that_goes_while_it_is_in_use_is_a_sentence(tmp_path: Path) -> None:
    import numpy as np

    with pytest.raises(VoVNetError, match="was removed while it was in use"):
        np.asarray(FileRows(tmp_path / "gone", 0, (1, 1), np.dtype("float32")))


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_blob_of_the_hub_that_is_edited_in_place_has_another_fingerprint(size: int, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    blob.write_bytes(b"a" * size)
    link = tmp_path / "snapshots/model.safetensors"
    link.parent.mkdir()
    link.symlink_to(blob)
    before = fingerprint_files([link])
    blob.write_bytes(b"b" + b"a" * (size - 1))
    assert fingerprint_files([link]) != before
