"""Delimited text (CSV, TSV, `a::b`, ...), plain or gzip, read by DuckDB."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import LINES_NAMED, BadRows, Place
from tcf.data.tables.engine import Engine
from tcf.data.tables.inspect_text import inspect_text
from tcf.data.tables.read_csv import OVER_ROWS, CsvScan, Malformed, holds_rows, n_rows_held
from tcf.data.tables.regular_copy import unclosed
from tcf.data.tables.source_file import NoRowsError
from tcf.data.tables.table import RawTable, check_columns, joined, trimmed, without_marks
from tcf.data.tables.text_form import BAD_UTF8, BLANK, NO_DELIMITER, NUL, TextForm, as_in_file, from_fault

__all__ = ["TextTable"]

_SHOWN = 80
_HELD_ROWS = (
    "a record within one line, or a quoted field whose lines would not be rows (in format table, --quotes none "
    "takes quotes for characters and --quotes csv allows such a field)"
)


class TextTable:
    """A text file whose records are rows.

    Unusable rows are rejected as `nul_byte`, `bad_utf8`, `wrong_columns`, `torn_quotes` (text after a closing quote) or
    `quote_over_rows` (a record of several lines, most of which would be rows if quotes were characters); of the last
    two, all lines of a record are counted. Blank lines at the end of the file are ignored; a blank line elsewhere is
    rejected as `wrong_columns`.

    Args:
        path: the file.
        form: its format.

    Raises:
        DataError: the file cannot be read, is empty or UTF-16, or has no usable header.
    """

    def __init__(self, path: Path, form: TextForm) -> None:
        self.path, self._form = path, form
        self._facts = inspect_text(path, form)
        begin, self._facts.begin = self._facts.begin, b""  # there may be thousands of files
        self.columns, self._header_lines = (form.header, 0) if form.header else _header(begin, form, path)
        self._first = _first_record(begin, form) if form.header else None

    def check_header(self, option: str) -> None:
        """Refuse a header from elsewhere that does not fit the first record; one that is not a row is let pass.

        Args:
            option: the option that the header comes from, for the message.

        Raises:
            DataError: the record has another number of fields, or is the header itself.
        """
        if self._first is None:
            return
        fields, names, where = self._first, self.columns, f"{option}: {self.path}:1"
        shown = self._form.delimiter.join(fields)[:_SHOWN]
        if len(fields) != len(names):
            raise DataError(
                f"{where}: expected {_counted(len(names))} ({', '.join(names)[:_SHOWN]}), found "
                f"{_counted(len(fields))} ({shown!r}); name each of them in order, and check the delimiter"
            )
        if [field.casefold() for field in fields] == [name.casefold() for name in names]:
            raise DataError(
                f"{where}: expected rows without a header, found one ({shown!r}); leave {option} out for such files"
            )

    def load(self, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        """Read the rows; see `TableFile`."""
        check_columns(self.path, columns, self.columns)
        if self._facts.n_lines == self._header_lines:
            raise NoRowsError(f"{self.path}: expected rows after the header, found none; check its source")
        names = {column: f"c{self.columns.index(column)}" for column in columns}
        # A row with a bad byte is rejected wherever in the row that is.
        wanted = [f"c{at}" for at in range(len(self.columns))] if self._facts.has_bad_bytes else list(names.values())
        with CsvScan(engine, self.path, self._form, self._facts, len(self.columns), self._header_lines) as scan:
            # Only a file that seems to have records of several lines pays for the look at all their columns.
            looks = self._may_hold_rows and self._facts.n_records < self._facts.n_lines
            table, malformed = self._read(scan, wanted, looks)
            if self._may_hold_rows and not looks and scan.spans_lines(table, malformed):
                engine.run(f"drop table {table}")  # quotes within values have misled the count of records
                looks, (table, malformed) = True, self._read(scan, wanted, looks=True)
            self._reject(scan, malformed, bad)
            line_of = scan.lines(malformed)
        rows = RawTable.of_file(engine, table, self.path, "line", names, line_of, self._facts.sha256)
        self._reject_bytes(rows, wanted, bad)
        if looks:
            self._reject_held_rows(rows, bad)
        return rows

    @property
    def _may_hold_rows(self) -> bool:
        return self._facts.has_quotes and not self._form.may_span and len(self.columns) > 1

    def _read(self, scan: CsvScan, wanted: Sequence[str], looks: bool) -> tuple[str, list[Malformed]]:
        """Read some columns, and the number of rows that a record holds if `looks`."""
        every = [f"c{at}" for at in range(len(self.columns))]
        unmarked = [f"{self._unmarked(name)} as {name}" for name in (every if looks else wanted)]
        values = {name: trimmed(name) if self._facts.has_spaces else name for name in wanted}
        held = {"held": n_rows_held(every, self._form)} if looks else {}
        return scan.read({**values, **held}, (", ".join(unmarked),) if scan.is_copy else ())

    def _unmarked(self, name: str) -> str:
        value = without_marks(name)
        if len(self.columns) == 1:
            return f"case when {name} = '{BLANK}' then {name} else {value} end"  # a blank line stays one
        return value

    def _reject(self, scan: CsvScan, malformed: Sequence[Malformed], bad: BadRows) -> None:
        """Reject the records that are not rows, by reason."""
        columns = f"{len(self.columns)} columns, {', '.join(self.columns)[:200]}"
        expected = {
            "nul_byte": "text",
            "bad_utf8": "UTF-8",
            OVER_ROWS: _HELD_ROWS,
            "torn_quotes": "a closing quote at the end of its field",
        }
        for reason in (*expected, "wrong_columns"):
            rows = [row for row in malformed if row.reason == reason]
            if rows:
                first, found = rows[: LINES_NAMED + 1], as_in_file(from_fault(rows[0].text))[:_SHOWN]
                places = [Place(self.path, scan.line_at(row)) for row in first] if bad.is_error else []
                shown = repr(found) if found else "a blank line"
                # A quote that is torn by the next one, some lines later, has swallowed these.
                are_rows = reason in (OVER_ROWS, "torn_quotes") and not bad.is_error
                number = sum(row.n_lines for row in rows) if are_rows else len(rows)
                bad.reject(reason, number, places, expected.get(reason, columns), shown)

    def _reject_held_rows(self, rows: RawTable, bad: BadRows) -> None:
        """Reject records that hold rows; these are lost as well, so that all lines are counted."""
        if bad.is_error:
            record = joined(rows.columns.values(), self._form.delimiter)
            rows.reject("held > 0", OVER_ROWS, _HELD_ROWS, bad, record)
        bad.count(OVER_ROWS, rows.engine.number(f"select sum(held) from {rows.name}"))
        rows.engine.run(f"delete from {rows.name} where held > 0")

    def _reject_bytes(self, rows: RawTable, wanted: Sequence[str], bad: BadRows) -> None:
        if len(self.columns) == 1:
            rows.reject(f"c0 = '{BLANK}'", "wrong_columns", f"1 column, {self.columns[0]}", bad, shown="''")
        if self._facts.has_bad_bytes:
            record = joined(wanted, self._form.delimiter)
            rows.reject(f"contains({record}, '{NUL}')", "nul_byte", "text", bad, record)
            rows.reject(f"regexp_matches({record}, '{BAD_UTF8}')", "bad_utf8", "UTF-8", bad, record)


def _header(begin: bytes, form: TextForm, path: Path) -> tuple[tuple[str, ...], int]:
    """Return the names of the columns, and the number of lines that the header has."""
    text = begin.decode("utf-8", "replace")
    if re.search(BAD_UTF8, text.partition("\n")[0]):
        raise DataError(f"{path}:1: expected a header in UTF-8, found other bytes; convert the file")
    if not form.quoting:
        fields, n_lines = text.partition("\n")[0].split(form.delimiter), 1
    else:
        fields, n_lines = _quoted_header(text, form, path)
    names = tuple(field.strip() for field in fields)
    if not any(names) or any(NUL in name for name in names):
        found = text.partition("\n")[0][:_SHOWN]
        raise DataError(f"{path}:1: expected a header with the names of columns, found {found!r}; add a header")
    return names, n_lines


def _first_record(begin: bytes, form: TextForm) -> list[str] | None:
    """Return the fields of the first record; None if it is not a row."""
    text = begin.decode("utf-8", "replace")
    if not form.quoting:
        return [field.strip() for field in text.partition("\n")[0].split(form.delimiter)]
    text = text.replace(form.delimiter, NO_DELIMITER)
    try:
        fields = next(csv.reader(io.StringIO(text), delimiter=NO_DELIMITER, strict=True), [])
    except csv.Error:
        return None
    return [field.replace(NO_DELIMITER, form.delimiter).strip() for field in fields]


def _counted(n_fields: int) -> str:
    return f"{n_fields} field{'' if n_fields == 1 else 's'}"


def _quoted_header(text: str, form: TextForm, path: Path) -> tuple[list[str], int]:
    text = text.replace(form.delimiter, NO_DELIMITER)  # the delimiter of Python's reader is a single character
    lines = csv.reader(io.StringIO(text), delimiter=NO_DELIMITER, strict=True)
    try:
        fields, n_lines = next(lines, []), lines.line_num
    except csv.Error:
        if text.count('"') % 2:
            raise unclosed(path, 1, "the end of the file") from None
        found = text.partition("\n")[0].replace(NO_DELIMITER, form.delimiter)[:_SHOWN]
        raise DataError(
            f"{path}:1: expected a header with the names of columns, found {found!r}; close the quotes of each name"
        ) from None
    if holds_rows("\n".join(text.split("\n")[:n_lines]).replace(NO_DELIMITER, form.delimiter), form, len(fields)):
        raise DataError(f"{path}:1: expected {_HELD_ROWS}, found a header of {n_lines} lines; correct the file")
    return [field.replace(NO_DELIMITER, form.delimiter) for field in fields], n_lines
