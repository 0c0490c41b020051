"""Progress with an estimate of the time left: a bar on a terminal, plain lines in a log file."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vovnet.terminal import shown

log = logging.getLogger(__name__)
LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class Progress:
    """Counts finished units of ``total`` and prints a line now and then."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.begun = self.printed = time.monotonic()

    def advance(self, count: int) -> None:
        """Add finished units."""
        self.done += count
        now = time.monotonic()
        if now - self.printed >= LINE_EVERY:
            self.printed = now
            left = (now - self.begun) / self.done * (self.total - self.done)
            log.info("%s: %d/%d %s, about %s left", self.label, self.done, self.total, self.unit, clock(left))


class _Bar(Progress):
    """The same on a terminal, by rich."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        super().__init__(label, total, unit)
        self.bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        self.task = self.bar.add_task(shown(label), total=total)

    def advance(self, count: int) -> None:
        """Add finished units."""
        self.done += count
        self.bar.advance(self.task, count)


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Progress]:
    """Report progress of a loop; closes the bar and says how long it took."""
    begun = time.monotonic()
    if sys.stderr.isatty():
        shown = _Bar(label, total, unit)
        with shown.bar:
            yield shown
    else:
        shown = Progress(label, total, unit)  # type: ignore[assignment]
        yield shown
    log.info("%s: %d %s in %s", label, shown.done, unit, clock(time.monotonic() - begun))


def clock(seconds: float) -> str:
    """Seconds for people: 12s, 3m05s, 1h02m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
