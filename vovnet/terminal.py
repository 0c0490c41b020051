"""Where text meets the terminal: names out of files can neither colour it, move its cursor nor forge a line."""

import logging
import re
import sys
from typing import IO

# Control characters but for tabs and ends of lines; what reverses the direction of writing; lone surrogates,
# which no terminal can be sent.
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """Text with its control characters spelled out, as in a Python string."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def indented(text: str) -> str:
    """The same with every further line set in, so that none of them looks like a message of its own."""
    return shown(text).replace("\n", "\n  ")


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
