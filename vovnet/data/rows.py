"""Rows that cannot be used: refused with file and row, or skipped and counted."""

from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from vovnet.errors import VoVNetError

OnError = Literal["raise", "skip"]


@dataclass
class RowErrors:
    """Collects unusable rows of a data set.

    Attributes:
        on_error: ``raise`` ends with the first; ``skip`` goes on and keeps what was said.
    """

    on_error: OnError
    skipped: list[str] = field(default_factory=list)

    def report(self, path: Path, row: int | str, problem: str) -> None:
        """Refuse or note a row."""
        sentence = f"{path}, row {row}: {problem}"
        if self.on_error == "raise":
            raise VoVNetError(f"{sentence}; mend the row, or set dataset.on_error=skip.")
        self.skipped.append(sentence)


def files_under(path: str | None, patterns: tuple[str, ...], split: str, name: str, advice: str) -> list[Path]:
    """The files of a split that ``dataset.path`` means: itself, or those in the folder that match.

    A single file must match as well: the name is what tells a training file from an evaluation file.

    Raises:
        VoVNetError: no such split, no path, or nothing there; says what to download and where to put it.
    """
    if not patterns:
        raise VoVNetError(f"dataset={name} has no {split} split; its published files are for evaluation.")
    if path is None:
        raise VoVNetError(f"dataset={name} needs dataset.path=FILE or FOLDER; {advice}")
    place = Path(path).expanduser()
    if place.is_file():
        found = [place] if any(fnmatch(place.name, pattern) for pattern in patterns) else []
    else:
        found = sorted({file for pattern in patterns for file in place.rglob(pattern)})
    if not found:
        raise VoVNetError(
            f"dataset.path={path} holds no {split} file ({', '.join(patterns)}); {advice} "
            f"Files of other names: dataset.files.{split}=[PATTERN]."
        )
    return found
