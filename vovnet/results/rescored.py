"""What another scorer makes of stored answers, as files."""

from pathlib import Path

from vovnet.files import write_text
from vovnet.outcomes.rescore import Rescored
from vovnet.results.write import json_line, without_formulas, write_rows

LINES, CHANGES = "rescored.csv", "changed.jsonl"


def write_rescored(folder: Path, found: Rescored) -> list[Path]:
    """Write counts by data set and look, and every answer that is judged otherwise."""
    write_rows(folder / LINES, without_formulas(found.lines), list(found.lines[0]))
    write_text(folder / CHANGES, "".join(json_line(change.as_json()) for change in found.changes))
    return [folder / LINES, folder / CHANGES]
