"""A lease: a small file that names the process working on something. It is valid while that process lives.

A lease expires when its process is dead, as far as this machine can tell, or when it has not been renewed for ten
minutes. A process is named by its id and the time of its start, since ids are used again. Minutes are counted on the
clock that sets the times of files, which on a network file system is the server's: hosts whose clocks differ agree.

Where the file system can, a lease appears together with its owner. Elsewhere one without an owner was left by a process
that died while creating it, and expires after a few seconds; so does anything else that names no process.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tcf.common.files import is_alive, staging_place, this_machine
from tcf.common.parsing import read_json

__all__ = ["LEASE_SECONDS", "acquire", "heartbeat", "heartbeats", "is_expired", "is_held", "is_own", "kept", "remove"]

LEASE_SECONDS = 600.0  # seconds without a heartbeat after which a lease expires
_HEARTBEAT = 30.0  # seconds between heartbeats
_OWNERLESS_SECONDS = 10.0  # seconds after which a lease without an owner expires
_LARGEST = 4096  # bytes in a lease at most; ours have 130
_LARGEST_PID = 2**31 - 1


@dataclass(frozen=True)
class _Owner:
    """The process that a lease names.

    Attributes:
        machine: identifier of its machine.
        pid: its id there.
        started: when it started, see `_start_of`; empty in leases of older versions, and where that is unknown.
    """

    machine: str
    pid: int
    started: str

    def is_dead(self) -> bool:
        """Whether it has ended, as far as this machine can tell."""
        if self.machine != this_machine():
            return False
        return not is_alive(self.pid) or not self._may_have_started(_start_of(self.pid))

    def is_this_process(self) -> bool:
        """Whether it is the process that asks."""
        me = _this_process()
        return (self.machine, self.pid) == (me.machine, me.pid) and self._may_have_started(me.started)

    def _may_have_started(self, then: str) -> bool:
        return not self.started or not then or self.started == then


def acquire(file: Path) -> bool:
    """Acquire a lease for this process, replacing an expired one; False if another process holds it.

    Raises:
        OSError: the file cannot be created.
    """
    if _make(file):
        return True
    if is_expired(file):
        remove(file)
        return _make(file)
    return is_own(file)


def remove(file: Path) -> None:
    """Remove an expired lease, or what stands in its place: a link, not its target; a folder if nothing is in it.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        file.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if file.is_symlink() or not file.is_dir():
            raise
        file.rmdir()


def heartbeat(file: Path) -> None:
    """Renew the lease if it belongs to this process."""
    # Another process may consider the lease expired and remove it at any moment, and a network file system may fail for
    # a while; the next heartbeat can still come in time.
    with suppress(OSError):
        if is_own(file):
            os.utime(file)


@contextmanager
def heartbeats(*files: Path) -> Iterator[None]:
    """Renew those of the leases that belong to this process, regularly and in a thread, while the block runs."""
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


@contextmanager
def kept(file: Path) -> Iterator[None]:
    """Renew a lease of this process while the block runs, and remove it in the end if it is still this process's."""
    try:
        with heartbeats(file):
            yield
    finally:
        if is_own(file):
            file.unlink(missing_ok=True)


def is_held(file: Path) -> bool:
    """Whether a process, possibly this one, holds an unexpired lease."""
    return os.path.lexists(file) and not is_expired(file)


def is_own(file: Path) -> bool:
    """Whether the lease belongs to this process."""
    owner = _owner(file)
    return owner is not None and owner.is_this_process()


def is_expired(file: Path) -> bool:
    """Whether the lease exists but has expired."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return False
    owner = _owner(file)
    if owner is None:
        # Nobody renews it, and a time that is set, such as one in the future, says nothing about when that began.
        return _since(min(found.st_mtime, found.st_ctime), file) > _OWNERLESS_SECONDS
    return owner.is_dead() or _since(found.st_mtime, file) > LEASE_SECONDS


def _since(moment: float, file: Path) -> float:
    """Seconds between a time of a file and now; a time in the future is none that its file system has set of late."""
    return abs(_now(file) - moment)


def _now(file: Path) -> float:
    """The time that a change of a file would get now; where nothing can be created beside it, that of this machine."""
    with suppress(OSError):
        descriptor, name = _created_beside(file)
        try:
            os.utime(descriptor)  # as a heartbeat does
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
            if name is not None:
                name.unlink(missing_ok=True)
    return time.time()


def _created_beside(file: Path) -> tuple[int, Path | None]:
    """Create an empty file for a moment; returns it opened, and its path if the file system requires one.

    Raises:
        OSError: no file can be created there.
    """
    with suppress(AttributeError, OSError):  # another system than Linux, a network file system
        return os.open(file.parent, os.O_TMPFILE | os.O_WRONLY, 0o600), None
    name = staging_place(file)
    return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), name


def _this_process() -> _Owner:
    return _Owner(this_machine(), os.getpid(), _start_of(os.getpid()))


def _start_of(pid: int) -> str:
    """When a process of this machine started: identifier of the boot, and clock ticks since then; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # `PID (NAME) STATE ...`, where the name may contain any character; STATE is the third field, and this the 22nd.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{boot} {fields[22 - 3]}"
    except (OSError, ValueError, IndexError):
        return ""


def _make(file: Path) -> bool:
    """Create a lease for this process; False if one exists."""
    owner = json.dumps(asdict(_this_process())).encode()
    try:
        if not _make_at_once(file, owner):
            _make_in_steps(file, owner)
    except FileExistsError:
        return False
    # Another process may have removed the file if it had no owner for too long.
    return is_own(file)


def _make_at_once(file: Path, content: bytes) -> bool:
    """Create a file so that it never lacks its content; False if the file system cannot do that.

    The file gets its name when it is complete. A process that dies before that leaves nothing.

    Raises:
        FileExistsError: there is a file.
    """
    try:
        descriptor = os.open(file.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # another system than Linux, a network file system
        return False
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        _let_all_read(descriptor)
        try:
            # Only with a folder, which an absolute path has no use for, does Python link to what the link points to.
            os.link(f"/proc/self/fd/{descriptor}", file, src_dir_fd=descriptor, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:
            return False
    return True


def _make_in_steps(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as stream:
        _let_all_read(stream.fileno())
        stream.write(content)


def _let_all_read(descriptor: int) -> None:
    """Let other users of a shared folder read a lease, whatever the mask: to them an unreadable one has no owner."""
    with suppress(OSError):  # a file system without permissions
        os.fchmod(descriptor, os.fstat(descriptor).st_mode | 0o444)


def _owner(file: Path) -> _Owner | None:
    """The process that a lease names; None if it is not written yet, cannot be read, or names none."""
    try:
        owner = read_json(file, most=_LARGEST)
    except (OSError, ValueError):
        return None
    match owner:
        case {"machine": str(machine), "pid": int(pid)} if not isinstance(pid, bool) and 0 < pid <= _LARGEST_PID:
            started = owner.get("started")
            return _Owner(machine, pid, started if isinstance(started, str) else "")
        case _:
            return None
