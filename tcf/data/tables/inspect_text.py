"""What the bytes of a text file are like: found out by one thread that reads the file once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.files import FileStamp
from tcf.data.tables.regular_copy import beside_quotes
from tcf.data.tables.source_file import NoRowsError, stamp_of
from tcf.data.tables.text_form import RESERVED, TextForm, is_utf8
from tcf.data.tables.text_lines import is_packed, kept_lines, normalized

__all__ = ["TextFacts", "inspect_text"]

_NEWLINE, _SPACE, _QUOTE = 10, 32, 34
_BEGIN = 1 << 20  # bytes kept for the header


@dataclass
class TextFacts:
    """What the bytes of a file are like.

    Attributes:
        stamp: of the file before it was read.
        sha256: checksum of the file on disk.
        n_lines: lines before the blank ones at its end.
        n_records: those with an even number of quotes before their end: records, if quotes occur only where they have
            a meaning.
        begin: its first lines, without byte order mark and with newlines as line ends.
        is_regular: whether DuckDB can read it as it is.
        has_quotes: whether there are quotes in it.
        has_bad_bytes: whether a byte is NUL or not UTF-8.
        has_spaces: whether values may begin or end with white space.
        is_open: whether the number of quotes is odd.
    """

    stamp: FileStamp
    sha256: str = ""
    n_lines: int = 0
    n_records: int = 0
    begin: bytes = b""
    is_regular: bool = True
    has_quotes: bool = False
    has_bad_bytes: bool = False
    has_spaces: bool = False
    is_open: bool = False


def inspect_text(path: Path, form: TextForm) -> TextFacts:
    """Read a file once, from start to end.

    Raises:
        NoRowsError: the file is empty.
        DataError: it cannot be read, is damaged gzip or UTF-16, has carriage returns as its only line ends, or contains
            characters that are reserved for copies.
    """
    digest = hashlib.sha256()
    facts = TextFacts(stamp_of(path), is_regular=form.encoding == "utf-8" and not is_packed(path))

    def left_out(end: bytes) -> None:
        facts.is_regular &= not end.strip(b"\n")

    for block in kept_lines(path, form, digest.update, left_out):
        if len(facts.begin) < _BEGIN:
            facts.begin += normalized(block)
        _look_at(path, block, form, facts)
    if not facts.begin:
        raise NoRowsError(f"{path}: expected rows, found an empty file; check its source")
    facts.sha256 = digest.hexdigest()
    return facts


def _look_at(path: Path, block: bytes, form: TextForm, facts: TextFacts) -> None:
    data = np.frombuffer(block, np.uint8)
    ends = data == _NEWLINE
    n_lines = int(np.count_nonzero(ends))
    facts.n_lines += n_lines
    # NumPy compares neighbours many times faster than a search for two bytes.
    has_blank = bool(ends[0]) or bool((ends[1:] & ends[:-1]).any())
    facts.is_regular &= not has_blank
    has_quotes = form.quoting and b'"' in block
    facts.has_quotes |= has_quotes
    if has_quotes:
        n_outside, facts.is_open = _outside_quotes(data, ends, facts.is_open)
    else:
        n_outside = 0 if facts.is_open else n_lines
    facts.n_records += n_outside
    # A quoted value may begin or end with a newline.
    may_enclose = has_quotes and (block[:1] == b'"' or b'\n"' in block or b'"\n' in block)
    if not may_enclose and block.isascii() and np.count_nonzero(data <= _SPACE) == n_lines:
        return  # neither spaces nor carriage returns nor NUL
    facts.has_spaces = True
    _refuse_reserved(path, block, facts.n_lines - n_lines)
    bad = b"\0" in block or not is_utf8(block)
    facts.has_bad_bytes |= bad
    facts.is_regular &= not (bad or b"\r" in block)
    if has_quotes and facts.is_regular:
        facts.is_regular = not any(pattern.search(block) for pattern in beside_quotes(block, form))


def _outside_quotes(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.bool_], is_open: bool) -> tuple[int, bool]:
    """Return the number of newlines with an even number of quotes before them, and whether all quotes are odd.

    Args:
        data: (n_bytes,).
        ends: (n_bytes,), where newlines are.
        is_open: whether the number of quotes before these bytes is odd.
    """
    inside = _words(data == _QUOTE)
    for bits in (1, 2, 4, 8, 16, 32):
        inside ^= inside << np.uint64(bits)  # now a bit is set where the number of quotes up to it in its word is odd
    odd_after = np.logical_xor.accumulate(inside >> np.uint64(63) == 1) ^ is_open
    odd_before = np.append(is_open, odd_after[:-1])
    inside ^= np.where(odd_before, np.uint64(2**64 - 1), np.uint64(0))
    return int(np.bitwise_count(_words(ends) & ~inside).sum()), bool(odd_after[-1])


def _words(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Pack bits into words of 64, the first one lowest."""
    words = np.zeros(-(-len(bits) // 64), "<u8")
    words.view(np.uint8)[: -(-len(bits) // 8)] = np.packbits(bits, bitorder="little")
    return words


def _refuse_reserved(path: Path, block: bytes, lines_before: int) -> None:
    places = [block.find(mark) for mark in RESERVED] if b"\xf4\x8f" in block else []
    if found := [place for place in places if place >= 0]:
        line = lines_before + block.count(b"\n", 0, min(found)) + 1
        raise DataError(
            f"{path}:{line}: expected text without the private characters U+10FE00, U+10FE80 to U+10FEFF and U+10FFFB "
            "to U+10FFFE, found one; remove it"
        )
