"""A check point of the specification."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """A check point: what was expected, whether it held, what was seen."""

    name: str
    passed: bool
    observed: str

    def as_json(self) -> dict[str, Any]:
        """As summary.json holds it."""
        return {"name": self.name, "passed": self.passed, "observed": self.observed}
