"""Commands as a user types them, run within this process."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.cli import main

__all__ = ["Killed", "Typed", "killed_at_rename", "typed"]


class Killed(BaseException):
    """Ends a command where SIGKILL would, as far as its files are concerned; nothing of tcf handles it."""


@dataclass(frozen=True)
class Typed:
    """A command that has come to its end.

    Attributes:
        status: its exit status; -1 for a traceback.
        printed: on standard output.
        said: on standard error.
    """

    status: int
    printed: str
    said: str

    @property
    def error(self) -> str:
        """Its error in one line; empty if it said none, or if it left more than that."""
        lines = [line for line in self.said.splitlines() if line.startswith("tcf: error: ")]
        return lines[0].removeprefix("tcf: error: ") if len(lines) == 1 and self.status in (1, 2) else ""


def typed(line: str) -> Typed:
    """Run a command in the working directory; what it would leave to Python is caught."""
    printed, said = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before, sys.argv = sys.argv, ["tcf", *line.split()]
    try:
        with redirect_stdout(printed), redirect_stderr(said):
            status = _status()
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Typed(status, printed.getvalue(), said.getvalue())


def _status() -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Exception:
        traceback.print_exc()
    return -1


@contextmanager
def killed_at_rename(place: str, number: int = 1) -> Iterator[None]:
    """Within the block, something is not renamed: `Killed` is raised instead, which ends the block.

    An audit hook stays for the life of the process, so it watches only while the block runs.

    Args:
        place: a pattern of what it would have become, from the right.
        number: which of those renames.
    """
    watching, renames = True, 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal renames
        if watching and event == "os.rename" and Path(os.fsdecode(arguments[1])).match(place):
            renames += 1
            if renames == number:
                raise Killed

    sys.addaudithook(watch)
    try:
        yield
        raise AssertionError(f"{place}: expected {number} renames or more, found {renames}")
    except Killed:
        pass
    finally:
        watching = False
