"""Directories and files that exist completely or not at all.

A stage writes into a hidden directory beside its destination, adds `manifest.json` last and renames the directory into
place. What a kill leaves behind is never mistaken for a result, and is removed by the next stage that publishes there.
Nothing here relies on file locks, so a network file system serves.
"""

import glob
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tcf.common.errors import ConfigError, RunError

__all__ = [
    "MANIFEST",
    "check_destination",
    "format_by_suffix",
    "home",
    "is_alive",
    "is_published",
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


def is_published(path: Path) -> bool:
    """Whether a complete directory, one with a manifest, is there."""
    return (path / MANIFEST).is_file()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into an error about `path`.

    Raises:
        RunError: no space, no permission, a file where a directory is needed, and the like.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(
            f"{path}: cannot be written ({reason}); what is not complete was not published: "
            "free space or mend the permissions, or name another place, and run the same command again"
        ) from error


def check_destination(path: Path) -> None:
    """Find out before the work whether something could be published at `path`.

    Raises:
        RunError: the path has no name of its own or is not UTF-8, or nothing can be made there.
    """
    _check_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = staging_place(path)
        staging.mkdir()
        staging.rmdir()


@contextmanager
def publishing(path: Path, *, duplicate_is_harmless: bool = False) -> Iterator[Path]:
    """Give a staging directory; on a clean exit it becomes `path`, otherwise it is removed.

    The caller seals the staging directory (`seal`) before it leaves the block.

    Args:
        path: where the directory is to appear; it must not exist, or be empty.
        duplicate_is_harmless: another worker may publish the same content first; then ours is discarded.

    Raises:
        RunError: something is at `path` already, or it cannot be written.
    """
    _check_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not duplicate_is_harmless:
            refuse_occupied(path)
            remove_leftovers(path.parent, path.name)
        staging = staging_place(path)
        staging.mkdir()
        try:
            yield staging
            _sync_tree(staging)
            _rename_into_place(staging, path, duplicate_is_harmless)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def publishing_file(path: Path) -> Iterator[Path]:
    """Give a path to write a file at; on a clean exit it becomes `path`, replacing what was there, else it is removed.

    Readers see all of the file or none of it.

    Raises:
        RunError: a directory is at `path`, or it cannot be written.
    """
    _check_name(path)
    if path.is_dir():
        raise RunError(f"{path}: expected a file or nothing, found a directory; name a file")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        staging = staging_place(path)
        try:
            yield staging
            _sync_file(staging)
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
        _sync_directory(path.parent)


def publish_file(path: Path, content: bytes) -> None:
    """Write a small file so that readers see all of it or none."""
    with publishing_file(path) as staging:
        staging.write_bytes(content)


def remove_leftovers(parent: Path, name: str | None = None) -> int:
    """Remove what killed processes of this machine left behind under `parent`; returns how many.

    Args:
        parent: the directory in which something was being published.
        name: what was being published; None for anything.
    """
    removed = 0
    stem = "*" if name is None else glob.escape(name)
    for leftover in parent.glob(f".{stem}.partial-{this_machine()}-*"):
        pid = int(leftover.name.rsplit("-", 2)[1])
        if pid == os.getpid() or is_alive(pid):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
        removed += 1
    return removed


def format_by_suffix(out: Path, known: Sequence[str]) -> str:
    """The format of a file to write, by its suffix: `npy` for `vectors.npy`.

    Args:
        out: the file.
        known: the formats that can be written.

    Raises:
        ConfigError: the suffix is none of these.
    """
    format = out.suffix.lower().removeprefix(".")
    if format not in known:
        suffixes = " or ".join(filter(None, (", ".join(f".{name}" for name in known[:-1]), f".{known[-1]}")))
        raise ConfigError(f"--out: expected a file name that ends in {suffixes}, found {out}; add one of these to it")
    return format


def refuse_occupied(path: Path) -> None:
    """Check that a directory can be published at `path`: nothing is there, or an empty directory.

    Raises:
        RunError: something is there.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise RunError(f"{path}: expected a path where nothing is yet, found something; remove it or name another")


def _check_name(path: Path) -> None:
    if path.name in ("", ".."):
        raise RunError(f"{path}: expected the name of something to make, found a place that is there; add a name to it")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise RunError(f"{str(path)!a}: expected a path in UTF-8, found other bytes; name another place") from None


def staging_place(path: Path) -> Path:
    """A hidden path beside `path` that no other process uses, and that tells whose it is; see `remove_leftovers`."""
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
    """Names the set of process ids that ours belongs to: host and, on Linux, process namespace."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:12]


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there; one that has ended and was not waited for is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # Linux: `PID (NAME) STATE ...`, the name being anything.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state != "Z"


def _sync_tree(directory: Path) -> None:
    """Put files and directories on the disk before a rename makes them visible."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync_file(Path(folder) / name)
        _sync_directory(Path(folder))


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
    """The folder that keeps what was fetched: `TCF_HOME`, or `~/.cache/tcf`."""
    return Path(os.environ.get("TCF_HOME") or "~/.cache/tcf").expanduser().absolute()
