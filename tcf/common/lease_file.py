"""A lease: a small file that names the process which is at work on something, and that counts while that one lives.

It stops counting when its process is dead, as far as this machine can tell, or when its process has given no sign of
life for ten minutes. One that names nobody was left by a process that died while it made it, and soon stops counting.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tcf.common.files import is_alive, this_machine

__all__ = ["LEASE_SECONDS", "acquire", "heartbeat", "heartbeats", "is_expired", "is_held", "is_own"]

LEASE_SECONDS = 600.0  # seconds without a sign of life after which a lease no longer counts
_HEARTBEAT = 30.0  # seconds between signs of life
_NAMING = 10.0  # seconds after which a lease without a name gets none any more


def acquire(file: Path) -> bool:
    """Make a lease in the name of this process, or take over a dead one; False where another process has it.

    Raises:
        OSError: the file cannot be made.
    """
    if _make(file):
        return True
    if is_expired(file):
        file.unlink(missing_ok=True)
        return _make(file)
    return is_own(file)


def heartbeat(file: Path) -> None:
    """Give a sign of life, if the lease is this process' own."""
    # Another process may take a lease for dead, and remove it, at any moment.
    with suppress(FileNotFoundError):
        if is_own(file):
            os.utime(file)


@contextmanager
def heartbeats(*files: Path) -> Iterator[None]:
    """Give signs of life within the block, however long a step of it takes; for those files that are own leases."""
    ended = threading.Event()

    def signs() -> None:
        while not ended.wait(_HEARTBEAT):
            for file in files:
                heartbeat(file)

    thread = threading.Thread(target=signs, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_held(file: Path) -> bool:
    """Whether a process, this one included, has the lease and it counts."""
    return file.exists() and not is_expired(file)


def is_own(file: Path) -> bool:
    """Whether the lease is this process' own."""
    return _owner(file) == {"machine": this_machine(), "pid": os.getpid()}


def is_expired(file: Path) -> bool:
    """Whether a lease is there that no longer counts."""
    try:
        # The clock of a network file system may be ahead of ours.
        silence = abs(time.time() - file.stat().st_mtime)
    except FileNotFoundError:
        return False
    owner = _owner(file)
    pid = owner.get("pid")
    dead = owner.get("machine") == this_machine() and isinstance(pid, int) and not is_alive(pid)
    return dead or silence > (LEASE_SECONDS if owner else _NAMING)


def _make(file: Path) -> bool:
    """Make a lease in the name of this process; False where one is there."""
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump({"machine": this_machine(), "pid": os.getpid()}, stream)
    # Another process removes a lease that has no name for long.
    return is_own(file)


def _owner(file: Path) -> dict[str, Any]:
    """Machine and process of a lease; nothing where they are not written yet, or cannot be read."""
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}
