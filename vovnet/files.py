"""Files, written so that a reader sees the old content or the new and never half of one.

Results are written by ``write_text`` and what builds on it, and so by the main rank of a job only: every rank
comes to the same. What ranks share the work of, like the outcome store, is written by ``atomic_write``.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vovnet.ranks import is_main_rank


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, then rename it.

    On any error the temporary file is removed and what stood at ``path`` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def whole_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write a folder under another name, then put it in place of ``folder``."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    fill(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; ranks other than the main one write nothing."""
    if is_main_rank():
        atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since no JSON reader must accept them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
