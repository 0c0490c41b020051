"""How people see a column of a table, on the terminal and in a report's files."""

from dataclasses import dataclass
from typing import Any

from vovnet.results.columns import DESCRIBED


@dataclass(frozen=True)
class Column:
    """A column of a view.

    Attributes:
        digits: after the point; None for texts, which are set to the left.
        best: whether its best value, "high" or "low", is set in bold.
        style: colour on the terminal.
    """

    name: str
    heading: str
    digits: int | None = None
    best: str = ""
    style: str = ""


def described(name: str, digits: int | None = None, best: str = "") -> Column:
    """A column of results.csv, with its label; ``digits`` where a view shows others than usual."""
    one = DESCRIBED[name]
    return Column(name, one.label, one.digits if digits is None else digits, best)


def cell(value: Any, column: Column) -> str:
    """A value as text; None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool | str | int) or column.digits is None:
        return " ".join(str(value).splitlines())  # whatever a data set is called: a row is one line
    return f"{value:.{column.digits}f}"
