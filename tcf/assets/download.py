"""Downloading one file from the web, with resuming that never combines bytes of two versions.

The server is asked for the missing bytes on condition that the file has not changed (`If-Range`). If it sends the whole
file, or anything that does not fit the bytes so far, the download starts again. Broken connections and temporary errors
are retried with exponential backoff, until several attempts in a row make no progress. No answer can fill the disk:
never more bytes are written than the announced size or, without one, than the caller allows.
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
from tcf.common.errors import os_error_words
from tcf.common.progress import Progress

__all__ = ["RetryPolicy", "download", "download_text"]

_MB = 1_000_000
_CHUNK = 1 << 18
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_RANGE_REFUSED = 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LONGEST_TEXT = 10_000


@dataclass(frozen=True)
class RetryPolicy:
    """When to retry a failed download and when to give up.

    Attributes:
        tries: maximum number of attempts in a row without progress.
        wait: seconds before the second attempt; doubled before each further one, at most 60.
        timeout: seconds without a byte after which a connection is closed.
        unannounced: maximum bytes of a file whose size the server does not announce.
        sleep: function that waits.
    """

    tries: int = 5
    wait: float = 1.0
    timeout: float = 30.0
    unannounced: int = 1 << 34
    sleep: Callable[[float], None] = time.sleep


class _AttemptFailed(Exception):
    """An attempt failed; a later one may succeed."""

    def __init__(self, reason: object, wait: float = 0.0) -> None:
        super().__init__(str(reason))
        self.wait = wait


def download(url: str, into: Partial, label: str, retry: RetryPolicy | None = None) -> None:
    """Download a file, or the missing bytes of one.

    Args:
        url: address of the file.
        into: destination; bytes that are already there are used if the file has not changed.
        label: label of the progress.
        retry: how long to try.

    Raises:
        SourceError: the server has no such file or does not send it; the bytes so far are kept.
        OSError: the bytes cannot be written.
    """
    retry = retry or RetryPolicy()
    most, failures = into.size, 0
    while not into.is_whole:
        try:
            _attempt(url, into, label, retry)
        except _AttemptFailed as error:
            failures = 1 if into.size > most else failures + 1
            most = max(most, into.size)
            _wait_or_give_up(error, failures, into.size, retry)


def download_text(url: str, retry: RetryPolicy | None = None) -> str | None:
    """Download a small text, such as a checksum; None if there is nothing at the address.

    Raises:
        SourceError: the server does not send it, or the text is too long.
    """
    retry, failures = retry or RetryPolicy(), 0
    while True:
        try:
            with _answered(urllib.request.Request(url, headers=_headers()), retry.timeout) as answer:
                return _short_text(answer)
        except _NotThere:
            return None
        except _AttemptFailed as error:
            failures += 1
            _wait_or_give_up(error, failures, 0, retry)


class _TooManyBytes(Exception):
    """The server sent more bytes than expected."""


class _NotThere(SourceError):
    """The server has nothing at the address (404 or 410)."""


def _short_text(answer: http.client.HTTPResponse) -> str:
    text = b""
    while chunk := _read(answer, _LONGEST_TEXT):
        text += chunk
        if len(text) > _LONGEST_TEXT:
            raise SourceError(f"cannot be downloaded (expected at most {_LONGEST_TEXT} bytes of text, found more)")
    return text.decode("utf-8", "replace")


def _wait_or_give_up(error: _AttemptFailed, failures: int, kept: int, retry: RetryPolicy) -> None:
    if failures >= retry.tries:
        rest = f"; {kept} bytes are kept, and the same command resumes from there" if kept else ""
        raise SourceError(f"cannot be downloaded ({error}; tried {failures} times{rest})") from None
    retry.sleep(min(max(retry.wait * 2 ** (failures - 1), error.wait), 60.0))


def _attempt(url: str, into: Partial, label: str, retry: RetryPolicy) -> None:
    """Send one request and write the bytes of the answer."""
    start = into.size if into.served.validator else 0
    conditions = {"Range": f"bytes={start}-", "If-Range": into.served.validator} if start else {}
    try:
        answer = _answered(urllib.request.Request(url, headers=_headers(conditions)), retry.timeout)
    except urllib.error.HTTPError as error:  # 416: the file is shorter now than what is kept
        error.close()
        into.begin()
        raise _AttemptFailed("the file has changed, so the download starts again") from None
    with answer:
        if answer.status == http.client.PARTIAL_CONTENT:
            stop: int | None = _checked_range(answer, into, start)
        elif answer.status == http.client.OK:
            into.begin(_served(answer))
            stop = into.served.total
        else:
            raise SourceError(f"cannot be downloaded (expected the file, found HTTP status {answer.status})")
        _write_answer(answer, into, label, stop, retry.unannounced)


def _headers(more: dict[str, str] | None = None) -> dict[str, str]:
    """Return request headers without compression, so that ranges and sizes are those of the file."""
    return {"User-Agent": "tcf", "Accept-Encoding": "identity", **(more or {})}


def _answered(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """Send a request and return the server's answer.

    Raises:
        urllib.error.HTTPError: the requested range is refused.
    """
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_REFUSED and request.has_header("Range"):
            raise
        if error.code in _TEMPORARY:
            after = error.headers.get("Retry-After", "")
            raise _AttemptFailed(error, float(after) if after.isdecimal() else 0.0) from None
        kind = _NotThere if error.code in (404, 410) else SourceError
        raise kind(f"cannot be downloaded ({error})") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror) and error.reason.errno == socket.EAI_NONAME:
            raise SourceError(f"cannot be downloaded ({_words(error.reason)}: no such host, or no network)") from None
        raise _AttemptFailed(_words(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _AttemptFailed(_words(error)) from None
    return answer


def _served(answer: http.client.HTTPResponse) -> Served:
    return Served(answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""), answer.length)


def _checked_range(answer: http.client.HTTPResponse, into: Partial, start: int) -> int:
    """Return where the sent range ends; a range that was not requested is refused."""
    begun, found = into.served, _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
    same = answer.headers.get("ETag", begun.etag) == begun.etag
    same &= answer.headers.get("Last-Modified", begun.last_modified) == begun.last_modified
    same &= begun.total in (None, total) and answer.length in (None, last - first + 1)
    if not 0 < start == first <= last < total or not same:
        into.begin()
        raise _AttemptFailed("the server sent another part of the file than requested, so the download starts again")
    into.note(replace(begun, total=total))
    return last + 1


def _write_answer(
    answer: http.client.HTTPResponse, into: Partial, label: str, stop: int | None, unannounced: int
) -> None:
    """Write the bytes of the answer; discard them all if there are more than expected."""
    try:
        _write(answer, into, label, unannounced if stop is None else stop)
    except _TooManyBytes:
        into.begin()
        if stop is None:
            raise SourceError(
                f"cannot be downloaded (expected an announced size or at most {unannounced} bytes, found more bytes)"
            ) from None
        raise _AttemptFailed(f"expected {stop} bytes, as announced, found more, so the download starts again") from None
    if stop is None:
        into.note(replace(into.served, total=into.size))


def _write(answer: http.client.HTTPResponse, into: Partial, label: str, stop: int) -> None:
    """Append to the file, up to a size; the answer must end where the file does."""
    total, size = into.served.total, into.size
    in_mb = None if total is None else total / _MB
    with into.append() as stream, Progress(label, in_mb, "MB", done=size / _MB) as progress:
        while chunk := _read(answer, _CHUNK):
            size += len(chunk)
            if size > stop:
                raise _TooManyBytes
            stream.write(chunk)
            progress.advance(len(chunk) / _MB)
        if total is not None and size != total:
            raise _AttemptFailed(f"the connection broke off after {size} of {total} bytes")


def _read(answer: http.client.HTTPResponse, most: int) -> bytes:
    """Read the bytes that have arrived; empty at the end."""
    try:
        return answer.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise _AttemptFailed(_words(error)) from None


def _words(reason: object) -> str:
    match reason:
        case http.client.IncompleteRead():
            return "the connection broke off"
        case OSError():
            return os_error_words(reason)
        case _:
            return str(reason) or "the server's answer is not HTTP"
