"""What people read on the terminal: text without control characters and secrets, log lines, progress."""

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from vovnet.secrets import redacted

log = logging.getLogger(__name__)

# Control characters but for tabs and ends of lines; what reverses the direction of writing; lone surrogates,
# which no terminal can be sent.
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """Text without its secrets, and with its control characters spelled out, as in a Python string."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), redacted(text))


def indented(text: str) -> str:
    """The same with every further line set in, so that none of them looks like a message of its own."""
    return shown(text).replace("\n", "\n  ")


def counted(count: int, thing: str) -> str:
    """A number of things, as in "1 row" and "2 rows"."""
    if count == 1:
        return f"1 {thing}"
    return f"{count} {thing}{'es' if thing.endswith(('s', 'ch')) else 's'}"


def say(text: str, file: IO[str] | None = None) -> None:
    """Print a line."""
    print(shown(text), file=sys.stdout if file is None else file, flush=True)


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: IO[str] | None = None, line: str | None = None,
) -> None:  # fmt: skip
    """For ``warnings.showwarning``: libraries put names out of files into their warnings, as matplotlib does."""
    say(f"{filename}:{lineno}: {category.__name__}: {indented(str(message))}", file or sys.stderr)


class LineFormatter(logging.Formatter):
    """Formats log messages as they may be shown; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        """The message with its further lines set in."""
        return indented(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The message and what belongs to it."""
        return shown(super().format(record))


def log_handler(form: str, dates: str, file: str | None = None) -> logging.Handler:
    """A handler of log messages, to standard error or to a file."""
    handler = logging.StreamHandler() if file is None else logging.FileHandler(file)
    handler.setFormatter(LineFormatter(form, dates))
    return handler


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
        bar: Progress = (drawn := _Bar(label, total, unit))
        with drawn.bar:
            yield bar
    else:
        bar = Progress(label, total, unit)
        yield bar
    log.info("%s: %d %s in %s", label, bar.done, unit, clock(time.monotonic() - begun))


def clock(seconds: float) -> str:
    """Seconds for people: 12s, 3m05s, 1h02m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
