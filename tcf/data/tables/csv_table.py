"""Delimited text (CSV, TSV, `a::b`, ...), plain or gzip, as blocks of columns, parsed by several threads in order."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcf.common.errors import ConfigError, DataError
from tcf.common.threads import prefetch
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.parse_records import Parsed, Rejected, parse_block
from tcf.data.tables.records import BLOCK_BYTES, RawBlock, TextForm, parsed_blocks, raw_blocks
from tcf.data.tables.source_file import Source, stamp_of
from tcf.data.tables.table import TableBlock, Unit, empty_block, lacks_column

__all__ = ["TextTable"]

_HEADER_BYTES = 1 << 20
_AHEAD = 4  # blocks read in advance, because the consumer's speed varies


class TextTable:
    """A text file whose records are rows.

    Unusable rows are rejected as `nul_byte`, `bad_utf8`, `wrong_columns` or `torn_quotes` (text after a closing quote).
    Blank lines at the end of the file are ignored; a blank line elsewhere is rejected as `wrong_columns`.

    Args:
        path: the file.
        form: its format.
        block_bytes: bytes to parse at once.

    Raises:
        DataError: the file cannot be read, is empty or UTF-16, or has no usable header.
    """

    unit: Unit = "line"

    def __init__(self, path: Path, form: TextForm, block_bytes: int = BLOCK_BYTES) -> None:
        self.path, self._form, self._block_bytes = path, form, block_bytes
        self._stamp = stamp_of(path)
        with Source(path, self._stamp) as source:
            header = _header_record(source, form)
        self.columns = _names(header, form, path) if form.header is None else form.header
        self._header_bytes = len(header) if form.header is None else 0
        self._header_lines = header.count(b"\n") if form.header is None else 0
        self._sha256: str | None = None

    @property
    def sha256(self) -> str:
        """Sha256 of the file on disk, in hexadecimal, available once all blocks have been read."""
        if self._sha256 is None:
            raise ValueError(f"{self.path}: the checksum is available once all blocks have been read")
        return self._sha256

    def blocks(self, columns: Sequence[str], bad: BadRows) -> Iterator[TableBlock]:
        """Yield the rows in blocks; see `TableFile`."""
        self._check_columns(columns)

        def parse(raw: RawBlock) -> Parsed:
            return parse_block(raw, self._form, self.columns, columns, self.path)

        rows = _Numbered(self.path, self._header_lines + 1, bad, len(self.columns))
        found = False
        with Source(self.path, self._stamp) as source, closing(prefetch(self._raw_blocks(source), _AHEAD)) as raw:
            for parsed in parsed_blocks(parse, raw):
                block = rows.next_block(parsed)
                if len(block):
                    yield block
                    found = True
            self._sha256 = source.finish()
        if rows.is_empty:
            raise DataError(f"{self.path}: expected rows after the header, found none; check its source")
        if not found:
            yield empty_block(self.path, "line", columns)

    def _raw_blocks(self, source: Source) -> Iterator[RawBlock]:
        """Yield the file's blocks without the header."""
        begin = self._header_bytes
        for raw in raw_blocks(source, self._form, self._block_bytes):
            if begin:
                ends = None if raw.ends is None else raw.ends[1:] - begin
                raw, begin = RawBlock(raw.data[begin:], ends, raw.torn[raw.torn > 0] - 1, raw.unclosed), 0
            if raw.data:
                yield raw

    def _check_columns(self, columns: Sequence[str]) -> None:
        counts = Counter(self.columns)
        for name in columns:
            if counts[name] == 0:
                raise ConfigError(lacks_column(self.path, name, self.columns))
            if counts[name] > 1:
                raise DataError(f"{self.path}:1: expected one column {name}, found {counts[name]}; rename one")


class _Numbered:
    """Numbers the rows of successive blocks by line, and rejects the unusable ones."""

    def __init__(self, path: Path, first_line: int, bad: BadRows, n_columns: int) -> None:
        self._path, self._line, self._bad, self._n_columns = path, first_line, bad, n_columns
        self._blank: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.is_empty = True

    def next_block(self, parsed: Parsed) -> TableBlock:
        if parsed.unclosed is not None:
            raise _unclosed(self._path, self._line, parsed.unclosed)
        self._reject_blank(parsed)
        for rejected in parsed.rejected:
            self._reject(rejected)
        block = TableBlock(self._path, "line", parsed.lines + self._line, parsed.columns)
        self._line += parsed.n_lines
        return block

    def _reject(self, rejected: Rejected) -> None:
        self._bad.reject(
            rejected.reason,
            self._path,
            rejected.lines + self._line,
            rejected.expected,
            lambda at: rejected.found[at],
            so_far=True,
        )

    def _reject_blank(self, parsed: Parsed) -> None:
        """Reject blank lines once a row follows them."""
        blank = np.append(self._blank, parsed.blank + self._line)
        if parsed.last_line < 0:
            self._blank = blank
            return
        self.is_empty = False
        before = blank < parsed.last_line + self._line
        expected = f"{self._n_columns} columns"
        self._bad.reject("wrong_columns", self._path, blank[before], expected, lambda at: "a blank line", so_far=True)
        self._blank = blank[~before]


def _header_record(source: Source, form: TextForm) -> bytes:
    """Return the first record with its newline."""
    begin = next(raw_blocks(source, form, _HEADER_BYTES))
    if begin.unclosed is not None:
        raise _unclosed(source.path, 1, begin.unclosed)
    end = int(begin.record_ends[0]) + 1
    return bytes(begin.data[:end])


def _unclosed(path: Path, line: int, where: str) -> DataError:
    return DataError(
        f"{path}:{line}: expected a record with closed quotes, found a quote that is still open at {where}; close it"
    )


def _names(header: bytes, form: TextForm, path: Path) -> tuple[str, ...]:
    try:
        text = header.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}:1: expected a header in UTF-8, found other bytes; convert the file") from None
    separator = form.separator.decode()
    fields = next(csv.reader([text], delimiter=separator), []) if form.quoting else text.split(separator)
    names = tuple(field.strip() for field in fields)
    if not any(names) or "\0" in text:
        raise DataError(f"{path}:1: expected a header with the names of columns, found {text[:80]!r}; add a header")
    return names
