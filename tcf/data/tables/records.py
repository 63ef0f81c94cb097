"""Text files read in blocks of whole records, with only a few blocks in memory.

A record ends at a newline outside quotes. A field is quoted if it begins with a quote; a quote anywhere else is an
ordinary character. CRLF counts as a newline; a lone carriage return becomes a space, so it never ends a record. A byte
order mark is removed.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.threads import ordered_map
from tcf.data.tables.source_file import Source

__all__ = ["BLOCK_BYTES", "RawBlock", "TextForm", "count_lines", "newlines", "parsed_blocks", "raw_blocks"]

BLOCK_BYTES = 4 << 20  # small enough for processor caches, and for allocators to reuse the memory
_LONGEST_RECORD = 1 << 28  # bytes; anything longer is taken for an unclosed quote
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SEPARATOR = b"\x1f"  # stands for a delimiter of several bytes
_QUOTE, _NEWLINE = 34, 10
_MOST_THREADS = 4
_PARSED_AHEAD = 4  # blocks parsed in advance, because the consumer's speed varies

_Parsed = TypeVar("_Parsed")

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TextForm:
    """Format of a text file.

    Attributes:
        delimiter: separator between fields; one or several ASCII characters.
        quoting: whether a field that begins with `"` extends to the next single `"`, delimiters and newlines included.
        header: column names of a file without a header line; None takes them from the first record.
        encoding: text encoding.
    """

    delimiter: str = ","
    quoting: bool = True
    header: tuple[str, ...] | None = None
    encoding: Literal["utf-8", "latin-1"] = "utf-8"

    @property
    def separator(self) -> bytes:
        """The single byte that separates fields in a block."""
        return self.delimiter.encode() if len(self.delimiter) == 1 else _SEPARATOR

    def as_written(self, record: str) -> str:
        """Return a record of a block as it is in the file, for messages."""
        return record if len(self.delimiter) == 1 else record.replace(_SEPARATOR.decode(), self.delimiter)


@dataclass(frozen=True)
class RawBlock:
    """A block of whole records.

    Attributes:
        data: the records' bytes; the last one is a newline.
        ends: (n_records,) position of each record's newline; None if every newline ends a record.
        torn: indices, from 0, of the records in which text follows a closing quote, which makes them ambiguous.
        unclosed: for a block that is one record with an unclosed quote, which ends the file: how far it was read, in
            words; otherwise None.
    """

    data: bytes | bytearray
    ends: Positions | None
    torn: Positions
    unclosed: str | None = None

    @property
    def record_ends(self) -> Positions:
        """Position of each record's newline, (n_records,)."""
        return newlines(self.data) if self.ends is None else self.ends


def raw_blocks(source: Source, form: TextForm, size: int = BLOCK_BYTES) -> Iterator[RawBlock]:
    """Read a file in blocks of about `size` bytes; a longer record makes a longer block.

    Args:
        source: the file.
        form: its format.
        size: bytes to read at once.

    Raises:
        DataError: the file cannot be read, is UTF-16, has carriage returns as its only line ends, or contains the byte
            0x1F although its delimiter has several bytes.
    """
    rest, first, more = b"", True, size
    while True:
        data, final = _read_text(source, form, more, rest, first)
        stop, ends, torn = _whole_records(data, form)
        # Cut in place: only the remainder, which is short, is copied.
        rest = bytes(memoryview(data)[stop:])
        del data[stop:]
        if data:
            yield RawBlock(data, ends, torn)
        if rest and (final or len(rest) > _LONGEST_RECORD):
            where = "the end of the file" if final else f"{_LONGEST_RECORD >> 20} MiB after it"
            yield RawBlock(rest, None, torn, where)
            return
        if final:
            return
        first, more = False, max(size, len(rest))


def parsed_blocks(parse: Callable[[RawBlock], _Parsed], blocks: Iterable[RawBlock]) -> Iterator[_Parsed]:
    """Parse blocks with one thread a processor, four at most, and yield the results in order."""
    threads = max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0))))
    return ordered_map(parse, blocks, threads, extra=_PARSED_AHEAD)


def newlines(data: bytes | bytearray) -> Positions:
    """Return the positions of all newlines, (n,)."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)


def count_lines(data: bytes | bytearray) -> int:
    """Count newlines; faster than `bytes.count`, which stops at each."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE))


def _read_text(source: Source, form: TextForm, size: int, rest: bytes, first: bool) -> tuple[bytearray, bool]:
    """Return `rest` and the next bytes, as UTF-8 with newlines as line ends, and whether they reach the file's end.

    Only the new bytes are converted; `rest` has been converted before.
    """
    converted = form.encoding != "utf-8" or len(form.delimiter) > 1
    before = b"" if converted else rest
    data = source.read(size, before)
    final = len(data) == len(before)
    # Do not cut within a line end of two bytes or a delimiter of several.
    while not final and (data.endswith(b"\r") or _ends_within(data, form.delimiter.encode())):
        following = source.read(1)
        data += following
        if not following:
            break
    if first:
        data = _checked_begin(data, source)
    if form.encoding != "utf-8":
        data = bytearray(data.decode(form.encoding).encode())
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    if len(form.delimiter) > 1:
        data = _with_separator(data, source, form)
    if converted:
        data[:0] = rest
    if final and data and not data.endswith(b"\n"):
        data += b"\n"
    return data, final


def _ends_within(data: bytearray, delimiter: bytes) -> bool:
    return len(delimiter) > 1 and data[-1:] in delimiter


def _with_separator(data: bytearray, source: Source, form: TextForm) -> bytearray:
    if _SEPARATOR in data:
        raise DataError(
            f"{source.path}: expected text without the control character 0x1F, as its delimiter {form.delimiter!r} has "
            "several bytes, found one; remove it"
        )
    return data.replace(form.delimiter.encode(), _SEPARATOR)


def _checked_begin(data: bytearray, source: Source) -> bytearray:
    if data[:2] in _UTF16_BOMS:
        raise DataError(f"{source.path}: expected UTF-8, found UTF-16; convert it, for example with iconv")
    data = data.removeprefix(_BOM)
    if not data:
        raise DataError(f"{source.path}: expected rows, found an empty file; check its source")
    if b"\n" not in data and b"\r" in data.rstrip(b"\r"):
        raise DataError(
            f"{source.path}: expected lines that end in a newline, found only carriage returns; convert the file, "
            "for example with tr '\\r' '\\n'"
        )
    return data


def _whole_records(data: bytearray, form: TextForm) -> tuple[int, Positions | None, Positions]:
    """Return the number of bytes in whole records, the records' ends (None: every newline), and the torn records."""
    none = np.zeros(0, np.int64)
    if not form.quoting or b'"' not in data:
        return data.rfind(b"\n") + 1, None, none
    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == _QUOTE)
    if _regular(array, quotes, form.separator[0]):
        ends = newlines(data)
        ends, torn = ends[np.searchsorted(quotes, ends) % 2 == 0], none
    else:
        ends, torn = _walk(data, form.separator)
    return int(ends[-1]) + 1 if len(ends) else 0, ends, torn


def _regular(data: npt.NDArray[np.uint8], quotes: Positions, delimiter: int) -> bool:
    """Return whether all quotes open, close or are doubled regularly, so that counting them shows what is quoted.

    The first, third, ... quote must open a field or follow another quote; the second, fourth, ... must close one or
    precede another. By induction, the number of quotes before a byte is then odd exactly within quoted fields.
    """
    opening, closing = quotes[::2], quotes[1::2]
    before = data[np.maximum(opening - 1, 0)]
    after = data[np.minimum(closing + 1, len(data) - 1)]
    opens = (opening == 0) | _any_of(before, (delimiter, _NEWLINE, _QUOTE))
    closes = (closing == len(data) - 1) | _any_of(after, (delimiter, _NEWLINE, _QUOTE))
    return bool(opens.all() and closes.all())


def _any_of(data: npt.NDArray[np.uint8], values: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(data), bool)
    for value in values:
        found |= data == value
    return found


def _walk(data: bytearray, separator: bytes) -> tuple[Positions, Positions]:
    """Find the ends of whole records and the indices of torn ones, one by one: for irregular quotes."""
    between = re.escape(separator)
    quoted = rb'"[^"]*+(?:""[^"]*+)*+"'
    # A field that begins with a quote and lacks the closing one is incomplete: then no pattern matches.
    loose = rb'(?:%b|(?!"))[^%b\n]*+' % (quoted, between)
    strict = rb'(?:%b|(?!")[^%b\n]*+)' % (quoted, between)
    patterns = [re.compile(rb"(?:%b%b)*+%b\n" % (field, between, field)) for field in (strict, loose)]
    ends, torn, at = list[int](), list[int](), 0
    while found := patterns[0].match(data, at) or patterns[1].match(data, at):
        if found.re is patterns[1]:
            torn.append(len(ends))
        at = found.end()
        ends.append(at - 1)
    return np.asarray(ends, np.int64), np.asarray(torn, np.int64)
