"""Directories and files that are published completely or not at all.

A stage writes into a hidden directory beside its destination, adds `manifest.json` last and renames the directory into
place. What a killed process leaves behind is never mistaken for a result, and the next stage that publishes there
removes it. Nothing here relies on file locks, so network file systems work too.
"""

import contextlib
import glob
import hashlib
import logging
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tcf.common.errors import ConfigError, RunError, os_error_words
from tcf.common.output.folders import found_words, make_folder, real_path, walk

__all__ = [
    "MANIFEST",
    "FileStamp",
    "check_destination",
    "check_early",
    "check_name",
    "check_place",
    "home",
    "is_alive",
    "is_published",
    "partial_owner",
    "publish_file",
    "publishing",
    "publishing_file",
    "refuse_occupied",
    "remove_leftovers",
    "staging_place",
    "this_machine",
    "writing",
]

MANIFEST = "manifest.json"

logger = logging.getLogger(__name__)
_PARTIAL = re.compile(r"\.(?P<name>.+)\.partial-(?P<machine>[0-9a-f]{12})-(?P<pid>[0-9]{1,10})-[0-9a-f]{8}", re.DOTALL)


def is_published(path: Path) -> bool:
    """Whether `path` is a complete directory, that is, one with a manifest."""
    return (path / MANIFEST).is_file()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the operating system inside the block into an error about `path`.

    Raises:
        RunError: no space, no permission, a file in place of a directory, and the like.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({_reason(path, error)}); no partial output was left: "
            "free space, fix the permissions or choose another path, and run the same command again"
        ) from error


def _may_be_folder(path: Path) -> bool:
    return path.is_dir() or not os.path.lexists(path)


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError) and not all(map(_may_be_folder, path.parents)):
        return "a parent is not a directory"
    return os_error_words(error)


def check_destination(path: Path) -> None:
    """Check, before the work starts, that a folder can be published at `path`, or be filled if there is one.

    Raises:
        RunError: the path lacks a name or is not UTF-8, something else than a folder is there, or nothing can be
            created there.
    """
    check_name(path)
    with writing(path):
        if os.path.lexists(path) and not path.is_dir():
            raise RunError(
                f"{path}: expected a folder or an unused path, found {found_words(path)}; remove it or choose another "
                "path"
            )
        check_place(_behind_link(path))


def check_early(path: Path) -> None:
    """The same, before anything is read; a folder may still turn out to hold the finished result, and not be writable.

    Raises:
        RunError: as `check_destination`.
    """
    with writing(path):
        there = path.is_dir()
    if not there:
        check_destination(path)


def check_place(path: Path) -> None:
    """Check that a file or folder can be created at `path`, by creating one beside it; the parents are created.

    Raises:
        OSError: it cannot.
    """
    make_folder(path.parent)
    staging = staging_place(path)
    staging.mkdir()
    staging.rmdir()


def _behind_link(path: Path) -> Path:
    """The folder that a path links to, where a folder can be renamed to; any other path as it is."""
    return real_path(path) if path.is_symlink() and path.is_dir() else path


@contextmanager
def publishing(path: Path, *, duplicate_is_harmless: bool = False) -> Iterator[Path]:
    """Yield a staging directory; on a clean exit it becomes `path`, otherwise it is removed.

    The caller seals the staging directory (`seal`) before it leaves the block.

    Args:
        path: the destination; it must not exist, or be an empty directory.
        duplicate_is_harmless: another worker may publish the same content first; ours is then discarded.

    Raises:
        RunError: `path` is occupied or cannot be written.
    """
    check_name(path)
    with writing(path):
        path = _behind_link(path)
        make_folder(path.parent)
        if not duplicate_is_harmless:
            refuse_occupied(path)
            remove_leftovers(path.parent, path.name)
        staging = staging_place(path)
        staging.mkdir()
        try:
            yield staging
            _sync_tree(staging)
            _rename_into_place(staging, path, duplicate_is_harmless)
            logger.debug(f"{path}: published")
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def publishing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file; on a clean exit it replaces `path`, otherwise it is removed.

    Readers see all of the file or none of it.

    Raises:
        RunError: `path` is a directory or cannot be written.
    """
    check_name(path)
    if path.is_dir():
        raise RunError(f"{path}: expected a file or an unused path, found a directory; choose a file name")
    with writing(path):
        make_folder(path.parent)
        remove_leftovers(path.parent, path.name)
        staging = staging_place(path)
        try:
            yield staging
            _sync_file(staging)
            staging.replace(path)
            logger.debug(f"{path}: written")
        finally:
            staging.unlink(missing_ok=True)
        _sync_directory(path.parent)


def publish_file(path: Path, content: bytes) -> None:
    """Write a small file so that readers see all of it or none of it."""
    with publishing_file(path) as staging:
        staging.write_bytes(content)


def remove_leftovers(parent: Path, name: str | None = None) -> int:
    """Remove staging files and directories that killed processes of this machine left in `parent`; return how many.

    Args:
        parent: the directory in which they were publishing.
        name: name of what was being published; None for any name.
    """
    removed = 0
    stem = "*" if name is None else glob.escape(name)
    for leftover in parent.glob(f".{stem}.partial-{this_machine()}-*"):
        owner = partial_owner(leftover.name)
        if owner is None or owner[1] == os.getpid() or is_alive(owner[1]):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                leftover.unlink()
        removed += not os.path.lexists(leftover)
    return removed


def partial_owner(name: str) -> tuple[str, int] | None:
    """The machine and the process id in a name from `staging_place`; None for any other name."""
    found = _PARTIAL.fullmatch(name)
    return None if found is None else (found["machine"], int(found["pid"]))


def refuse_occupied(path: Path) -> None:
    """Check that a directory can be published at `path`: it does not exist, or is an empty directory.

    Raises:
        RunError: `path` is occupied.
    """
    with writing(path):
        if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
            return
        found = "a directory with files" if path.is_dir() else found_words(path)
    raise RunError(f"{path}: expected an unused path, found {found}; remove it or choose another path")


def check_name(path: Path) -> None:
    """Check that a path can be the name of something new.

    Raises:
        RunError: it lacks a name, or is not UTF-8.
    """
    if path.name in ("", ".."):
        raise RunError(f"{path}: expected the name of a new file or folder, found an existing folder; add a name to it")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise RunError(f"{str(path)!a}: expected a path in UTF-8, found other bytes; choose another path") from None


def staging_place(path: Path) -> Path:
    """Return a hidden path beside `path`, unique to this process and naming it; see `remove_leftovers`."""
    return path.parent / f".{path.name}.partial-{this_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _rename_into_place(staging: Path, path: Path, duplicate_is_harmless: bool) -> None:
    try:
        staging.rename(path)
    except OSError:
        if duplicate_is_harmless and is_published(path):
            return
        refuse_occupied(path)
        raise
    _sync_directory(path.parent)


def this_machine() -> str:
    """Return an identifier of the host and, on Linux, the process namespace, within which process ids are unique."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:12]


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is alive; a zombie (ended, not yet waited for) is not."""
    if pid <= 0:  # the system would take it for a group of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:
        # Linux: `PID (NAME) STATE ...`, where the name may contain any character.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state != "Z"


def _sync_tree(directory: Path) -> None:
    """Flush files and directories to disk before a rename makes them visible."""
    for folder, _, names in walk(directory):
        for name in names:
            _sync_file(folder / name)
        _sync_directory(folder)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def home() -> Path:
    """Return the folder for downloads: `TCF_HOME`, or `~/.cache/tcf`.

    Raises:
        ConfigError: it begins with the home of an unknown user.
    """
    named = os.environ.get("TCF_HOME") or "~/.cache/tcf"
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"TCF_HOME: expected a path whose ~ is the home of a known user, found {named}") from None


@dataclass(frozen=True)
class FileStamp:
    """Size, times and inode of a file; equal to a later stamp if the file has not changed in between.

    Attributes:
        size: in bytes.
        mtime_ns: time of the last change of the content, in nanoseconds; programs can set it.
        ctime_ns: time of the last change of any kind, in nanoseconds; programs cannot set it.
        inode: inode number in the file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, file: Path | int) -> Self:
        """Return the current stamp of a file.

        Args:
            file: its path (symbolic links are followed) or an open file descriptor.

        Raises:
            OSError: the file does not exist or is not accessible.
        """
        found = os.stat(file)  # noqa: PTH116 - of a path or of a descriptor
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def same_content(self, other: "FileStamp") -> bool:
        """Whether both stamps are of the same file with the same content; its permissions or links may differ."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)
