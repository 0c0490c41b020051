"""Tab-separated files, whose quoted cells may hold tabs, doubled quotes and line breaks, as CSV writers quote them.

Files made by hand hold stray quotes. A lenient reader lets two of them swallow the rows in between. Here, what no
writer writes is a problem of its row, and reading goes on with the next line.
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vovnet.files import open_file

INSIDE = r'[^"]*+(?:""[^"]*+)*+'
CLOSED = re.compile(rf'({INSIDE})"(?=\t|\Z)')  # the rest of a quoted cell
UNCLOSED = re.compile(rf"{INSIDE}\Z")  # a quoted cell that goes on in the next line
NUMBER = re.compile(r"[-+.0-9eE]*")  # what a writer that quotes all text leaves bare: a number, or nothing


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or what is in its place.

    Attributes:
        start, length: its place in the file, bytes.
        cells: none for a blank line, and none where there is a problem.
        problem: why its cells are not known, if they are not.
    """

    start: int
    length: int
    cells: list[str]
    problem: str = ""


@dataclass(frozen=True)
class Header:
    """The first record: the columns' names, and whether all of them are quoted."""

    names: list[str]
    quoted: bool


class MalformedError(ValueError):
    """A record is not quoted as a CSV writer does it; the message says which cell."""


def tsv_records(path: Path) -> Iterator[Record]:
    """The header and the other records, one in memory at a time. Line breaks inside cells are read as LF.

    Raises:
        OSError, UnicodeDecodeError, MalformedError: the file or its header cannot be read.
    """
    header: Header | None = None
    with open_file(path) as file:
        end = 0

        def more() -> str | None:
            return _text(line) if (line := file.readline()) else None

        while line := file.readline():
            start, end = end, end + len(line)
            text = _text(line, "utf-8" if start else "utf-8-sig")
            cells, problem = text.split("\t") if text else [], ""
            if '"' in text:
                reader = _Quoted(text, more, header)
                try:
                    cells, end = reader.read(), file.tell()
                except MalformedError as error:
                    if header is None:
                        raise MalformedError(f"in its header, {error}") from error
                    cells, problem = [], str(error)
                    file.seek(end)
            if header is None:
                header = Header(cells, quoted='"' in text and not reader.bare)
            yield Record(start, end - start, cells, problem)


def cells_of(content: bytes) -> list[str]:
    """The cells of a record that ``tsv_records`` has found.

    Raises:
        ValueError: it has changed since.
    """
    lines = (_text(line) for line in io.BytesIO(content))
    return _Quoted(next(lines, ""), lambda: next(lines, None), Header([], quoted=True)).read()


def _text(line: bytes, encoding: str = "utf-8") -> str:
    return line.decode(encoding).removesuffix("\n").removesuffix("\r")


@dataclass
class _Quoted:
    """Reads a record that holds quotes.

    Two rows with a stray quote each can look like one record with a quoted cell that spans lines. A cell is taken for
    that unless one of its lines, read alone, has as many cells as the header; in a file that quotes all text it is
    nevertheless, if the record does so too.

    Attributes:
        text: the line that is read. ``more`` gives the next one, None at the end of the file.
        header: None while the header itself is read, which has one line.
        at: place in the line.
        bare: the cells that are not quoted.
    """

    text: str
    more: Callable[[], str | None]
    header: Header | None
    at: int = 0
    cells: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)

    def read(self) -> list[str]:
        """All cells.

        Raises:
            MalformedError: no CSV writer wrote this.
        """
        suspect = spans = False
        while True:
            if self.text.startswith('"', self.at):
                pieces, rows = self._quoted_cell()
                self.cells.append("\n".join(pieces).replace('""', '"'))
                suspect, spans = suspect or rows, spans or len(pieces) > 1
            else:
                stop = self.text.find("\t", self.at)
                self.bare.append(self.text[self.at :] if stop < 0 else self.text[self.at : stop])
                self.cells.append(self.bare[-1])
                self.at += len(self.bare[-1])
            if self.at == len(self.text):
                break
            self.at += 1  # the tab
        if (suspect and not all(map(NUMBER.fullmatch, self.bare))) or (spans and any('"' in c for c in self.bare)):
            raise MalformedError("it holds a quote that would take whole rows below it for a part of a cell")
        width = len(self.header.names) if self.header is not None else 0
        if spans and width and len(self.cells) != width:
            raise MalformedError(f"over several lines, as its quotes say, it has {len(self.cells)} fields of {width}")
        return self.cells

    def _quoted_cell(self) -> tuple[list[str], bool]:
        """The lines of the cell that opens here, and whether one of them, read alone, is a row."""
        self.at += 1
        pieces, rows = list[str](), False
        while True:
            closed = CLOSED.match(self.text, self.at)
            if closed is None and UNCLOSED.match(self.text, self.at) is None:
                raise self._malformed("begins with a quote that another one neither closes nor doubles")
            pieces.append(self.text[self.at :] if closed is None else closed[1])
            if closed is None or len(pieces) > 1:
                rows |= self._is_row(pieces[-1])
                if rows and (self.header is None or not self.header.quoted):
                    raise self._malformed("begins with a quote that would take whole rows below it for a part of it")
            if closed is not None:
                self.at = closed.end()
                return pieces, rows
            if (following := self.more()) is None:
                raise self._malformed("begins with a quote that is never closed")
            self.text, self.at = following, 0

    def _is_row(self, inside: str) -> bool:
        """Whether a line of which a part lies inside a quoted cell is a row by itself; a header's always is."""
        return self.header is None or ("\t" in inside and self.text.count("\t") + 1 == len(self.header.names))

    def _malformed(self, problem: str) -> MalformedError:
        place, names = len(self.cells), [] if self.header is None else self.header.names
        return MalformedError(f"its {names[place] if place < len(names) else f'cell {place + 1}'} {problem}")
