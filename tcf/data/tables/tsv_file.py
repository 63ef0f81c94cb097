"""Tab-separated text files as columns, split by NumPy, with the line number of every row.

A byte order mark is removed. Quotes are ordinary characters. White space at both ends of a field is removed, including
the carriage return of a CRLF line end. Blank lines at the end of a file are ignored. Malformed rows are rejected by
kind: `nul_byte`, `bad_utf8`, `wrong_columns`.
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

__all__ = ["TextFile", "TsvRows", "empty_strings", "read_rows", "read_text_file", "select_strings", "split_fields"]

_Bytes = npt.NDArray[np.uint8]
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_TAB, _NEWLINE = 9, 10


@dataclass(frozen=True)
class TextFile:
    """The bytes of a text file; every line ends with a newline.

    Attributes:
        path: the file.
        sha256: checksum of the file on disk.
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
        """The file without its first line."""
        begin = self.ends[0] + 1
        return replace(self, data=self.data[begin:], ends=self.ends[1:] - begin, first_number=self.first_number + 1)

    def raw_line(self, index: int) -> bytes:
        """Return the bytes of one line, without its newline."""
        begin = self.ends[index - 1] + 1 if index else 0
        return self.data[begin : self.ends[index]].tobytes()

    def line(self, index: int) -> str:
        """Return one line, without its line end; bytes that are not UTF-8 become escapes."""
        return self.raw_line(index).decode("utf-8", "backslashreplace").removesuffix("\r")


@dataclass(frozen=True)
class TsvRows:
    """Rows of a tab-separated file, all with the same number of columns.

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
        """Return the fields of one column, (n_rows,), without white space at either end."""
        if index:
            starts = self.stops[:, index - 1] + 1
        else:
            starts = np.concatenate([np.zeros(1, np.int64), self.stops[:-1, -1] + 1])[: len(self)]
        bounds = np.stack([starts, self.stops[:, index]], axis=1).ravel()
        if len(self) == 0:
            return pa.array([], pa.large_string())
        # The array alternates between the column's fields and the bytes between them.
        spans = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(self.data))
        return pc.utf8_trim_whitespace(spans.take(pa.array(np.arange(0, len(bounds), 2))))


def read_text_file(path: Path) -> TextFile:
    """Read a whole file and find its lines; blank lines at its end are dropped, except the first line.

    Raises:
        DataError: the file is missing, unreadable, empty or UTF-16.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise unreadable(path, error) from None
    checksum = hashlib.sha256(data.data).hexdigest()
    if data[:2].tobytes() in _UTF16_BOMS:
        raise DataError(f"{path}: expected UTF-8, found UTF-16; convert it, for example with iconv")
    if data[:3].tobytes() == _BOM:
        data = data[3:]
    if len(data) == 0:
        raise DataError(f"{path}: expected rows, found an empty file; check its source")
    if data[-1] != _NEWLINE:
        data = np.append(data, np.uint8(_NEWLINE))
    return _without_blank_end(TextFile(path, checksum, data, np.flatnonzero(data == _NEWLINE)))


def read_rows(file: TextFile, n_columns: int, expected: str, bad: BadRows) -> TsvRows:
    """Split the lines of a whole file into fields at tabs; see `split_fields`.

    Raises:
        DataError: no line has a tab, or a row is unusable and `bad` does not skip.
    """
    if not (file.data == _TAB).any():
        raise DataError(
            f"{file.path}:{file.first_number}: expected {expected}, found no tab in any line: "
            f"{file.first_line[:80]!r}; separate the columns with tabs"
        )
    return split_fields(file, n_columns, expected, bad)


def split_fields(file: TextFile, n_columns: int, expected: str, bad: BadRows) -> TsvRows:
    """Split lines, of a whole file or a part of it, into fields at tabs.

    Args:
        file: the lines.
        n_columns: fields in a row; at least two.
        expected: the row format in words, for messages.
        bad: raises an error for malformed rows, or counts them.

    Raises:
        DataError: a row is malformed and `bad` does not skip.
    """
    tabs = np.flatnonzero(file.data == _TAB)
    columns = np.diff(np.searchsorted(tabs, file.ends), prepend=0) + 1
    keep = np.ones(len(file.ends), bool)
    keep = _reject(keep, _lines_with_nul(file), "nul_byte", file, "text", bad)
    keep = _reject(keep, _lines_not_utf8(file), "bad_utf8", file, "UTF-8", bad)
    keep = _reject(keep, columns != n_columns, "wrong_columns", file, f"{n_columns} columns, {expected}", bad)
    data = file.data if keep.all() else file.data[np.repeat(keep, file.ends + 1 - file.starts)]
    stops = np.flatnonzero((data == _TAB) | (data == _NEWLINE)).reshape(-1, n_columns)
    return TsvRows(file.path, np.flatnonzero(keep) + file.first_number, data, stops)


def select_strings(strings: "pa.LargeStringArray", keep: npt.NDArray[np.bool_]) -> "pa.LargeStringArray":
    """Return the strings where `keep` is true; without a copy if all are kept."""
    return strings if keep.all() else strings.filter(pa.array(keep))


def empty_strings(strings: "pa.LargeStringArray") -> npt.NDArray[np.bool_]:
    """Return which strings are empty, (n,)."""
    return np.asarray(pc.equal(pc.binary_length(strings), 0))


def _without_blank_end(file: TextFile) -> TextFile:
    """Drop blank lines at the end; a line with a tab is a row of empty fields, so it is not blank."""
    n_lines = len(file.ends)
    while n_lines > 1 and not file.raw_line(n_lines - 1).strip(b" \r\n"):
        n_lines -= 1
    ends = file.ends[:n_lines]
    return replace(file, data=file.data[: ends[-1] + 1], ends=ends)


def _lines_with_nul(file: TextFile) -> npt.NDArray[np.bool_]:
    return _lines_at(file, np.flatnonzero(file.data == 0))


def _lines_not_utf8(file: TextFile) -> npt.NDArray[np.bool_]:
    """Return which lines are not UTF-8; lines are checked one by one only if the whole file is not UTF-8."""
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
    """Return which lines contain these byte positions."""
    lines = np.zeros(len(file.ends), bool)
    lines[np.searchsorted(file.ends, positions)] = True
    return lines


def _reject(
    keep: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    reason: str,
    file: TextFile,
    expected: str,
    bad: BadRows,
) -> npt.NDArray[np.bool_]:
    """Reject the wrong ones among the lines still kept; return the lines that remain."""
    lines = np.flatnonzero(keep & wrong)
    bad.reject(reason, file.path, lines + file.first_number, expected, lambda index: repr(file.line(int(lines[index]))))
    return keep & ~wrong
