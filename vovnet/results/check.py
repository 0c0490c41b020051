"""A check point of the specification, and the grouping that checks share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vovnet.results.row import ResultRow


@dataclass(frozen=True)
class Check:
    """A check point: what was expected, whether it held, what was seen."""

    name: str
    passed: bool
    observed: str

    def as_json(self) -> dict[str, Any]:
        """As it stands in summary.json."""
        return {"name": self.name, "passed": self.passed, "observed": self.observed}


def grouped(rows: Sequence[ResultRow], settings: Sequence[str]) -> list[list[ResultRow]]:
    """Rows that agree in some columns, together."""
    groups: dict[tuple[Any, ...], list[ResultRow]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in settings), []).append(row)
    return list(groups.values())
