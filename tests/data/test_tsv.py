"""Quoted cells come back as they were written; a stray quote takes no other row with it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.data.test_bad_rows import mmbench, opened, write
from tests.data.test_benchmarks import HEADER
from vovnet.data.tsv import Record, cells_of, tsv_records
from vovnet.errors import VoVNetError

NAMES = ["index", "question", "answer"]
PIECES = ['"', '""', "\t", "\n", "\r\n", " ", "a", "7", "é", "\u2028", "\x00"]
QUOTING = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
any_text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
one_line = any_text.map(lambda text: "".join(text.split("\t")).replace("\n", "").replace("\r", ""))
reusing_a_folder = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(cells: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(st.lists(cells, min_size=3, max_size=3).filter(any), max_size=5)


def read(path: Path, content: str) -> list[Record]:
    path.write_bytes(content.encode())
    _, *records = tsv_records(path)
    return [record for record in records if record.cells or record.problem]


def as_written(rows: Sequence[Sequence[str]], quoting: int, end: str) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter="\t", quoting=quoting, lineterminator=end).writerows([NAMES, *rows])
    return buffer.getvalue()


@reusing_a_folder
@example([["1", '"\n"', "a\tb\nc"], ["2", '"""', '\n"x"\n']], csv.QUOTE_MINIMAL, "\n")
@given(rows_of(any_text), st.sampled_from(QUOTING), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_wrote_comes_back(tmp_path: Path, rows: list[list[str]], quoting: int, end: str) -> None:
    content = as_written(rows, quoting, end)
    records = read(tmp_path / "x.tsv", content)
    lines = [line.removesuffix("\r").split("\t") for line in content.split("\n")]
    if any(record.problem for record in records):  # rows that were written by hand could look just so
        assert quoting == csv.QUOTE_MINIMAL
        assert sum(len(line) == len(NAMES) for line in lines) > 1  # the header is one
        return
    assert [record.cells for record in records] == [[cell.replace("\r\n", "\n") for cell in row] for row in rows]
    for record in records:
        assert cells_of(content.encode()[record.start : record.start + record.length]) == record.cells


@reusing_a_folder
@example([["5", '"5 apples', "A"], ["6", "next", "B"], ["7", 'the last"', "A"]], "\n")
@example([["5", "apples", '"A'], ["6", "next", '"'], ["7", "last", 'A"']], "\r\n")
@example([['"5', "apples", "A"], ['6"', "next", "B"]], "\n")
@example([["5", "apples", '"A'], ['6"', "next", "B"]], "\n")
@given(rows_of(one_line), st.sampled_from(["\n", "\r\n"]))
def test_a_quote_that_no_writer_wrote_takes_no_other_row(tmp_path: Path, rows: list[list[str]], end: str) -> None:
    records = read(tmp_path / "x.tsv", end.join("\t".join(row) for row in [NAMES, *rows]))
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        wrong = [cell for cell in row if cell.startswith('"') and not is_quoted(cell)]
        unusable = bool(record.problem) or len(record.cells) != len(NAMES)  # two cells of a row may have become one
        assert unusable == bool(wrong)
        if not wrong:
            assert record.cells == [cell[1:-1].replace('""', '"') if is_quoted(cell) else cell for cell in row]


def is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and not cell[1:-1].replace('""', "").count('"')


STRAY = [
    {0: {"question": '"5 apples are shown. True?'}, 2: {"question": 'is it a 3" pipe?'}},
    {0: {"question": '"5 apples are shown. True?'}, 2: {"question": 'he said "yes"'}},
    {0: {"question": '"5 apples'}, 1: {"question": 'ends here"'}},
    {1: {"question": '"""5 apples'}, 3: {"question": '"""'}},
    {1: {"question": '"5 apples" are'}},
    {1: {"hint": '"'}, 2: {"hint": '"'}, 3: {"hint": '"'}},
    {0: {"l2-category": '"l2'}, 3: {"l2-category": 'l2"'}},
    {3: {"l2-category": '"l2'}},
    {1: {"l2-category": '"l2'}, 2: {"question": 'a 3"'}},
    {2: {"a": '"x'}, 3: {"b": 'y"'}},
]


@pytest.mark.parametrize("changes", STRAY)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_with_a_stray_quote_is_named_or_left_out_and_the_others_are_read(
    tmp_path: Path, changes: dict[int, dict[str, str]], end: str
) -> None:
    rows = [mmbench(index=str(number), **changes.get(number, {})) for number in range(4)]
    path = write(tmp_path, "mmbench", [])
    path.write_bytes(end.join("\t".join(row) for row in [HEADER, *rows, []]).encode())
    wrong = [number for number, cells in changes.items() if any(cell.startswith('"') for cell in cells.values())]
    with pytest.raises(
        VoVNetError, match=rf"MMBench_DEV_EN.tsv, row {wrong[0] + 1}.*: its .* begins with a quote that"
    ):
        opened("mmbench", path)
    kept = opened("mmbench", path, "skip")
    assert [sample.id for sample in map(kept.__getitem__, range(len(kept)))] == [
        str(number) for number in range(4) if number not in wrong
    ]
    assert len(kept.skipped) == len(wrong)
    assert all(kept[i].options == ("x", "y") for i in range(len(kept)) if "b" not in changes.get(int(kept[i].id), {}))


def test_a_hint_of_several_lines_is_read_in_a_file_that_quotes_only_what_it_must(tmp_path: Path) -> None:
    path = write(tmp_path, "mmbench", [])
    hint = 'The table:\nsize\tcolour\n3"\tred'
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(
            [HEADER, mmbench(hint=hint), mmbench(index="8")]
        )
    split = opened("mmbench", path)
    assert [split[i].hint for i in range(2)] == [hint, ""]
    assert split[0].images[0].size() == (20, 10)


def test_a_stray_quote_in_the_header_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "mmbench", [mmbench()])
    path.write_text(path.read_text().replace("question", '"question', 1))
    with pytest.raises(VoVNetError, match=r"in its header, its cell 2 begins with a quote"):
        opened("mmbench", path)


def test_a_lone_quote_in_a_large_file_is_found_where_it_stands(tmp_path: Path) -> None:
    """Every row has one, so reading each to the end of the file would take minutes."""
    path = tmp_path / "x.tsv"
    records = read(path, "\n".join(["\t".join(NAMES), *(f'{number}\t"x\tA' for number in range(20_000))]))
    assert len(records) == 20_000
    assert all(record.problem for record in records)
