"""Files of a split and their rows: found, refused with file and row, or skipped and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from vovnet.data.sample import ImageRef
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


def files_under(path: Path, patterns: tuple[str, ...], split: str, advice: str) -> list[Path]:
    """The files of a split that ``dataset.path`` means: itself, or those in the folder that match.

    A single file must match as well: the name is what tells a training file from an evaluation file.

    Raises:
        VoVNetError: nothing there; says what to download and where to put it.
    """
    if path.is_file():
        found = [path] if any(fnmatch(path.name, pattern) for pattern in patterns) else []
    else:
        found = sorted({file for pattern in patterns for file in path.rglob(pattern)})
    if not found:
        raise VoVNetError(
            f"dataset.path={path} holds no {split} file ({', '.join(patterns)}); {advice} "
            f"Files of other names: dataset.files.{split}=[PATTERN]."
        )
    return found


def image_beside(table: Path, folders: Sequence[str], name: str) -> ImageRef | None:
    """An image file that a row names, in one of the folders beside its table and never outside of them."""
    for folder in folders:
        root = (table.parent / folder).resolve()
        file = root / name
        if file.resolve().is_relative_to(root) and file.is_file():
            return ImageRef(name, file)
    return None
