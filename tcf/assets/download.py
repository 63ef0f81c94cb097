"""One file from the web, taken up where it broke off, and never glued together from two files.

The server is asked for what is missing on condition that the file is the one that was begun (`If-Range`). Where it
answers with the whole file, or with anything that does not fit what is there, the download starts over. Broken
connections and errors that pass are tried again, with waits that double, until several tries in a row bring nothing.
No answer can fill the disk: of a file whose size was announced not a byte more is written, of another one not more than
the caller allows.
"""

import http.client
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace

from tcf.assets.partial_download import Partial, Served
from tcf.assets.source import SourceError
from tcf.common.progress import Progress

__all__ = ["RetryPolicy", "download", "download_text"]

_MB = 1_000_000
_CHUNK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_RANGE_REFUSED = 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LONGEST_TEXT = 10_000


@dataclass(frozen=True)
class RetryPolicy:
    """How long a server that does not deliver is put up with.

    Attributes:
        tries: how often it is asked, in a row, without more of the file to show for it.
        wait: seconds before the second try; doubled before each further one, and at most 60.
        timeout: seconds without a byte after which a connection is given up.
        unannounced: bytes at most of a file whose size is not said.
        sleep: waits.
    """

    tries: int = 5
    wait: float = 1.0
    timeout: float = 30.0
    unannounced: int = 1 << 34
    sleep: Callable[[float], None] = time.sleep


class _Broken(Exception):
    """It did not work this time; the next time may go better."""

    def __init__(self, reason: object, wait: float = 0.0) -> None:
        super().__init__(str(reason))
        self.wait = wait


def download(url: str, into: Partial, label: str, retry: RetryPolicy | None = None) -> None:
    """Download a file, or what is missing of it.

    Args:
        url: where it is.
        into: where its bytes go; what is there already is used if it is of the same file.
        label: of the progress.
        retry: how long to try.

    Raises:
        SourceError: the server has no such file, or does not deliver; what came is kept.
        OSError: the bytes cannot be written.
    """
    retry = retry or RetryPolicy()
    most, failures = into.size, 0
    while not into.is_whole:
        try:
            _attempt(url, into, label, retry)
        except _Broken as error:
            failures = 1 if into.size > most else failures + 1
            most = max(most, into.size)
            _wait_or_give_up(error, failures, into.size, retry)


def download_text(url: str, retry: RetryPolicy | None = None) -> str | None:
    """A small text, such as a checksum; None if there is nothing at the address.

    Raises:
        SourceError: the server does not deliver, or something longer.
    """
    retry, failures = retry or RetryPolicy(), 0
    while True:
        try:
            with _answered(urllib.request.Request(url, headers=_headers()), retry.timeout) as answer:
                return _short_text(answer)
        except _NotThere:
            return None
        except _Broken as error:
            failures += 1
            _wait_or_give_up(error, failures, 0, retry)


class _TooMuch(Exception):
    """The answer goes on where it should have ended."""


class _NotThere(SourceError):
    """The server knows the address and has nothing there."""


def _short_text(answer: http.client.HTTPResponse) -> str:
    text = b""
    while chunk := _read(answer, _LONGEST_TEXT):
        text += chunk
        if len(text) > _LONGEST_TEXT:
            raise SourceError(f"expected a text of at most {_LONGEST_TEXT} bytes, found a longer one")
    return text.decode("utf-8", "replace")


def _wait_or_give_up(error: _Broken, failures: int, kept: int, retry: RetryPolicy) -> None:
    if failures >= retry.tries:
        rest = f"; {kept} bytes are kept, and the same command goes on from there" if kept else ""
        raise SourceError(f"cannot be downloaded ({error}; tried {failures} times{rest})") from None
    retry.sleep(min(max(retry.wait * 2 ** (failures - 1), error.wait), 60.0))


def _attempt(url: str, into: Partial, label: str, retry: RetryPolicy) -> None:
    """Ask once, and write what comes."""
    start = into.size if into.served.validator else 0
    conditions = {"Range": f"bytes={start}-", "If-Range": into.served.validator} if start else {}
    try:
        answer = _answered(urllib.request.Request(url, headers=_headers(conditions)), retry.timeout)
    except urllib.error.HTTPError as error:  # 416: the file is shorter now than what is kept
        error.close()
        into.begin()
        raise _Broken("the file has changed; it is started over") from None
    with answer:
        if answer.status == http.client.PARTIAL_CONTENT:
            stop: int | None = _checked_range(answer, into, start)
        elif answer.status == http.client.OK:
            into.begin(_served(answer))
            stop = into.served.total
        else:
            raise SourceError(f"cannot be downloaded (expected the file, found HTTP status {answer.status})")
        _take(answer, into, label, stop, retry.unannounced)


def _headers(more: dict[str, str] | None = None) -> dict[str, str]:
    """Without a compression for the way: ranges and sizes are those of the file itself."""
    return {"User-Agent": "tcf", "Accept-Encoding": "identity", **(more or {})}


def _answered(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """The server's answer.

    Raises:
        urllib.error.HTTPError: the range that was asked for is refused.
    """
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_REFUSED and request.has_header("Range"):
            raise
        if error.code in _PASSING:
            after = error.headers.get("Retry-After", "")
            raise _Broken(error, float(after) if after.isdecimal() else 0.0) from None
        kind = _NotThere if error.code in (404, 410) else SourceError
        raise kind(f"cannot be downloaded ({error})") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror) and error.reason.errno == socket.EAI_NONAME:
            raise SourceError(f"cannot be downloaded (no such host, or no network: {error.reason})") from None
        raise _Broken(error.reason) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_words(error)) from None
    return answer


def _served(answer: http.client.HTTPResponse) -> Served:
    return Served(answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""), answer.length)


def _checked_range(answer: http.client.HTTPResponse, into: Partial, start: int) -> int:
    """Where the part that is sent ends; one that is not what was asked for is refused."""
    begun, found = into.served, _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
    same = answer.headers.get("ETag", begun.etag) == begun.etag
    same &= answer.headers.get("Last-Modified", begun.last_modified) == begun.last_modified
    same &= begun.total in (None, total) and answer.length in (None, last - first + 1)
    if not 0 < start == first <= last < total or not same:
        into.begin()
        raise _Broken("the server sent another part of the file than was asked for; it is started over")
    into.note(replace(begun, total=total))
    return last + 1


def _take(answer: http.client.HTTPResponse, into: Partial, label: str, stop: int | None, unannounced: int) -> None:
    """Write what the answer holds, or nothing of it if it goes on where it should stop."""
    try:
        _write(answer, into, label, unannounced if stop is None else stop)
    except _TooMuch:
        into.begin()
        if stop is None:
            raise SourceError(
                "cannot be downloaded (expected a server that says how large the file is, or at most "
                f"{unannounced} bytes, found one that sent more)"
            ) from None
        raise _Broken(f"expected {stop} bytes, as announced, found more; it is started over") from None
    if stop is None:
        into.note(replace(into.served, total=into.size))


def _write(answer: http.client.HTTPResponse, into: Partial, label: str, stop: int) -> None:
    """Append to the file, up to a size; the answer has to end where the file does."""
    total, size = into.served.total, into.size
    in_mb = None if total is None else total / _MB
    with into.append() as stream, Progress(label, in_mb, "MB", done=size / _MB) as progress:
        while chunk := _read(answer, _CHUNK):
            size += len(chunk)
            if size > stop:
                raise _TooMuch
            stream.write(chunk)
            progress.advance(len(chunk) / _MB)
        if total is not None and size != total:
            raise _Broken(f"broke off after {size} of {total} bytes")


def _read(answer: http.client.HTTPResponse, most: int) -> bytes:
    """What has arrived; empty at the end."""
    try:
        return answer.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_words(error)) from None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
