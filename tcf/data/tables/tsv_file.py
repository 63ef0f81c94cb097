"""Tab-separated text files as columns, at the speed of NumPy, with the line number of every row.

A byte order mark is removed; quotes are ordinary characters; every field is stripped of white space at its ends, the
carriage returns of CRLF line ends among it; blank lines at the end of a file are no lines. Rows of a wrong form are
refused by kind: `nul_byte`, `bad_utf8`, `wrong_columns`.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.source_file import unreadable

__all__ = ["TextFile", "TsvRows", "divide", "empty_strings", "read_rows", "read_text_file", "select_strings"]

_Bytes = npt.NDArray[np.uint8]
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_TAB, _NEWLINE = 9, 10


@dataclass(frozen=True)
class TextFile:
    """The bytes of a text file, every line ended by a newline.

    Attributes:
        path: where it was read from.
        sha256: checksum of the file as it is on the disk.
        data: (n_bytes,) without byte order mark.
        ends: (n_lines,) int64, position of each line's newline.
        first_number: number of the first line in the file.
    """

    path: Path
    sha256: str
    data: _Bytes
    ends: npt.NDArray[np.int64]
    first_number: int = 1

    @property
    def first_line(self) -> str:
        """The first line, without its line end."""
        return self.line(0)

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each line's first byte, (n_lines,) int64."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1] + 1])[: len(self.ends)]

    @property
    def without_first_line(self) -> "TextFile":
        """What follows the first line."""
        begin = self.ends[0] + 1
        return replace(self, data=self.data[begin:], ends=self.ends[1:] - begin, first_number=self.first_number + 1)

    def raw_line(self, index: int) -> bytes:
        """The bytes of one line, without its newline."""
        begin = self.ends[index - 1] + 1 if index else 0
        return self.data[begin : self.ends[index]].tobytes()

    def line(self, index: int) -> str:
        """One line, without its line end; bytes that are not UTF-8 are shown as escapes."""
        return self.raw_line(index).decode("utf-8", "backslashreplace").removesuffix("\r")


@dataclass(frozen=True)
class TsvRows:
    """Rows of a tab-separated file, all of the same number of columns.

    Attributes:
        path: the file.
        lines: (n_rows,) int64, line numbers from 1.
        data: the rows' bytes.
        stops: (n_rows, n_columns) int64, position in `data` of the tab or newline after each field.
    """

    path: Path
    lines: npt.NDArray[np.int64]
    data: _Bytes
    stops: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def column(self, index: int) -> "pa.LargeStringArray":
        """One column's fields, (n_rows,), without white space at their ends."""
        if index:
            starts = self.stops[:, index - 1] + 1
        else:
            starts = np.concatenate([np.zeros(1, np.int64), self.stops[:-1, -1] + 1])[: len(self)]
        bounds = np.stack([starts, self.stops[:, index]], axis=1).ravel()
        if len(self) == 0:
            return pa.array([], pa.large_string())
        # The bounds make an array of fields and, between them, what lies between the fields.
        spans = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(self.data))
        return pc.utf8_trim_whitespace(spans.take(pa.array(np.arange(0, len(bounds), 2))))


def read_text_file(path: Path) -> TextFile:
    """Read a file whole and find its lines; blank ones at its end are left out, though a file keeps its first line.

    Raises:
        DataError: it is missing, unreadable, empty or UTF-16.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise unreadable(path, error) from None
    checksum = hashlib.sha256(data.data).hexdigest()
    if data[:2].tobytes() in _UTF16_BOMS:
        raise DataError(f"{path}: expected UTF-8, found UTF-16; convert it, for instance with iconv")
    if data[:3].tobytes() == _BOM:
        data = data[3:]
    if len(data) == 0:
        raise DataError(f"{path}: expected rows, found an empty file; check where it came from")
    if data[-1] != _NEWLINE:
        data = np.append(data, np.uint8(_NEWLINE))
    return _without_blank_end(TextFile(path, checksum, data, np.flatnonzero(data == _NEWLINE)))


def read_rows(file: TextFile, n_columns: int, expected: str, bad: BadRows) -> TsvRows:
    """Divide the lines of a whole file into fields at tabs; see `divide`.

    Raises:
        DataError: no line has a tab, or a row cannot be used and `bad` does not skip.
    """
    if not (file.data == _TAB).any():
        raise DataError(
            f"{file.path}:{file.first_number}: expected {expected}, found no tab in any line: "
            f"{file.first_line[:80]!r}; separate the columns by tabs"
        )
    return divide(file, n_columns, expected, bad)


def divide(file: TextFile, n_columns: int, expected: str, bad: BadRows) -> TsvRows:
    """Divide lines, which may be some of a file's, into fields at tabs.

    Args:
        file: the bytes.
        n_columns: fields a row; at least two.
        expected: the form of a row in words, for messages.
        bad: stops at, or counts, rows of another form.

    Raises:
        DataError: a row cannot be used and `bad` does not skip.
    """
    tabs = np.flatnonzero(file.data == _TAB)
    columns = np.diff(np.searchsorted(tabs, file.ends), prepend=0) + 1
    keep = np.ones(len(file.ends), bool)
    keep = _refuse(keep, _lines_with_nul(file), "nul_byte", file, "text", bad)
    keep = _refuse(keep, _lines_not_utf8(file), "bad_utf8", file, "UTF-8", bad)
    keep = _refuse(keep, columns != n_columns, "wrong_columns", file, f"{n_columns} columns, {expected}", bad)
    data = file.data if keep.all() else file.data[np.repeat(keep, file.ends + 1 - file.starts)]
    stops = np.flatnonzero((data == _TAB) | (data == _NEWLINE)).reshape(-1, n_columns)
    return TsvRows(file.path, np.flatnonzero(keep) + file.first_number, data, stops)


def select_strings(strings: "pa.LargeStringArray", keep: npt.NDArray[np.bool_]) -> "pa.LargeStringArray":
    """The strings where `keep` is true; the array itself, uncopied, if that is everywhere."""
    return strings if keep.all() else strings.filter(pa.array(keep))


def empty_strings(strings: "pa.LargeStringArray") -> npt.NDArray[np.bool_]:
    """Which strings are empty, (n,)."""
    return np.asarray(pc.equal(pc.binary_length(strings), 0))


def _without_blank_end(file: TextFile) -> TextFile:
    """A tab makes a line a row of empty fields, so it is not blank."""
    n_lines = len(file.ends)
    while n_lines > 1 and not file.raw_line(n_lines - 1).strip(b" \r\n"):
        n_lines -= 1
    ends = file.ends[:n_lines]
    return replace(file, data=file.data[: ends[-1] + 1], ends=ends)


def _lines_with_nul(file: TextFile) -> npt.NDArray[np.bool_]:
    return _lines_at(file, np.flatnonzero(file.data == 0))


def _lines_not_utf8(file: TextFile) -> npt.NDArray[np.bool_]:
    """Which lines are not UTF-8; looked for one by one only if the whole is not."""
    offsets = np.concatenate([file.starts, file.ends[-1:] + 1])
    whole = pa.LargeStringArray.from_buffers(len(file.ends), pa.py_buffer(offsets), pa.py_buffer(file.data))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        suspects = np.flatnonzero(_lines_at(file, np.flatnonzero(file.data >= 0x80)))
    else:
        return np.zeros(len(file.ends), bool)
    wrong = np.zeros(len(file.ends), bool)
    wrong[[line for line in suspects if not _is_utf8(file.raw_line(int(line)))]] = True
    return wrong


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _lines_at(file: TextFile, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which lines these bytes lie in."""
    lines = np.zeros(len(file.ends), bool)
    lines[np.searchsorted(file.ends, positions)] = True
    return lines


def _refuse(
    keep: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    reason: str,
    file: TextFile,
    expected: str,
    bad: BadRows,
) -> npt.NDArray[np.bool_]:
    """Refuse the wrong ones among the lines still kept; returns which are kept then."""
    lines = np.flatnonzero(keep & wrong)
    bad.refuse(reason, file.path, lines + file.first_number, expected, lambda index: repr(file.line(int(lines[index]))))
    return keep & ~wrong
