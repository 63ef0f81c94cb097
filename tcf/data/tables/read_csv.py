"""One scan of delimited text by DuckDB's `read_csv`: the rows, the records that are not rows, and their lines."""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from tcf.common.errors import DataError
from tcf.data.tables.engine import Engine, file_literal, literal
from tcf.data.tables.inspect_text import TextFacts
from tcf.data.tables.regular_copy import unclosed, write_regular
from tcf.data.tables.source_file import check_unchanged
from tcf.data.tables.table import joined
from tcf.data.tables.text_form import BAD_UTF8, NO_DELIMITER, NO_NULL, NUL, TORN, TextForm

__all__ = ["OVER_ROWS", "CsvScan", "Malformed", "holds_rows", "n_rows_held"]

OVER_ROWS = "quote_over_rows"
"""The reason for a record of several lines, most of which would be rows if quotes were characters."""

_MOST_OTHERS = 4  # a line in this many may be no row: a blank one, or one with a delimiter too many
_LONGEST = (2_000_000, 32_000_000, 256_000_000)  # bytes of a record, tried in turn: the reader holds 16 of them
_AT_ONCE = 1 << 20
_TOO_LONG, _TORN = "LINE SIZE OVER MAXIMUM", "UNQUOTED VALUE"
_READ = 1 << 16  # bytes of a record read at first


@dataclass(frozen=True)
class Malformed:
    """A record that is not a row.

    Attributes:
        number: its place among the records after the header, from 1.
        position: where it begins in the file that was read, in bytes.
        reason: the key that it is counted under; empty for the further lines of a torn record.
        text: the record.
        n_newlines: newlines within it, in the file that was read.
    """

    number: int
    position: int
    reason: str
    text: str
    n_newlines: int

    @property
    def n_lines(self) -> int:
        """Number of lines of the record in the raw file."""
        return self.text.count("\n") + 1


class CsvScan:
    """A context manager that reads a text file; a copy of it, if one is needed, exists until the end.

    Args:
        engine: where to.
        path: the file.
        form: its format.
        facts: what its bytes are like.
        n_columns: number of its columns.
        header_lines: number of lines of its header.

    Attributes:
        is_copy: whether a copy is read (see `text_form`).
    """

    def __init__(
        self, engine: Engine, path: Path, form: TextForm, facts: TextFacts, n_columns: int, header_lines: int
    ) -> None:
        self.is_copy = not facts.is_regular
        self._engine, self._path, self._form, self._facts = engine, path, form, facts
        self._n_columns, self._header_lines = n_columns, header_lines
        self._file = path
        self._torn: list[bytes] = []
        self._longest = _LONGEST[0]

    def __enter__(self) -> Self:
        if self.is_copy:
            self._copy([] if self._torn else None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the copy."""
        if self.is_copy:
            self._file.unlink(missing_ok=True)

    def read(self, expressions: Mapping[str, str], given: Sequence[str] = ()) -> tuple[str, list[Malformed]]:
        """Read the rows into a table.

        Args:
            expressions: the columns of the table by name, as expressions in SQL of the columns `c0`, `c1`, ... of the
                file, or of the last step.
            given: steps before that, each a list of expressions in SQL of the one before, with names.

        Returns:
            The name of the table, and the records that are not rows, in file order.

        Raises:
            DataError: a record is too long, a quote is not closed, or the file has changed.
        """
        for self._longest in _LONGEST:
            name = self._engine.name("rows")
            with self._engine.reading(self._path):
                self._create(name, expressions, given)
            found = self._rejected(name)
            kinds = {kind for *_, kind, _ in found}
            if _TORN in kinds and not self._torn:
                self._engine.run(f"drop table {name}")
                self._copy(self._torn)
                return self.read(expressions, given)
            check_unchanged(self._path, self._facts.stamp)
            # A record that is longer than the reader's buffers is rejected, or lost without a word.
            if _TOO_LONG not in kinds or self._longest == _LONGEST[-1]:
                malformed = self._malformed(found)
                if self._are_all_read(name, malformed):
                    return name, malformed
            self._engine.run(f"drop table {name}")
        raise DataError(
            f"{self._path}: expected {self._facts.n_records} records, found others; report this file as a defect of tcf"
        )

    def _copy(self, torn: list[bytes] | None) -> None:
        self.is_copy = True
        self._file = self._engine.scratch / "regular.txt"
        # In a file of one column, these lines have two.
        torn_end = self._form.delimiter if self._n_columns == 1 else ""
        write_regular(self._path, self._form, self._file, torn, torn_end)

    def line_at(self, record: Malformed) -> int:
        """Return the line where a malformed record begins, from 1."""
        return self._line_at(record.position)

    def _line_at(self, position: int) -> int:
        line, left = 1, position
        with self._file.open("rb") as stream:
            while data := stream.read(min(left, _AT_ONCE)):
                line += data.count(b"\n")
                left -= len(data)
        return line

    def lines(self, malformed: Sequence[Malformed]) -> Callable[[int], int]:
        """Return the function from the rowid of a row to the line where it begins, from 1."""
        numbers = [record.number for record in malformed]
        before, several = self._header_lines, self._facts.has_quotes

        def line_of(row: int) -> int:
            return before + _record_of(row, numbers)

        def line_among_several(row: int) -> int:
            record = _record_of(row, numbers)
            inside = sum(bad.n_newlines for bad in malformed[: bisect_right(numbers, record)])
            with self:
                return before + record + inside + self._newlines(row)

        return line_among_several if several else line_of

    def _newlines(self, n_rows: int) -> int:
        """Return the number of newlines within the values of the first rows, in a second scan."""
        record = joined(f"c{at}" for at in range(self._n_columns))
        counted = f"length({record}) - length(replace({record}, chr(10), ''))"
        source = self._source(self._engine.name("again"))
        return self._engine.number(f"select sum(n) from (select {counted} as n from {source} limit {n_rows})")

    def _create(self, name: str, expressions: Mapping[str, str], given: Sequence[str]) -> None:
        source = self._source(name)
        for step in given:
            source = f"(select {step} from {source})"
        columns = ", ".join(f"{value} as {column}" for column, value in expressions.items())
        try:
            self._engine.run(f"create temp table {name} as select {columns} from {source}")
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            check_unchanged(self._path, self._facts.stamp)
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{self._path}: expected delimited text, found records that cannot be read ({reason}); check the "
                "delimiter"
            ) from None

    def _source(self, name: str) -> str:
        form = self._form
        columns = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(self._n_columns))
        quote = '"' if form.quoting else ""
        return (
            f"read_csv({file_literal(self._file)}, auto_detect = false, compression = 'none', "
            f"hive_partitioning = false, header = {self._header_lines > 0}, "
            f"delim = {literal(form.delimiter)}, quote = '{quote}', escape = '{quote}', new_line = '\\n', "
            f"columns = {{{columns}}}, nullstr = '{NO_NULL}', max_line_size = {self._longest}, "
            f"store_rejects = true, rejects_table = 'not_{name}', rejects_scan = 'scan_{name}', rejects_limit = 0)"
        )

    def _rejected(self, name: str) -> list[tuple[int, int, str, str]]:
        rows = self._engine.rows(f"select line, line_byte_position, error_type, csv_line from not_{name} order by line")
        self._engine.run(f"drop table not_{name}; drop table scan_{name}")
        return [(int(line), int(position), str(kind), text) for line, position, kind, text in rows]

    def _malformed(self, found: Sequence[tuple[int, int, str, str]]) -> list[Malformed]:
        header = int(self._header_lines > 0)
        rows: dict[int, Malformed] = {}
        for line, position, kind, text in found:
            if kind == _TOO_LONG:
                raise unclosed(self._path, self._line_at(position - 1), f"{self._longest >> 20} MiB after it")
            record = text.removesuffix("\n")
            if record.startswith(TORN):
                place = record.removeprefix(TORN).removesuffix(self._form.delimiter)
                record = self._torn[int(place)].decode() if place else ""
                reason = self._reason(record, "torn_quotes") if place else ""
                rows[line] = Malformed(line - header, position - 1, reason, record, 0)
            else:
                reason = self._reason(record, "wrong_columns")
                rows[line] = Malformed(line - header, position - 1, reason, record, record.count("\n"))
        return list(rows.values())

    def _reason(self, record: str, otherwise: str) -> str:
        if NUL in record:
            return "nul_byte"
        if re.search(BAD_UTF8, record):
            return "bad_utf8"
        return OVER_ROWS if holds_rows(record, self._form, self._n_columns) else otherwise

    def spans_lines(self, name: str, malformed: Sequence[Malformed]) -> bool:
        """Return whether a record has several lines, given what `read` has returned."""
        n_records = self._engine.number(f"select count(*) from {name}") + len(malformed)
        return n_records < self._facts.n_lines - self._header_lines

    def _are_all_read(self, name: str, malformed: Sequence[Malformed]) -> bool:
        """Return whether every record has become a row or a malformed record."""
        n_rows = self._engine.number(f"select count(*) from {name}")
        number, expected = n_rows + len(malformed), self._facts.n_records - (self._header_lines > 0)
        if number == expected or not self._facts.has_quotes:
            return number == expected
        # Quotes within values may have misled the count of records, but not that of lines.
        number += self._newlines(n_rows) + sum(record.n_newlines for record in malformed)
        return number == self._facts.n_lines - self._header_lines


def _record_of(row: int, malformed: Sequence[int]) -> int:
    """Return the place of a row, counted from 0, among all records, counted from 1."""
    record = row + 1
    for number in malformed:
        if number > record:
            break
        record += 1
    return record


def holds_rows(record: str, form: TextForm, n_columns: int) -> bool:
    """Return whether a record has several lines, of which at least three in four would be rows if quotes were none.

    Quoted text hardly ever has that number of delimiters on most of its lines; a stray quote may well have swallowed a
    line that is no row, too.
    """
    lines = record.split("\n") if form.quoting and not form.may_span and n_columns > 1 else []
    n_others = sum(line.count(form.delimiter) != n_columns - 1 for line in lines)
    return len(lines) > 1 and _MOST_OTHERS * n_others <= len(lines)


def n_rows_held(columns: Sequence[str], form: TextForm) -> str:
    """Return an expression in SQL for the number of lines of a record that `holds_rows`; 0 for others.

    Args:
        columns: all columns of the file, whose values have the delimiters and newlines that the record has.
        form: its format.
    """
    several = " or ".join(f"contains({column}, chr(10))" for column in columns)
    lines = f"string_split({joined(columns, NO_DELIMITER)}, chr(10))"
    # Delimiters within values and those between them, which quotes keep apart.
    n_delimiters = " + ".join(f"len(string_split(x, {literal(each)})) - 1" for each in (form.delimiter, NO_DELIMITER))
    other = f"list_filter({lines}, lambda x: {n_delimiters} <> {len(columns) - 1})"
    return (
        f"case when not ({several}) then 0 when {_MOST_OTHERS} * len({other}) <= len({lines}) then "
        f"len({lines})::int else 0 end"
    )
