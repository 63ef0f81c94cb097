"""Safe unpacking of archives: nothing is written outside the folder, nothing is overwritten, damage is refused."""

import gzip
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tcf.assets.source import SourceError
from tcf.common.units import as_bytes
from tcf.common.untrusted.inner_path import UnsafePathError, inner_path

__all__ = ["check_gzip", "read_named", "unpack", "unpack_named"]

_CHUNK = 1 << 20
_MOST_ENTRIES = 100_000
_MOST_EXPANSION = 200  # bytes unpacked per byte of the archive; text takes 3 to 20
_ALWAYS_ALLOWED = 64 << 20  # bytes; below this, expansion does no harm
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # unpacked piece by piece; the others at once, however much it is
_ENCRYPTED = 0x1


def unpack(archive: Path, prefix: str, into: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Unpack the files under one folder of a zip file or wheel.

    Args:
        archive: the zip file.
        prefix: folder inside the archive; its content is unpacked into `into`.
        into: an existing folder.
        suffixes: suffixes of the file names to unpack; empty for all files.

    Raises:
        SourceError: an entry's path leads outside or is unusable, an entry is a link, encrypted or a duplicate, the
            entries are too many or too large, the archive is damaged, or it has no such file. Nothing is left then.
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


def read_named(archive: Path, names: Sequence[str]) -> list[bytes]:
    """Read files of a zip file into memory, in the order of their paths here.

    Raises:
        SourceError: as `unpack`, or a file is missing.
    """
    with _opened(archive) as opened:
        found = {info.filename: info for info in _checked_entries(opened, archive)}
        missing = [name for name in names if name not in found]
        if missing:
            raise SourceError(f"{archive.name}: expected an archive with {', '.join(names)}, found no {missing[0]}")
        _refuse_expansion([found[name] for name in names], archive)
        return [opened.read(found[name]) for name in names]


def check_gzip(file: Path) -> None:
    """Read a gzip file to its end, which checks its CRC.

    Raises:
        SourceError: the file is damaged, truncated or not a gzip file, or expands beyond measure.
    """
    most, found = max(_ALWAYS_ALLOWED, _MOST_EXPANSION * file.stat().st_size), 0
    try:
        with gzip.open(file, "rb") as opened:
            while chunk := opened.read(_CHUNK):
                found += len(chunk)
                if found > most:
                    raise SourceError(f"{file.name}: expected at most {as_bytes(most)} unpacked, found more")
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise SourceError(f"{file.name}: expected a complete gzip file, found a damaged or truncated one") from None


def _unpack(archive: Path, into: Path, place: Callable[[str], str | None]) -> int:
    """Unpack the entries for which `place` returns a path below `into`; return how many."""
    with _opened(archive) as opened:
        members = _checked_entries(opened, archive)
        wanted = [(info, where) for info in members if (where := place(info.filename)) is not None]
        targets = _targets(wanted, into, archive)
        _refuse_expansion([*targets.values()], archive)
        free = shutil.disk_usage(into).free
        if (needed := sum(info.file_size for info in targets.values())) > free:
            raise SourceError(
                f"{archive.name}: needs {as_bytes(needed)} unpacked, found {as_bytes(free)} free; free some"
            )
        _write_all(opened, targets)
    return len(targets)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; damage found within the block is an error about it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except FileExistsError:
        raise SourceError(f"{archive.name}: cannot be unpacked (a file name occurs twice)") from None
    # UnicodeError, ValueError and RuntimeError: names, sizes and flags that no program writes.
    except (zipfile.BadZipFile, EOFError, RuntimeError, UnicodeError, ValueError, zlib.error) as error:
        raise SourceError(f"{archive.name}: cannot be unpacked ({str(error) or 'it is truncated'})") from None


def _checked_entries(opened: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """The files in an archive, after checking all of them: no legitimate archive has a single bad one."""
    entries = opened.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise SourceError(
            f"{archive.name}: expected at most {_MOST_ENTRIES:,} entries, found {len(entries):,}; nothing was unpacked"
        )
    for info in entries:
        _refuse_unsafe(info)
    return [info for info in entries if not info.is_dir()]


def _refuse_unsafe(info: zipfile.ZipInfo) -> None:
    # zipfile cuts names at a NUL character; orig_filename has all of it.
    _checked_path(Path(), info.orig_filename.removesuffix("/"), info.orig_filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise SourceError(f"the entry {_shown(info.filename)} is a link or another special file; nothing was unpacked")
    if info.flag_bits & _ENCRYPTED:
        raise SourceError(f"the entry {_shown(info.filename)} is encrypted; nothing was unpacked")
    if info.compress_type not in _METHODS:
        raise SourceError(
            f"the entry {_shown(info.filename)} has compression method {info.compress_type}, expected none or deflate; "
            "nothing was unpacked"
        )


def _checked_path(folder: Path, where: str, name: str) -> Path:
    try:
        return inner_path(folder, where)
    except UnsafePathError as error:
        raise SourceError(f"the path of the entry {_shown(name)} {error}; nothing was unpacked") from None


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:97]}...")


def _targets(
    wanted: Sequence[tuple[zipfile.ZipInfo, str]], into: Path, archive: Path
) -> Mapping[Path, zipfile.ZipInfo]:
    """Where each entry is written; no two in one place, and none in the place of another's folder."""
    targets: dict[Path, zipfile.ZipInfo] = {}
    for info, where in wanted:
        target = _checked_path(into, where, info.filename)
        if target in targets:
            raise SourceError(f"{archive.name}: cannot be unpacked (a file name occurs twice)")
        targets[target] = info
    folders = {folder for target in targets for folder in target.parents}
    if both := folders & targets.keys():
        name = min(both).name
        raise SourceError(f"{archive.name}: cannot be unpacked ({_shown(name)} is both a file and a folder)")
    return targets


def _refuse_expansion(entries: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    """Refuse what would expand beyond measure; zipfile never unpacks more of an entry than its declared size."""
    total, packed = sum(info.file_size for info in entries), archive.stat().st_size
    if total > max(_ALWAYS_ALLOWED, _MOST_EXPANSION * packed):
        raise SourceError(
            f"{archive.name}: expected at most {_MOST_EXPANSION} times its {as_bytes(packed)}, found "
            f"{as_bytes(total)} unpacked; nothing was unpacked"
        )


def _write_all(opened: zipfile.ZipFile, targets: Mapping[Path, zipfile.ZipInfo]) -> None:
    """Write the files, or none of them."""
    written: list[Path] = []
    try:
        for target, info in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(info) as packed, target.open("xb") as stream:
                written.append(target)
                shutil.copyfileobj(packed, stream, _CHUNK)
            if target.stat().st_size != info.file_size:
                raise SourceError(
                    f"{_shown(info.filename)}: expected {info.file_size} bytes, found {target.stat().st_size}"
                )
    except BaseException:
        for target in written:
            target.unlink(missing_ok=True)
        raise
