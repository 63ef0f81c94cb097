"""The log of tcf: loggers named after its modules, below one named `tcf`, and how the command line shows them.

Notes are INFO, warnings WARNING, details DEBUG. Used as a library, tcf does not configure logging: Python shows
warnings on standard error and drops notes until the caller configures `logging`, or calls `configure_logging` to see
what the command line shows. Progress, shown by `tcf.common.displays`, also follows the level of the logger `tcf`.
"""

import io
import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from tcf.common.untrusted.printable import printable_lines

__all__ = [
    "LEVEL_VARIABLE",
    "configure_as_parent",
    "configure_logging",
    "level_for_workers",
    "shows_here",
    "write_text",
]

LEVEL_VARIABLE = "TCF_LOG_LEVEL"
"""Environment variable that passes the level of the parent's log to a worker process."""


def configure_logging(level: int = logging.INFO) -> None:
    """Show the log of tcf on standard error, as the command line does: plain lines, above any progress bar.

    This adds one handler to the logger `tcf`, or replaces the one that an earlier call added. Records still reach the
    handlers of the root logger; if one of them writes to standard error, lines appear twice, so configure only one.

    Args:
        level: `logging.WARNING` for warnings only, without progress; `logging.INFO` for notes as well; `logging.DEBUG`
            for details as well.
    """
    logger = logging.getLogger("tcf")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _StandardError)]:
        logger.removeHandler(handler)
    logger.addHandler(_StandardError())
    logger.setLevel(level)


def shows_here() -> bool:
    """Whether `configure_logging` has been called in this process."""
    return any(isinstance(handler, _StandardError) for handler in logging.getLogger("tcf").handlers)


def level_for_workers() -> int:
    """The level at which a worker process logs what this one does; `logging.NOTSET` if nobody has configured it."""
    logger = logging.getLogger("tcf")
    return logger.getEffectiveLevel() if logger.level or logger.isEnabledFor(logging.INFO) else logging.NOTSET


def configure_as_parent(environment: Mapping[str, str] = os.environ) -> None:
    """Log in a worker process as its parent does.

    Args:
        environment: variables of this process.
    """
    level = environment.get(LEVEL_VARIABLE, "")
    if level.isdecimal() and int(level) != logging.NOTSET:
        configure_logging(int(level))


def write_text(text: str, stream: TextIO | None = None) -> None:
    """Write to a stream, standard error by default; if it is closed or full, the text is dropped."""
    stream = sys.stderr if stream is None else stream
    if stream is None:  # closed before this process began
        return
    try:
        if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedWriter):
            _write_bytes(text.encode(stream.encoding, "backslashreplace"), stream.buffer)
        else:
            stream.write(text)
            stream.flush()
    except (OSError, ValueError):
        pass


def _write_bytes(data: bytes, buffer: io.BufferedWriter) -> None:
    """Write without buffering: a buffer that cannot be written when the process ends changes its exit status to 120."""
    buffer.flush()
    while written := buffer.raw.write(data):
        data = data[written:]


class _StandardError(logging.Handler):
    """Writes records to the current standard error, which is above the progress bar while there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_PlainLines())

    def emit(self, record: logging.LogRecord) -> None:
        write_text(f"{printable_lines(self.format(record))}\n")


class _PlainLines(logging.Formatter):
    """Formats notes as plain text, and marks warnings as warnings."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"tcf: warning: {text}" if record.levelno >= logging.WARNING else text
