"""How people see a column of a table, on the terminal and in a report's files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vovnet.results.columns import DESCRIBED, OWN_RATE, RATES

T = TypeVar("T")


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


def with_own_rates(columns: Sequence[T], lines: Sequence[Mapping[str, Any]], make: Callable[[str], T]) -> list[T]:
    """Columns with those that share FULL's rate with the looks of menus' own in some lines, after it.

    Args:
        make: a column by its name.
    """
    own = sorted({name for line in lines for name in line if name.startswith(OWN_RATE)})
    place = columns.index(make(RATES[-1])) + 1
    return [*columns[:place], *map(make, own), *columns[place:]]


def rate_column(digits: int | None = None) -> Callable[[str], Column]:
    """Makes the column of an action rate."""

    def made(name: str) -> Column:
        label = name.removeprefix(OWN_RATE).upper() if name.startswith(OWN_RATE) else ""
        return Column(name, label, 3 if digits is None else digits) if label else described(name, digits)

    return made


def cell(value: Any, column: Column) -> str:
    """A value as text; None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool | str | int) or column.digits is None:
        return " ".join(str(value).splitlines())  # whatever a data set is called: a row is one line
    return f"{value:.{column.digits}f}"
