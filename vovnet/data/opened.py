"""Splits that this process has opened, kept while their files look as they did.

The jobs of a sweep ask the same questions: reading and hashing them anew would cost each job more than its decisions.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from vovnet.data.sample import PlainSet
from vovnet.fingerprint import SETTLED
from vovnet.schema import DatasetConfig

KEPT = 4  # splits at most; a training and what it is held against
Looks = tuple[tuple[int, int], ...]  # size and time stamp of each file, nanoseconds


@dataclass(frozen=True)
class _Opened:
    split: PlainSet
    paths: tuple[str, ...]
    looks: Looks


_OPENED: dict[tuple[str, str], _Opened] = {}


def opened(config: DatasetConfig, split: str, read: Callable[[], PlainSet]) -> PlainSet:
    """A split as it was opened before, or read now if a file or a folder of its files has changed since."""
    key = (repr(config), split)
    known = _OPENED.pop(key, None)
    if known is None or known.looks != _looks(known.paths):
        begun = time.time()
        known = _look(read())
        # As in vovnet.fingerprint: what changed in the last seconds may change again within one tick of the clock.
        if any(changed / 1e9 > begun - SETTLED for _, changed in known.looks):
            return known.split
    _OPENED[key] = known  # the newest last
    while len(_OPENED) > KEPT:
        del _OPENED[next(iter(_OPENED))]
    return known.split


def _look(split: PlainSet) -> _Opened:
    files = {*split.files, *(image.path for i in range(len(split)) for image in split[i].images)}
    places = sorted({str(file) for file in files} | {str(file.parent) for file in files})
    return _Opened(split, tuple(places), _looks(tuple(places)))


def _looks(paths: tuple[str, ...]) -> Looks:
    """Size and time of each; a file that is gone looks like no other."""
    found = []
    for path in paths:
        try:
            seen = os.stat(path)  # noqa: PTH116  (a thousand images: pathlib would take ten times as long)
            found.append((seen.st_size, seen.st_mtime_ns))
        except OSError:
            found.append((-1, time.time_ns()))
    return tuple(found)
