"""The lines of a text file, unpacked and in UTF-8, in blocks."""

import codecs
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa

from tcf.common.errors import DataError
from tcf.data.tables.source_file import read_error_words, unreadable
from tcf.data.tables.text_form import TextForm, escaped, is_utf8

__all__ = ["LONGEST_LINE", "is_packed", "kept_lines", "normalized"]

LONGEST_LINE = 1 << 28
"""Bytes in a line at most."""

_BLOCK = 1 << 18  # fits in processor caches
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM, _UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def kept_lines(
    path: Path,
    form: TextForm,
    digest: Callable[[bytes], object] = lambda data: None,
    left_out: Callable[[bytes], object] = lambda end: None,
) -> Iterator[bytes]:
    """Yield the lines of a file before the blank ones at its end, unpacked, in UTF-8, without byte order mark.

    Args:
        path: the file.
        form: its format.
        digest: called with all bytes on disk.
        left_out: called with the blank lines at the end.

    Yields:
        Blocks of whole lines, each with its line end.

    Raises:
        DataError: the file cannot be read, is damaged or not in its encoding, has carriage returns as its only line
            ends or a line that is too long.
    """
    held = b""
    for block in _whole_lines(path, form, digest):
        end = _content_end(block, form)
        if not end:
            held += block
            continue
        end = block.find(b"\n", end) + 1
        yield held + block[:end]
        held = block[end:]
    left_out(held)


def normalized(block: bytes) -> bytes:
    """Return lines with newlines as line ends; a lone carriage return becomes a space, bad bytes characters."""
    if b"\0" in block or not (block.isascii() or is_utf8(block)):
        block = escaped(block)
    return block.replace(b"\r\n", b"\n").replace(b"\r", b" ") if b"\r" in block else block


def is_packed(path: Path) -> bool:
    """Return whether a file is gzip or Zstandard, by its first bytes.

    Raises:
        DataError: it cannot be read.
    """
    return _packing(path) is not None


def _packing(path: Path) -> Literal["gzip", "zstd"] | None:
    try:
        with path.open("rb") as stream:
            begin = stream.read(4)
    except OSError as error:
        raise unreadable(path, error) from None
    return "gzip" if begin[:2] == _GZIP else "zstd" if begin == _ZSTD else None


def _whole_lines(path: Path, form: TextForm, digest: Callable[[bytes], object]) -> Iterator[bytes]:
    parts, size, is_first = list[bytes](), 0, True
    for data in _decoded(path, form, digest):
        if is_first:
            data, is_first = _checked_begin(path, data), False
        cut = data.rfind(b"\n") + 1
        if cut:
            yield b"".join([*parts, data[:cut]])
            parts, size = [], 0
        parts.append(data[cut:])
        size += len(data) - cut
        if size > LONGEST_LINE:
            raise DataError(
                f"{path}: expected lines of at most {LONGEST_LINE >> 20} MiB, found a longer one; check that it is a "
                "text file"
            )
    if rest := b"".join(parts):
        # A carriage return at the very end stands alone.
        yield rest + (b" \n" if rest.endswith(b"\r") else b"\n")


def _checked_begin(path: Path, data: bytes) -> bytes:
    if data[:2] in _UTF16_BOMS:
        raise DataError(f"{path}: expected UTF-8, found UTF-16; convert it, for example with iconv")
    if b"\n" not in data and b"\r" in data.rstrip(b"\r"):
        raise DataError(
            f"{path}: expected lines that end in a newline, found only carriage returns; convert the file, for example "
            "with tr '\\r' '\\n'"
        )
    return data.removeprefix(_BOM)


def _content_end(block: bytes, form: TextForm) -> int:
    """Return where the line ends after the last line that is not blank begin; without quotes, spaces are blank too."""
    if not form.quoting:
        return len(block.rstrip(b" \r\n"))
    end = len(block)
    while block[end - 1 : end] == b"\n":
        end -= 1 + (block[end - 2 : end] == b"\r\n")
    return end


def _decoded(path: Path, form: TextForm, digest: Callable[[bytes], object]) -> Iterator[bytes]:
    """Yield a file as UTF-8."""
    if form.encoding == "utf-8":
        yield from _unpacked(path, digest)
        return
    decoder, line = codecs.getincrementaldecoder(form.encoding)(), 1
    has_newlines = "\n".encode(form.encoding) == b"\n"  # unlike UTF-16
    try:
        for data in _unpacked(path, digest):
            text = decoder.decode(data).encode()
            line += text.count(b"\n")
            yield text
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        where = str(path)
        if has_newlines and isinstance(error, UnicodeDecodeError):
            where += f":{line + error.object[: error.start].count(10)}"
        reason = error.reason if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else error
        raise DataError(
            f"{where}: expected text in {form.encoding}, found other bytes ({reason}); name its encoding"
        ) from None


def _unpacked(path: Path, digest: Callable[[bytes], object]) -> Iterator[bytes]:
    packing = _packing(path)
    try:
        with path.open("rb", buffering=0) as raw:
            if packing is not None:
                with pa.CompressedInputStream(pa.PythonFile(_Hashed(raw, digest), "r"), packing) as stream:
                    while data := stream.read(_BLOCK):
                        yield data
            while not raw.closed and (data := raw.read(_BLOCK)):
                digest(data)
                if packing is None:
                    yield data
    except OSError as error:
        if packing is None:
            raise unreadable(path, error) from None
        raise DataError(
            f"{path}: expected a complete {packing} file, found a damaged or truncated one "
            f"({read_error_words(error)}); download it again"
        ) from None


class _Hashed(io.RawIOBase):
    """A raw file; a function is called with all bytes that are read."""

    def __init__(self, raw: io.FileIO, digest: Callable[[bytes], object]) -> None:
        self._raw, self._digest = raw, digest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size) or b""
        self._digest(data)
        return data
