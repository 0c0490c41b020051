"""Files: whole or not there, also when the disk is full; hashes that no clock can make stale."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.conftest import Configure
from vovnet import fingerprint
from vovnet.data import load_dataset
from vovnet.data.leaks import leak_report
from vovnet.errors import VoVNetError, explained
from vovnet.files import atomic_write, read_object, refuse_foreign, whole_folder, write_json, write_text
from vovnet.jobs import read_record
from vovnet.training.checkpoint_io import AtomicCheckpointIO, read_state
from vovnet.training.curves import read_metrics


def full(path: Path) -> None:
    path.write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_write(tmp_path / "a", full)
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert str(explained(caught.value)) == (
        f"{tmp_path / 'a'}: No space left on device; free space and run the same command again: what is finished is "
        "kept."
    )


def test_a_folder_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        folder.mkdir()
        full(folder / "a")

    (tmp_path / "x").mkdir()
    (tmp_path / "x/old").touch()
    with pytest.raises(OSError, match="No space left"):
        whole_folder(tmp_path / "x", fill)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {".x.partial.lock", "x", "x/old"}


def test_a_log_that_a_kill_has_cut_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/metrics.csv").write_bytes(b"epoch,step,train/loss\r\n0,1,0.5\r\n0,2,0.25\r\n0,1")
    assert read_metrics(tmp_path) == {"train/loss": [(1, 0.5), (2, 0.25)]}


def test_a_folder_in_a_files_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path / "results.csv", "a")
    assert str(explained(caught.value)) == (
        f"{tmp_path}/results.csv: Is a directory; remove what is there and run the same command again: what is "
        "finished is kept."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize("content", [None, "[]", "{", "\xff"])
def test_a_record_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    place = tmp_path / "job.json"
    place.mkdir() if content is None else place.write_text(content, encoding="latin-1")
    with pytest.raises(VoVNetError, match=r"job.json is damaged .*; remove it and run the same command again"):
        read_record(tmp_path)


def test_a_defect_is_not_taken_for_a_full_disk() -> None:
    defect = OSError(22, "Invalid argument")
    assert explained(defect) is defect
    assert explained(KeyError("x")).args == ("x",)


@pytest.mark.parametrize("allocate", [torch.empty, np.empty, pa.allocate_buffer])
def test_too_little_memory_is_one_sentence(allocate: Callable[[int], object]) -> None:
    with pytest.raises(Exception, match="alloc") as caught:
        allocate(2**50)
    assert re.fullmatch(
        "there is too little memory .*; lower the batch or layer sizes and run the same command again: what is "
        "finished is kept.", str(explained(caught.value)),
    )  # fmt: skip


def test_a_hash_is_not_recalled_for_a_file_whose_time_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprint, "SETTLED", 0.0)
    path = tmp_path / "weights"
    path.write_bytes(bytes(fingerprint.SMALL + 1))
    before = path.stat()
    time.sleep(0.02)
    first = fingerprint.file_hashes([path])[path]
    monkeypatch.setattr(fingerprint, "_hash", lambda path: pytest.fail("it was not recalled"))
    assert fingerprint.file_hashes([path])[path] == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.write_bytes(bytes(fingerprint.SMALL) + b"1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fingerprint.file_hashes([path])[path] != first


def test_huge_files_are_read_side_by_side_once_and_something_is_done_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "HUGE", 10)
    monkeypatch.setattr(fingerprint, "SMALL", 5)
    monkeypatch.setattr(fingerprint, "SETTLED", -1.0)
    files = [tmp_path / name for name in "abc"]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * (4 + 10 * number))
    expected, called = fingerprint.fingerprint_files(files[::-1]), list[int]()
    assert fingerprint.fingerprint_files(files, lambda: called.append(1)) == expected
    assert not called  # all hashes were remembered
    files[2].write_bytes(b"new" * 10)
    assert fingerprint.fingerprint_files(files, lambda: called.append(1)) != expected
    assert called == [1]


def saved(path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.arange(2000.0)}}, path)
    return path


def test_a_checkpoint_is_written_beside_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    path = saved(tmp_path / "a.ckpt")
    assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["weight"], torch.arange(2000.0))
    assert read_state(path)["weight"].shape == (2000,)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = saved(tmp_path / "a.ckpt")
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(1000.0).tobytes())] ^= 1  # one bit of one weight
    path.write_bytes({"cut": content[:-700], "flipped": content, "empty": b"", "text": b"no"}[damage])
    with pytest.raises(VoVNetError, match=r"a\.ckpt cannot be read .*remove it"):
        read_state(path)


def test_a_damaged_memory_of_a_comparison_is_made_anew(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure()
    both = load_dataset(config.dataset, "train"), load_dataset(config.dataset, "test")
    first = leak_report(*both, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".npz"}
    for path in files:
        path.write_bytes(path.read_bytes()[:50])
    assert leak_report(*both, tmp_path) == first
    assert caplog.text.count("is damaged") == len(files)
    assert json.loads(next(p for p in files if p.suffix == ".json").read_text())["templates"] == first.templates


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"', "", "{", "[" * 100_000, '{"a": ' * 100_000])
def test_what_is_no_json_object_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(ValueError, match=r"no JSON object|nested too deeply|line 1 column"):
        read_object(tmp_path / "file.json")


def test_a_json_object_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"é\u2028": [1, None]})
    assert read_object(tmp_path / "file.json") == {"é\u2028": [1, None]}


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    refuse_foreign(folder, "ours.json", "key")
    folder.mkdir()
    refuse_foreign(folder, "ours.json", "key")
    (folder / "precious.txt").write_text("x")
    with pytest.raises(VoVNetError, match=r"key=.*data holds something else, which would be removed; name a new"):
        refuse_foreign(folder, "ours.json", "key")
    (folder / "ours.json").write_text("{}")
    refuse_foreign(folder, "ours.json", "key")
    with pytest.raises(VoVNetError, match="holds something else"):
        refuse_foreign(folder / "precious.txt", "ours.json", "key")


def filled(text: str) -> Callable[[Path], None]:
    def fill(place: Path) -> None:
        place.mkdir()
        (place / "file").write_text(text)

    return fill


@pytest.mark.parametrize("moment", ["filling", "between the renames", "removing the old one"])
def test_a_folder_is_the_old_one_or_the_new_one_whenever_its_writer_is_killed(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "x"
    whole_folder(folder, filled("old"))
    new, old = (tmp_path / f".x.{state}.partial" for state in ("new", "old"))
    filled("half")(new)
    if moment == "between the renames":
        folder.rename(old)
    if moment == "removing the old one":
        filled("older")(old)

    def failing(place: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        whole_folder(folder, failing)
    assert (folder / "file").read_text() == "old"
    whole_folder(folder, filled("new"))
    assert (folder / "file").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".x.partial.lock", "x"]
