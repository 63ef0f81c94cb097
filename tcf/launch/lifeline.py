"""What a process does that was started beside another one: it works for as long as that one lives."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from tcf.common.errors import TcfError

__all__ = ["run_beside"]

_PATIENCE = 5.0  # seconds for cleaning up, once the other process has gone


def run_beside(work: Callable[[bytes], None]) -> None:
    """Do what the first line of standard input says, for as long as that is open.

    Args:
        work: does it. An error that the user can mend becomes a line on standard error and exit status 2.
    """
    signal.signal(signal.SIGTERM, _asked_to_end)
    with open(0, "rb", buffering=0, closefd=False) as stream:
        line = stream.readline()
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    try:
        work(line)
    except TcfError as error:
        print(f"tcf: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


def _asked_to_end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _end_with_the_other() -> None:
    """Wait until nobody holds the other end of standard input; then end this process, with force if need be."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(128 + signal.SIGTERM)
