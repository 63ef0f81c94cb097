"""Waiting for what other processes do, and for their end."""

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["is_gone", "wait_for"]


def wait_for(condition: Callable[[], object], *, patience: float) -> None:
    """Wait until something is so; an assertion fails if it takes longer than so many seconds."""
    ends = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
