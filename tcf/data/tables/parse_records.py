"""Blocks of records parsed into columns: unusable rows are set apart, the others are parsed by Arrow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv

from tcf.common.errors import DataError
from tcf.data.tables.records import RawBlock, TextForm, count_lines, newlines

__all__ = ["Parsed", "Rejected", "parse_block"]

Positions = npt.NDArray[np.int64]
_SHOWN = 80
_SPACES = (b" ", b"\t", b"\x0b", b"\x0c")


@dataclass(frozen=True)
class Rejected:
    """Records rejected for one reason.

    Attributes:
        reason: the key that they are counted under.
        lines: (n,) number of lines before each record in the block, rising.
        expected: what was expected instead.
        found: the records as shown in messages, in the same order.
    """

    reason: str
    lines: Positions
    expected: str
    found: Sequence[str]


@dataclass(frozen=True)
class Parsed:
    """The rows of a block.

    Attributes:
        columns: (n_rows,) each, without nulls and without white space at either end.
        lines: (n_rows,) number of lines before each row in the block.
        rejected: the unusable records.
        blank: number of lines before each blank line.
        n_lines: lines in the block.
        last_line: number of lines before the last record that is not blank; -1 if there is none.
        unclosed: see `RawBlock`.
    """

    columns: Mapping[str, "pa.LargeStringArray"]
    lines: Positions
    rejected: Sequence[Rejected]
    blank: Positions
    n_lines: int
    last_line: int
    unclosed: str | None = None


def parse_block(raw: RawBlock, form: TextForm, names: Sequence[str], columns: Sequence[str], path: Path) -> Parsed:
    """Parse a block.

    Args:
        raw: the records.
        form: the file's format.
        names: names of all columns.
        columns: the columns to return, at least one.
        path: the file, for messages.

    Raises:
        DataError: Arrow cannot parse the remaining records; not expected for any file.
    """
    none = np.zeros(0, np.int64)
    if raw.unclosed is not None:
        return Parsed({}, none, (), none, 0, -1, raw.unclosed)
    n_lines = count_lines(raw.data)
    if not len(raw.torn) and b"\0" not in raw.data and _is_utf8(raw.data):
        arrays, wrong = _arrow_columns(raw.data, form, names, columns, path)
        # Arrow skips blank lines, so records are missing if there are any.
        n_records = len(arrays[columns[0]]) + len(wrong)
        if n_records == (n_lines if raw.ends is None else len(raw.ends)):
            lines = np.arange(n_lines) if raw.ends is None else _lines_of(raw.data, raw.ends)
            return _with_wrong(arrays, wrong, lines, names, Parsed({}, lines, (), none, n_lines, n_lines - 1))
    data, screened = _screen(raw, form)
    arrays, wrong = _arrow_columns(data, form, names, columns, path)
    if len(arrays[columns[0]]) + len(wrong) != len(screened.lines):
        raise DataError(
            f"{path}: expected {len(screened.lines)} records in a block, found "
            f"{len(arrays[columns[0]]) + len(wrong)}; report this file as a defect of tcf"
        )
    return _with_wrong(arrays, wrong, screened.lines, names, screened)


def _with_wrong(
    arrays: "Mapping[str, pa.LargeStringArray]",
    wrong: "Sequence[tuple[int, str]]",
    lines: Positions,
    names: Sequence[str],
    parsed: Parsed,
) -> Parsed:
    """Add the columns, and reject the records with a wrong number of fields."""
    if not wrong:
        return replace(parsed, columns=arrays)
    numbers = np.array([number for number, _ in wrong], np.int64)
    found = [repr(text[:_SHOWN]) for _, text in wrong]
    rejected = Rejected("wrong_columns", lines[numbers], f"{len(names)} columns, {', '.join(names)[:200]}", found)
    return replace(parsed, columns=arrays, lines=np.delete(lines, numbers), rejected=[*parsed.rejected, rejected])


def _screen(raw: RawBlock, form: TextForm) -> tuple[bytes, Parsed]:
    """Return the bytes of the records that Arrow can parse, and everything about the block except its columns."""
    ends = raw.record_ends
    starts, lines = np.append(0, ends[:-1] + 1), _lines_of(raw.data, ends)
    blank = starts == ends
    keep, rejected = ~blank, list[Rejected]()
    for reason, wrong, expected in _wrong_records(raw, ends):
        at = np.flatnonzero(keep & wrong)
        texts = (raw.data[starts[i] : ends[i]][:_SHOWN].decode("utf-8", "backslashreplace") for i in at)
        found = [repr(form.as_written(text)) for text in texts]
        if len(at):
            rejected.append(Rejected(reason, lines[at], expected, found))
        keep &= ~wrong
    data = np.frombuffer(raw.data, np.uint8)[np.repeat(keep, ends + 1 - starts)].tobytes()
    last = -1 if blank.all() else int(lines[~blank][-1])
    return data, Parsed({}, lines[keep], rejected, lines[blank], count_lines(raw.data), last)


def _wrong_records(raw: RawBlock, ends: Positions) -> Iterator[tuple[str, npt.NDArray[np.bool_], str]]:
    """Yield reasons to reject records: the reason, (n_records,) where it applies, and what was expected instead."""
    data = np.frombuffer(raw.data, np.uint8)
    yield "nul_byte", _records_at(np.flatnonzero(data == 0), ends), "text"
    utf8 = np.zeros(len(ends), bool)
    if not _is_utf8(raw.data):
        suspects = np.flatnonzero(_records_at(np.flatnonzero(data >= 0x80), ends))
        starts = np.append(0, ends[:-1] + 1)
        utf8[[at for at in suspects if not _is_utf8(raw.data[starts[at] : ends[at]])]] = True
    yield "bad_utf8", utf8, "UTF-8"
    torn = np.zeros(len(ends), bool)
    torn[raw.torn] = True
    yield "torn_quotes", torn, "a closing quote at the end of its field"


def _records_at(positions: Positions, ends: Positions) -> npt.NDArray[np.bool_]:
    """Return which records contain these byte positions."""
    found = np.zeros(len(ends), bool)
    found[np.searchsorted(ends, positions)] = True
    return found


def _lines_of(data: bytes | bytearray, ends: Positions) -> Positions:
    """Return the number of lines before each record."""
    return np.searchsorted(newlines(data), np.append(0, ends[:-1] + 1))


def _is_utf8(data: bytes | bytearray) -> bool:
    if data.isascii():
        return True
    offsets = np.array([0, len(data)])
    try:
        pa.LargeStringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _arrow_columns(
    data: bytes | bytearray,
    form: TextForm,
    names: Sequence[str],
    columns: Sequence[str],
    path: Path,
) -> "tuple[dict[str, pa.LargeStringArray], list[tuple[int, str]]]":
    """Return the requested columns, and index, from 0, and text of each record with a wrong number of fields."""
    wrong = list[tuple[int, str]]()
    if not data:
        return {name: pa.array([], pa.large_string()) for name in columns}, wrong

    def note(row: "pc_csv.InvalidRow") -> str:
        wrong.append((row.number - 1, form.as_written(row.text)))
        return "skip"

    # Generated names, because the file's own may be duplicates.
    wanted = {name: f"c{names.index(name)}" for name in columns}
    read = pc_csv.ReadOptions(
        use_threads=False, block_size=len(data) + 1, column_names=[f"c{at}" for at in range(len(names))]
    )
    quoted = form.quoting and b'"' in data  # parsing without quotes is faster
    parse = pc_csv.ParseOptions(
        delimiter=form.separator.decode(),
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
        invalid_row_handler=note,
    )
    convert = pc_csv.ConvertOptions(
        check_utf8=False,
        column_types={column: pa.string() for column in wanted.values()},  # faster than large_string right away
        include_columns=list(wanted.values()),
        strings_can_be_null=False,
    )
    try:
        table = pc_csv.read_csv(pa.py_buffer(data), read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: expected delimited text, found records that cannot be parsed ({reason}); check the delimiter"
        ) from None
    # More newlines than records: some are within quotes, where they may be at either end of a value.
    in_quotes = quoted and count_lines(data) > len(table) + len(wrong)
    trim = in_quotes or not data.isascii() or any(space in data for space in _SPACES)
    return {name: _combined(table[column], trim) for name, column in wanted.items()}, wrong


def _combined(column: "pa.ChunkedArray", trim: bool) -> "pa.LargeStringArray":
    values = (column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)).cast(pa.large_string())
    return pc.utf8_trim_whitespace(values) if trim else values
