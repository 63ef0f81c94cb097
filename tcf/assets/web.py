"""Datasets that are files on web sites: which files, which parts of them are kept, and how they are checked."""

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
        url: address of the file.
        take: for a zip, the names of the files to unpack; empty keeps the file as it is.
        folder: destination below the dataset's folder.
        sha256: checksum of the file; empty if unknown.
        md5_url: address of its published md5; empty if there is none.
    """

    url: str
    take: tuple[str, ...] = ()
    folder: str = "."
    sha256: str = ""
    md5_url: str = ""

    @property
    def name(self) -> str:
        """File name."""
        return PurePosixPath(urlsplit(self.url).path).name


@dataclass(frozen=True)
class WebSource:
    """Files on a web site.

    Attributes:
        files: all files that are needed.
    """

    files: tuple[WebFile, ...]

    def __str__(self) -> str:
        """Name of the source for messages."""
        return " and ".join(file.url for file in self.files)


@dataclass(frozen=True)
class ZipSource:
    """GroupLens' zip of MovieLens 100K, which is converted to RecBole's atomic files.

    Attributes:
        url: address of the zip.
        sha256: checksum of the zip.
    """

    url: str
    sha256: str

    def __str__(self) -> str:
        """Name of the source for messages."""
        return self.url


@dataclass(frozen=True)
class CheckedDownload:
    """A downloaded and checked file.

    Attributes:
        name: file name.
        sha256: checksum.
        against: what the file was checked against, in words.
    """

    name: str
    sha256: str
    against: str


def fetch_files(
    files: Sequence[WebFile], into: Path, downloads: Path, label: str, retry: RetryPolicy | None = None
) -> list[CheckedDownload]:
    """Download files or resume their downloads, check them, and unpack or copy the wanted parts.

    Args:
        files: what to download.
        into: an existing folder for the wanted parts.
        downloads: folder of unfinished downloads, which keeps the files until `drop_downloads`.
        label: label of the progress, before the file's address.
        retry: how long to try.

    Raises:
        SourceError: a file cannot be downloaded, or differs from the published one; the next run downloads such a file
            again from the start.
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
    """Remove the kept downloads of files that are no longer needed or are of no use."""
    for file in files:
        drop(downloads, file.url)


def _downloaded(file: WebFile, partial: Partial, label: str, retry: RetryPolicy) -> CheckedDownload:
    # First, so that a missing md5 is noticed before gigabytes are downloaded.
    published = _published_md5(file, retry)
    download(file.url, partial, f"{label} from {file.url}", retry)
    with _started_over_if_wrong(partial):
        against = _check(partial.body, file, published)
    return CheckedDownload(file.name, sha256_file(partial.body), against)


@contextmanager
def _started_over_if_wrong(partial: Partial) -> Iterator[None]:
    """Discard the downloaded bytes of a file that fails a check."""
    try:
        yield
    except SourceError as error:
        partial.begin()
        raise SourceError(f"{error}; the download was removed, and the next run starts it again") from None


def _published_md5(file: WebFile, retry: RetryPolicy) -> str | None:
    """Return the published md5 of a file; None if there is none, or it is no longer there."""
    if not file.md5_url:
        return None
    text = download_text(file.md5_url, retry)
    if text is None:
        return None
    found = _MD5.search(text)
    if found is None:
        raise SourceError(f"{file.md5_url}: expected an md5 checksum, found {text[:60]!r}")
    return found[0].lower()


def _check(path: Path, file: WebFile, published: str | None) -> str:
    """Compare a file with its known checksums; return, in words, which ones there were."""
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
        raise SourceError(f"{path.name}: expected md5 {expected}, found {found}; it is not the published file")


def _place(file: WebFile, there: Path, folder: Path) -> None:
    """Unpack the wanted parts of a file, or make a hard link to it; copy it if the file system has no hard links."""
    folder.mkdir(parents=True, exist_ok=True)
    if file.take:
        unpack_named(there, file.take, folder)
        return
    try:
        (folder / file.name).hardlink_to(there)
    except OSError:
        shutil.copyfile(there, folder / file.name)
