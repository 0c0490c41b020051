"""Python's collector of cyclic garbage, where it would only go through what lives on.

Torch and transformers leave half a million objects, none of them garbage. To go through them again and again takes a
third as long as their import, and later a tenth of a sweep's time.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_alone = False  # whether this process runs a command and nothing of anybody else's


def run_alone() -> None:
    """Say that this process runs a command, so that it may be said of all its objects that they live on."""
    global _alone
    _alone = True


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector while libraries are imported or a model is loaded; a command then passes over them."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _alone:
            gc.freeze()
        if paused:
            gc.enable()


def leave_alone() -> None:
    """Let the collector pass over everything that there is: a sweep's later jobs use what its first one has left."""
    gc.collect()
    gc.freeze()
