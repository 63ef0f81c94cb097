"""Directories that exist completely or not at all: staging, checksums, manifests.

A stage writes into a hidden directory beside its destination, adds `manifest.json` last and renames the directory into
place. What a kill leaves behind is never mistaken for a result, and is removed by the next stage that publishes there.
Nothing here relies on file locks, so a network file system serves.
"""

import glob
import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcf.errors import RunError, TcfError

__all__ = [
    "MANIFEST",
    "Format",
    "Manifest",
    "digest",
    "fingerprint_of",
    "is_published",
    "library_versions",
    "publish_file",
    "publishing",
    "publishing_file",
    "read_manifest",
    "refuse_occupied",
    "remove_leftovers",
    "seal",
    "sha256_file",
    "verify_files",
]

MANIFEST = "manifest.json"
_KEY_LIBRARIES = ("numpy", "pyarrow", "torch", "transformers", "accelerate", "tokenizers", "faiss-cpu", "faiss-gpu")


@dataclass(frozen=True)
class Format:
    """A kind of directory that one stage publishes and the next one reads.

    Attributes:
        name: the name written into the manifest, such as `tcf-dataset`.
        version: raised whenever an older reader would misread the files.
        error: what a reader raises where such a directory is missing or damaged.
        made_by: the command that makes one, for messages.
    """

    name: str
    version: int
    error: type[TcfError]
    made_by: str


@dataclass(frozen=True)
class Manifest:
    """What a published directory is, what it was made from, with what, and its files.

    Attributes:
        format: name of the directory's format.
        version: version of the format.
        fingerprint: sha256 of all that decides the content.
        inputs: fingerprints of what it was made from, by role.
        config: the resolved configuration.
        facts: what the stage found out, such as counts.
        versions: tcf and the libraries that shape the result.
        files: relative path to `{"bytes": ..., "sha256": ...}`.
    """

    format: str
    version: int
    fingerprint: str
    inputs: Mapping[str, str]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    versions: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def digest(value: Any) -> str:
    """Sha256, in hexadecimal, of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of(format: Format, identity: Any) -> str:
    """Fingerprint of a directory of a format, from a JSON value that decides its content."""
    return digest([format.name, format.version, identity])


def sha256_file(path: Path) -> str:
    """Sha256, in hexadecimal, of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of tcf and of the installed libraries that can change a result."""
    versions = {}
    for name in ("tcf", *_KEY_LIBRARIES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def is_published(path: Path) -> bool:
    """Whether a complete directory, one with a manifest, is there."""
    return (path / MANIFEST).is_file()


@contextmanager
def publishing(path: Path, *, duplicate_is_harmless: bool = False) -> Iterator[Path]:
    """Give a staging directory; on a clean exit it becomes `path`, otherwise it is removed.

    The caller seals the staging directory (`seal`) before it leaves the block.

    Args:
        path: where the directory is to appear; it must not exist, or be empty.
        duplicate_is_harmless: another worker may publish the same content first; then ours is discarded.

    Raises:
        RunError: something is at `path` already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not duplicate_is_harmless:
        refuse_occupied(path)
        remove_leftovers(path.parent, path.name)
    staging = path.parent / f".{path.name}.partial-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
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
        RunError: a directory is at `path`.
    """
    if path.is_dir():
        raise RunError(f"{path}: expected a file or nothing, found a directory; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    staging = path.parent / f".{path.name}.partial-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
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


def seal(
    directory: Path,
    format: Format,
    *,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    identity: Any = None,
) -> Manifest:
    """Write the manifest of a finished directory, with size and checksum of every file in it.

    Args:
        directory: holds all the files already.
        format: what the directory is.
        inputs: fingerprints of what it was made from, by role.
        config: the resolved configuration, as JSON values.
        facts: what the stage found out, as JSON values.
        identity: a JSON value that decides the content; None takes the checksums of all files.
    """
    names = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    files = {n: {"bytes": (directory / n).stat().st_size, "sha256": sha256_file(directory / n)} for n in names}
    content = {name: entry["sha256"] for name, entry in files.items()} if identity is None else identity
    manifest = Manifest(
        format=format.name,
        version=format.version,
        fingerprint=fingerprint_of(format, content),
        inputs=dict(inputs),
        config=dict(config),
        facts=dict(facts),
        versions=library_versions(),
        files=files,
    )
    text = json.dumps(vars(manifest), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    publish_file(directory / MANIFEST, (text + "\n").encode())
    return manifest


def read_manifest(path: Path, format: Format) -> Manifest:
    """Read the manifest of a published directory and check that it is of the expected format.

    Raises:
        TcfError: of the format's kind; nothing published there, unreadable, or another format or version.
    """
    expected = f"expected a directory of format {format.name} made by `{format.made_by}`"
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        found = "an unfinished or foreign directory (no manifest.json)" if path.is_dir() else "nothing"
        raise format.error(f"{path}: {expected}, found {found}; run `{format.made_by}` first") from None
    except (OSError, ValueError) as error:
        raise format.error(f"{path / MANIFEST}: unreadable ({error}); make the directory anew") from None
    try:
        manifest = Manifest(**content)
    except TypeError:
        raise format.error(f"{path / MANIFEST}: {expected}, found other keys; make the directory anew") from None
    if manifest.format != format.name:
        raise format.error(f"{path}: {expected}, found format {manifest.format}; name the right directory")
    if manifest.version != format.version:
        raise format.error(
            f"{path}: expected version {format.version} of {format.name}, found {manifest.version}; "
            f"run `{format.made_by}` anew with this version of tcf"
        )
    return manifest


def verify_files(path: Path, manifest: Manifest, format: Format) -> None:
    """Compare every file of a published directory, byte for byte, with its manifest.

    Raises:
        TcfError: of the format's kind, naming the first file that is missing or differs.
    """
    for name, entry in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise format.error(f"{file}: listed in {path / MANIFEST}, but missing; make {path} anew")
        if file.stat().st_size != entry["bytes"]:
            raise format.error(
                f"{file}: expected {entry['bytes']} bytes, found {file.stat().st_size}; make {path} anew"
            )
        if sha256_file(file) != entry["sha256"]:
            raise format.error(f"{file}: its sha256 differs from {path / MANIFEST}; make {path} anew")


def remove_leftovers(parent: Path, name: str | None = None) -> int:
    """Remove what killed processes of this machine left behind under `parent`; returns how many.

    Args:
        parent: the directory in which something was being published.
        name: what was being published; None for anything.
    """
    removed = 0
    stem = "*" if name is None else glob.escape(name)
    for leftover in parent.glob(f".{stem}.partial-{_machine()}-*"):
        pid = int(leftover.name.rsplit("-", 2)[1])
        if pid == os.getpid() or _is_alive(pid):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
        removed += 1
    return removed


def refuse_occupied(path: Path) -> None:
    """Check that a directory can be published at `path`: nothing is there, or an empty directory.

    Raises:
        RunError: something is there.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise RunError(f"{path}: expected a path where nothing is yet, found something; remove it or name another")


def _rename_into_place(staging: Path, path: Path, duplicate_is_harmless: bool) -> None:
    try:
        staging.rename(path)
    except OSError:
        if duplicate_is_harmless and is_published(path):
            return
        refuse_occupied(path)
        raise
    _sync_directory(path.parent)


def _machine() -> str:
    """Names the set of process ids that ours belongs to: host and, on Linux, process namespace."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:12]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
