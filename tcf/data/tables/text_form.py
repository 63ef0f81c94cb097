"""The format of delimited text, and the characters that stand for what a regular copy of it cannot contain.

DuckDB reads a file as it is if all its bytes are regular; most files are. What it would skip, misread or refuse is
written to a copy first (`regular_copy`): packed files, another encoding, carriage returns, blank lines (DuckDB skips
them without a word), bytes that are not UTF-8, and spaces beside quotes (DuckDB ignores them, RFC 4180 does not). A
copy has as many lines as the file, so line numbers are those of the file.
"""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

__all__ = [
    "BAD_UTF8",
    "BLANK",
    "MARKS",
    "NO_DELIMITER",
    "NO_NULL",
    "NUL",
    "RESERVED",
    "TORN",
    "TextForm",
    "as_in_file",
    "escaped",
    "escaped_bytes",
    "from_fault",
    "is_utf8",
]

BLANK = "\U0010fffd"
"""Stands for a blank line."""

TORN = "\U0010fffc"
"""Begins the lines that stand for a torn record; elsewhere it keeps a space apart from a quote."""

MARKS = (BLANK, TORN)
"""Characters that a copy contains and the file does not."""

NO_DELIMITER, NO_NULL = "\U0010fffb", "\U0010fffe"
"""Given to the engine as a delimiter that never occurs, and as the text of a null."""

_BAD_BYTE = 0x10FE00  # plus the byte: stands for NUL, and for a byte that is not UTF-8
NUL, BAD_UTF8 = chr(_BAD_BYTE), f"[{chr(_BAD_BYTE + 0x80)}-{chr(_BAD_BYTE + 0xFF)}]"
"""The character that stands for NUL, and a pattern for those that stand for bytes that are not UTF-8."""

_BEFORE_FAULT = 30  # characters shown before a fault

RESERVED = (b"\xf4\x8f\xba", b"\xf4\x8f\xbb", *(mark.encode() for mark in (NUL, *MARKS, NO_DELIMITER, NO_NULL)))
"""Bytes of all these characters, or those that they begin with; no file may contain them."""


@dataclass(frozen=True)
class TextForm:
    """Format of a text file.

    Attributes:
        delimiter: separator between fields; one to four ASCII characters.
        quoting: whether a field that begins with `"` extends to the next single `"`, delimiters and newlines included.
        header: column names of a file without a header line; None takes them from the first record.
        encoding: text encoding, by a name that Python's codecs know.
        may_span: whether a quoted field may hold what looks like whole rows, because the user has said how quotes are
            meant.
    """

    delimiter: str = ","
    quoting: bool = True
    header: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    may_span: bool = False


def as_in_file(text: str) -> str:
    """Return text of a copy as it is in the file, for messages; bytes that are not UTF-8 become escapes."""
    for mark in MARKS:
        text = text.replace(mark, "")
    return re.sub(BAD_UTF8, lambda found: f"\\x{ord(found[0]) - _BAD_BYTE:02x}", text.replace(NUL, "\0"))


def from_fault(text: str) -> str:
    """Return text from a few characters before its first NUL or byte that is not UTF-8, for a message that is cut."""
    found = re.search(f"[\0{NUL}]|{BAD_UTF8}", text)
    start = found.start() - _BEFORE_FAULT if found else 0
    return f"...{text[start:]}" if start > 0 else text


def escaped_bytes(values: "pa.Array") -> "pa.LargeStringArray":
    """Return strings in which the characters of a copy stand for bytes that are not UTF-8; nulls stay."""
    texts = (None if value is None else escaped(value).decode() for value in values.cast(pa.binary()).to_pylist())
    return pa.array(texts, pa.large_string())


def escaped(text: bytes) -> bytes:
    """Return text with characters in place of NUL and of bytes that are not UTF-8."""
    decoded = text.decode("utf-8", "surrogateescape")
    return re.sub("[\0\udc80-\udcff]", lambda found: chr((ord(found[0]) & 0xFF) + _BAD_BYTE), decoded).encode()


def is_utf8(block: bytes) -> bool:
    """Return whether bytes are UTF-8."""
    offsets = np.array([0, len(block)])
    try:
        pa.LargeStringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(block)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
