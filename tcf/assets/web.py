"""Datasets that lie as files on web sites: which files, what of them is kept, and how they are checked."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tcf.assets.archives import check_gzip, unpack_named
from tcf.assets.download import RetryPolicy, download, download_text
from tcf.assets.partial_download import Partial, drop, held
from tcf.assets.source import SourceError, check_sha256
from tcf.common.files import writing
from tcf.common.manifest import sha256_file

__all__ = ["CheckedDownload", "WebFile", "WebSource", "ZipSource", "drop_downloads", "fetch_files"]

_MD5 = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")


@dataclass(frozen=True)
class WebFile:
    """One file of a dataset.

    Attributes:
        url: where it is.
        take: of a zip, the names of the files to unpack; empty keeps the file as it is.
        folder: where that is put, below the dataset's folder.
        sha256: of the file, where it is known.
        md5_url: where its md5 is published; empty if it is not.
    """

    url: str
    take: tuple[str, ...] = ()
    folder: str = "."
    sha256: str = ""
    md5_url: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(urlsplit(self.url).path).name


@dataclass(frozen=True)
class WebSource:
    """Files on a web site.

    Attributes:
        files: all that are needed.
    """

    files: tuple[WebFile, ...]

    def __str__(self) -> str:
        """The source in words."""
        return " and ".join(file.url for file in self.files)


@dataclass(frozen=True)
class ZipSource:
    """MovieLens 100K's own zip, which is rewritten as RecBole's atomic files.

    Attributes:
        url: where it is.
        sha256: of the zip.
    """

    url: str
    sha256: str

    def __str__(self) -> str:
        """The source in words."""
        return self.url


@dataclass(frozen=True)
class CheckedDownload:
    """A file that was downloaded.

    Attributes:
        name: its own name.
        sha256: its checksum.
        against: what it was compared with, in words.
    """

    name: str
    sha256: str
    against: str


def fetch_files(
    files: Sequence[WebFile], into: Path, downloads: Path, label: str, retry: RetryPolicy | None = None
) -> list[CheckedDownload]:
    """Download files, or what is missing of them, check them, and unpack or copy what is wanted of them.

    Args:
        files: what to download.
        into: an existing folder, for what is wanted.
        downloads: folder of unfinished downloads, which keeps the files until `drop_downloads`.
        label: of the progress, before the file's address.
        retry: how long to try.

    Raises:
        SourceError: a file cannot be had, or is not the one that was published; such a file is started over next time.
        RunError: a folder cannot be written.
    """
    with writing(downloads), ExitStack() as stack:
        partials = [stack.enter_context(held(downloads, file.url)) for file in files]
        both = list(zip(files, partials, strict=True))
        checked = [_downloaded(file, partial, label, retry or RetryPolicy()) for file, partial in both]
        for file, partial in both:
            with _started_over_if_wrong(partial):
                _place(file, partial.body, into / file.folder)
        return checked


def drop_downloads(files: Sequence[WebFile], downloads: Path) -> None:
    """Remove what is kept of files, because it is not needed any more or of no use."""
    for file in files:
        drop(downloads, file.url)


def _downloaded(file: WebFile, partial: Partial, label: str, retry: RetryPolicy) -> CheckedDownload:
    # First, so that a site that publishes none is found out before gigabytes have come.
    published = _published_md5(file, retry)
    download(file.url, partial, f"{label} from {file.url}", retry)
    with _started_over_if_wrong(partial):
        against = _check(partial.body, file, published)
    return CheckedDownload(file.name, sha256_file(partial.body), against)


@contextmanager
def _started_over_if_wrong(partial: Partial) -> Iterator[None]:
    """Forget the bytes of a file that turns out to be another than it should be."""
    try:
        yield
    except SourceError as error:
        partial.begin()
        raise SourceError(f"{error}; what came was removed, and the next run starts it over") from None


def _published_md5(file: WebFile, retry: RetryPolicy) -> str | None:
    """The md5 beside a file; None where none is to be expected, or none is there any more."""
    if not file.md5_url:
        return None
    text = download_text(file.md5_url, retry)
    if text is None:
        return None
    found = _MD5.search(text)
    if found is None:
        raise SourceError(f"{file.md5_url}: expected an md5, found {text[:60]!r}")
    return found[0].lower()


def _check(path: Path, file: WebFile, published: str | None) -> str:
    """Compare a file with what is known of it; returns what that was."""
    compared = []
    if file.sha256:
        check_sha256(path, file.sha256)
        compared.append("sha256 known to tcf")
    if published is not None:
        _check_md5(path, published)
        compared.append(f"md5 at {file.md5_url}")
    if file.name.endswith(".gz"):
        check_gzip(path)
        compared.append("CRC of gzip")
    return ", ".join(compared) or "nothing published"


def _check_md5(path: Path, expected: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise SourceError(f"{path.name}: expected md5 {expected}, found {found}; it is not the file that was published")


def _place(file: WebFile, there: Path, folder: Path) -> None:
    """Unpack what is wanted of a file, or give the file a second name; copy it where the file system cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    if file.take:
        unpack_named(there, file.take, folder)
        return
    try:
        (folder / file.name).hardlink_to(there)
    except OSError:
        shutil.copyfile(there, folder / file.name)
