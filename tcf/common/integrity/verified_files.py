"""Files of published directories, compared with their manifests when they are read."""

import hashlib
import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tcf.common.errors import os_error_words
from tcf.common.files import MANIFEST
from tcf.common.integrity.checksums import SMALL, Reading, Verify, checksums, memory
from tcf.common.manifest import Format, Manifest

__all__ = ["verified_source", "verify_directories", "verify_files"]

_FIX = "fix that and retry"


def verify_files(
    path: Path,
    manifest: Manifest,
    format: Format,
    *,
    names: Collection[str] | None = None,
    remedy: str | None = None,
    verify: Verify = "always",
    small: int = SMALL,
) -> None:
    """Compare files of a published directory, byte for byte, with its manifest.

    Args:
        path: the directory.
        manifest: its manifest.
        format: its format.
        names: the files to compare; None for all.
        remedy: what to do about damage, for messages; None for making the directory again.
        verify: `once` passes over a large file that this machine has verified and that has not changed since.
        small: size in bytes from which that is remembered.

    Raises:
        TcfError: the format's error, naming the first file that is missing, has changed or cannot be read.
    """
    remedy = remedy or format.remedy(path)
    reading = Reading(f"the files of {path}", format.error, _FIX, small)
    chosen = [*(manifest.files if names is None else names)]
    verify_directories([(path, manifest)], format, chosen, reading, lambda _: remedy, verify)


def verify_directories(
    directories: Sequence[tuple[Path, Manifest]],
    format: Format,
    names: Sequence[str],
    reading: Reading,
    remedy: Callable[[Path], str],
    verify: Verify = "always",
) -> None:
    """Compare files of several published directories with their manifests; several files are read at a time.

    Args:
        directories: the directories, and the manifest of each.
        format: their format.
        names: the files to compare in each.
        reading: what the files are.
        remedy: what to do about damage in a directory, for messages.
        verify: see `verify_files`.

    Raises:
        TcfError: the format's error, naming the first file that is missing, has changed or cannot be read.
    """
    chosen = [(path, manifest, name) for path, manifest in directories for name in names]
    for path, manifest, name in chosen:
        _check_size(path, name, manifest, format, remedy(path))
    found = checksums([path / name for path, _, name in chosen], memory(), reading, verify)
    for (path, manifest, name), checksum in zip(chosen, found, strict=True):
        _compare(path, name, checksum, manifest, format, remedy(path))


def verified_source(
    path: Path,
    name: str,
    manifest: Manifest,
    format: Format,
    *,
    remedy: str | None = None,
    verify: Verify = "once",
) -> Path | io.BytesIO:
    """What to parse a file of a published directory from, after comparing it with its manifest.

    Args:
        path: the directory.
        name: the file's name in the manifest.
        manifest: its manifest.
        format: its format.
        remedy: what to do about damage, for messages; None for making the directory again.
        verify: see `verify_files`.

    Returns:
        The bytes of a small file, so that what is parsed is what was compared; the path of a large one.

    Raises:
        TcfError: the format's error; the file is missing, has changed or cannot be read.
    """
    remedy = remedy or format.remedy(path)
    _check_size(path, name, manifest, format, remedy)
    if manifest.files[name]["bytes"] >= SMALL:
        verify_files(path, manifest, format, names=(name,), remedy=remedy, verify=verify)
        return path / name
    try:
        content = (path / name).read_bytes()
    except OSError as error:
        raise format.error(f"{path / name}: cannot be read ({os_error_words(error)}); {_FIX}") from None
    _compare(path, name, hashlib.sha256(content).hexdigest(), manifest, format, remedy)
    return io.BytesIO(content)


def _check_size(path: Path, name: str, manifest: Manifest, format: Format, remedy: str) -> None:
    """Refuse a file that is missing, that no manifest lists, or that has another size."""
    file, entry = path / name, manifest.files.get(name)
    if entry is None:
        raise format.error(f"{path / MANIFEST}: expected an entry for {name}, found none; {remedy}")
    if not file.is_file():
        raise format.error(f"{file}: expected a file, as {path / MANIFEST} lists it, found none; {remedy}")
    if file.stat().st_size != entry["bytes"]:
        raise format.error(f"{file}: expected {entry['bytes']} bytes, found {file.stat().st_size}; {remedy}")


def _compare(path: Path, name: str, found: str, manifest: Manifest, format: Format, remedy: str) -> None:
    if found != manifest.files[name]["sha256"]:
        raise format.error(f"{path / name}: its sha256 differs from {path / MANIFEST}; {remedy}")
