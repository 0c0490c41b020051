"""The store: keys, parts, overlaps, damage."""

import errno
import fcntl
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.errors import VoVNetError
from vovnet.outcomes.inspect import prune, summarise
from vovnet.outcomes.parts import DamagedPart
from vovnet.outcomes.store import FORMAT, OutcomeStore, Table, TableKey
from vovnet.report.table import print_store


def flip(content: bytes) -> bytes:
    """One bit of a value: still a perfect Arrow file."""
    place = content.index((5).to_bytes(8, "little"))
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]


KEY = TableKey("full", {"dataset": {"name": "d"}, "backbone": {"fingerprint": "f" * 12}})


def rows(start: int, stop: int) -> pa.Table:
    return pa.table({"x": list(range(start, stop))})


def values(table: Table, stop: int) -> list[int]:
    return table.read(stop)["x"].to_pylist()


def test_parts_join_in_order(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(4, rows(4, 8), {})
    assert table.missing((0, 10)) == [(0, 4), (8, 10)]
    table.write(0, rows(0, 4), {})
    assert values(table, 8) == list(range(8))
    assert values(table, 5) == list(range(5))


spans = st.tuples(st.integers(0, 20), st.integers(1, 8)).map(lambda t: (t[0], t[0] + t[1]))


@given(written=st.lists(spans, max_size=8), stop=st.integers(1, 24))
def test_every_row_once_however_parts_overlap(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int]], stop: int
) -> None:
    table = OutcomeStore(tmp_path_factory.mktemp("store")).table(KEY)
    for start, end in written:
        table.write(start, rows(start, end), {})
    covered = {row for start, end in written for row in range(start, end)}
    missing = {row for start, end in table.missing((0, stop)) for row in range(start, end)}
    assert missing == set(range(stop)) - covered
    if missing:
        with pytest.raises(KeyError):
            table.read(stop)
    else:
        assert values(table, stop) == list(range(stop))


@pytest.mark.parametrize(
    "facts",
    [{"dataset": {"name": "d"}, "backbone": {"fingerprint": "g" * 12}}, {"dataset": {"name": "e"}}, {}],
)
def test_any_other_fact_is_another_table(facts: dict) -> None:
    assert TableKey("full", facts).id != KEY.id
    assert TableKey("coarse", KEY.facts).id != KEY.id


def test_the_order_of_facts_does_not_matter() -> None:
    assert TableKey("full", dict(reversed(KEY.facts.items()))).id == KEY.id


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"garbage" * 50, flip])
def test_a_damaged_part_is_set_aside_and_missing_afterwards(tmp_path: Path, damage) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    table.write(4, rows(4, 8), {})
    path = table.parts()[1][1]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedPart, match="is damaged"):
        table.read(8)
    assert table.missing((0, 8)) == [(4, 8)]
    assert values(table, 4) == list(range(4))


def test_what_the_machine_does_not_read_stays_where_it_is(tmp_path: Path) -> None:
    """A failing disk, a lost mount, a folder of another user: the part may be sound."""
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    ((_, path),) = table.parts()
    path.unlink()
    path.symlink_to("/proc/self/mem")  # opens, and cannot be read
    with pytest.raises(
        VoVNetError, match=rf"{path.name} cannot be read \(Input/output error\); see to the disk"
    ) as said:
        table.read(4)
    assert not isinstance(said.value, DamagedPart)
    assert path.is_symlink()


def test_a_part_of_another_table_is_not_read(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    other = OutcomeStore(tmp_path).table(TableKey("coarse", KEY.facts))
    table.write(0, rows(0, 4), {})
    other.write(4, rows(4, 8), {})
    ((_, path),) = other.parts()
    path.rename(table.folder / path.name)
    with pytest.raises(DamagedPart, match="it belongs to the table coarse-"):
        table.read(8)
    assert table.missing((0, 8)) == [(4, 8)]


def test_a_link_to_what_has_gone_is_no_part(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    ((_, path),) = table.parts()
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "gone")
    assert table.missing((0, 4)) == [(0, 4)]


def test_unfinished_files_are_not_read(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    (table.folder / ".000000004-000000008-00000000.arrow.1234.tmp").write_bytes(b"half")
    assert table.missing((0, 8)) == [(4, 8)]


def test_an_unwritable_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(VoVNetError, match=r"cannot write .*set paths.store"):
        OutcomeStore(tmp_path / "store").table(KEY).write(0, rows(0, 1), {})
    with pytest.raises(VoVNetError, match="cannot be written"):
        OutcomeStore(tmp_path / "store").claim("f" * 16, 0, wait=False)


def test_summary_and_prune(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    table.write(2, rows(2, 8), {})
    (found,) = summarise(tmp_path)
    assert (found.id, found.branch, found.rows, found.facts) == (KEY.id, "full", 8, KEY.facts)
    assert prune(tmp_path, "full", confirm=False) == [found]
    assert summarise(tmp_path) == [found]
    prune(tmp_path, "full", confirm=True)
    assert summarise(tmp_path) == []
    with pytest.raises(VoVNetError, match="no table"):
        prune(tmp_path, "full", confirm=True)


def test_what_is_no_store_is_not_listed_as_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "else.txt").write_text("x")
    with pytest.raises(VoVNetError, match="holds something else than outcomes; name the store"):
        summarise(tmp_path)
    with pytest.raises(VoVNetError, match="is not there; name the store"):
        summarise(tmp_path / "nowhere")


@pytest.mark.parametrize("facts", [{}, {"dataset": 5}, {"dataset": {"name": "a", "split": "b"}, "backbone": [1]}])
def test_a_table_with_a_damaged_description_is_listed(
    tmp_path: Path, facts: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    (table.folder / "table.json").write_text(json.dumps({"format": FORMAT, "branch": "full", "facts": facts}))
    print_store(summarise(tmp_path))
    assert "table.json is missing or damaged" in capsys.readouterr().out


def test_an_older_format_is_left_alone_or_refused_and_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("vovnet.outcomes.store.FORMAT", FORMAT - 1)
        OutcomeStore(tmp_path).table(KEY).write(0, rows(0, 4), {})
    table = OutcomeStore(tmp_path).table(KEY)
    assert table.missing((0, 4)) == [(0, 4)]  # of another folder
    (old,) = tmp_path.iterdir()
    old.rename(table.folder)
    with pytest.raises(VoVNetError, match=rf"has format {FORMAT - 1}, this version reads {FORMAT}; remove the folder"):
        table.read(4)


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "fac', b"[]", b"\xff\xfe", b'{"facts": 3}'])
def test_a_damaged_description_hides_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    (table.folder / "table.json").write_bytes(content)
    assert values(table, 4) == list(range(4))
    (found,) = summarise(tmp_path)
    assert (found.id, found.rows, found.facts) == (KEY.id, 4, {})
    assert "table.json is damaged" in caplog.text


@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_jumped_changes_nothing(tmp_path: Path, years: int) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    for start in (0, 4):
        table.write(start, rows(start, start + 4), {})
        when = time.time() + years * 31_557_600
        for path in table.folder.iterdir():
            os.utime(path, (when, when))
    assert values(table, 8) == list(range(8))
    path = table.parts()[1][1]
    before = path.stat()
    path.write_bytes(flip(path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # damaged, and not a moment younger
    with pytest.raises(DamagedPart):
        OutcomeStore(tmp_path).table(KEY).read(8)


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    table = OutcomeStore(tmp_path).table(KEY)
    table.write(0, rows(0, 4), {})
    dead = table.folder / ".000000004-000000008-00000000.arrow.0123abcd.tmp"
    living = table.folder / ".000000008-000000012-00000000.arrow.4567abcd.tmp"
    dead.write_bytes(b"half")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        table.write(4, rows(4, 8), {})
        assert not dead.exists()
        assert living.exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_no_locks_are_everybody_may_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    store = OutcomeStore(tmp_path)
    claims = [store.claim("a", 0, wait) for wait in (False, True, False)]
    assert None not in claims
    assert caplog.text.count("no file locks in") == 1
    for claim in claims:
        claim.release()  # type: ignore[union-attr]
    store.table(KEY).write(0, rows(0, 4), {})
    assert values(store.table(KEY), 4) == list(range(4))


def test_a_claim_keeps_others_off_until_it_is_released(tmp_path: Path) -> None:
    store = OutcomeStore(tmp_path)
    held = store.claim("a", 0, wait=False)
    assert held is not None
    assert store.claim("a", 0, wait=False) is None
    assert store.claim("a", 1, wait=False) is not None
    held.release()
    assert store.claim("a", 0, wait=False) is not None
