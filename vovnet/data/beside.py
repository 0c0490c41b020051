"""Image files that lie beside a table."""

import os
from collections.abc import Sequence
from pathlib import Path

from vovnet.data.sample import ImageRef


class ImagesBeside:
    """Finds image files that the rows of a table name, in some folders beside it and never outside of them.

    Absolute names, ``..`` and links are not followed out of a folder; the folder itself may be a link.
    Each name is looked for once, and places are strings: sets have a hundred thousand of them, and pathlib would take
    most of their opening.
    """

    def __init__(self, table: Path, folders: Sequence[str]) -> None:
        self._roots = [str((table.parent / folder).resolve()) for folder in folders]
        self._found: dict[str, ImageRef] = {}
        self._real: dict[str, str] = {}

    def find(self, name: str) -> ImageRef | None:
        """The image of that name, the same object each time; None where there is none."""
        if name not in self._found:
            for root in self._roots:
                file = os.path.join(root, name)  # noqa: PTH118
                if self._is_inside(root, file) and os.path.isfile(file):  # noqa: PTH113
                    self._found[name] = ImageRef(name, Path(file))
                    break
        return self._found.get(name)

    def _is_inside(self, root: str, file: str) -> bool:
        return real_path(file, self._real).startswith(f"{root}{os.sep}")


def real_path(file: str, known: dict[str, str]) -> str:
    """Where a file really lies, all links followed; ``known`` gathers where folders do, which many files share.

    A name that no file can have (NUL, too long, half a surrogate pair) lies nowhere: "".
    """
    folder, name = os.path.split(file)
    try:
        if name in ("", ".", "..") or os.path.islink(file):  # noqa: PTH114
            return os.path.realpath(file)
        if folder not in known:
            known[folder] = os.path.realpath(folder)
    except (OSError, ValueError):
        return ""
    return f"{known[folder].rstrip(os.sep)}{os.sep}{name}"
