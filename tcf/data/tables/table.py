"""Rows of raw files in the engine: columns of strings, and the place of every row.

with Engine(scratch) as engine:
    table = open_table(path).load(engine, ("user", "item"), bad)
    table.reject(f"{table['user']} = ''", "empty_id", "a user id", bad)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa

from tcf.common.errors import ConfigError, DataError, did_you_mean
from tcf.data.tables.bad_rows import LINES_NAMED, BadRows, Place, Unit
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.text_form import MARKS, as_in_file, from_fault

__all__ = [
    "RawTable",
    "TableFile",
    "check_columns",
    "joined",
    "lacks_column",
    "listed_columns",
    "source_words",
    "trimmed",
    "without_marks",
]

_SHOWN = 4  # values of a row in messages
_VALUE_SHOWN = 40  # characters of each
_LISTED = 300  # characters of column names in messages
# White space of Unicode, and the control characters that separate information.
_WHITE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
_WHITE += "\u2028\u2029\u202f\u205f\u3000"


@dataclass(frozen=True)
class RawTable:
    """Rows of a file, in file order, or of several files, one after another.

    Attributes:
        engine: where they are.
        name: the table in the engine; its `rowid` rises with the rows. Rows may be deleted, but not updated after that:
            DuckDB may then move them.
        columns: the name in the engine of every column that was read. Values are strings without white space at either
            end; a missing value is an empty string.
        place_of: returns the place of the row for which `row` has this value.
        files: checksum of each file on disk, in hexadecimal, by path.
        row: an expression in SQL for what `place_of` takes; it rises with the rows, and is the same for rows of one
            line.
        note_had: notes that users have had the items of rows, which are then left out; it takes a condition in SQL,
            true for these rows. None if the rows are no events.
    """

    engine: Engine
    name: str
    columns: Mapping[str, str]
    place_of: Callable[[int], Place]
    files: Mapping[Path, str]
    row: str = "rowid"
    note_had: "Callable[[RawTable, str], None] | None" = None

    @classmethod
    def of_file(
        cls,
        engine: Engine,
        name: str,
        path: Path,
        unit: Unit,
        columns: Mapping[str, str],
        line_of: Callable[[int], int],
        sha256: str,
    ) -> Self:
        """Return the rows of one file.

        Args:
            engine: where they are.
            name: the table in the engine.
            path: the file.
            unit: what line numbers count: lines of a text file, or rows of another format.
            columns: the name in the engine of every column.
            line_of: returns the line of the row with this `rowid`, from 1: the first line of a record of several
                lines.
            sha256: checksum of the file on disk, in hexadecimal.
        """
        return cls(engine, name, columns, lambda row: Place(path, line_of(row), unit), {path: sha256})

    @property
    def path(self) -> Path:
        """The file, or the first of several."""
        return next(iter(self.files))

    @property
    def source(self) -> str:
        """The files, for messages."""
        return source_words(self.path, len(self.files))

    def __getitem__(self, column: str) -> str:
        """Return the name of a column in the engine."""
        return self.columns[column]

    def __len__(self) -> int:
        """Number of rows that have not been left out."""
        return self.engine.number(f"select count(*) from {self.name}")

    def reject(
        self,
        wrong: str,
        reason: str,
        expected: str,
        bad: BadRows,
        shown: str | None = None,
        columns: Sequence[str] = (),
        *,
        is_had: bool = False,
    ) -> None:
        """Leave out rows that cannot be used.

        Args:
            wrong: a condition in SQL, true for these rows.
            reason: the key that they are counted under.
            expected: what was expected instead, for messages.
            bad: raises an error for rejected rows, or counts them.
            shown: an expression in SQL for what the first row has, in place of its columns.
            columns: the columns in which the fault is; a message shows these first.
            is_had: whether the user has had the item of such an event (`tcf.data.events.had_items`).

        Raises:
            DataError: there are such rows, and `bad` does not skip.
        """
        number = self.engine.number(f"select count(*) from {self.name} where {wrong}")
        if number == 0:
            return
        places, found = self._first(wrong, shown, columns) if bad.is_error else ([], "")
        bad.reject(reason, number, places, expected, found)
        self._delete(wrong, is_had)

    def reject_values(self, wrong: Callable[[str], str], reason: str, expected: str, bad: BadRows) -> None:
        """Leave out rows with a value that cannot be used.

        Args:
            wrong: returns a condition in SQL for a text, true if a part of it cannot be used.
            reason: the key that they are counted under.
            expected: what was expected instead, for messages.
            bad: raises an error for rejected rows, or counts them.

        Raises:
            DataError: there are such rows, and `bad` does not skip.
        """
        row_is_wrong, first = wrong(joined(self.columns.values())), list[str]()
        if bad.is_error:
            faults = ", ".join(wrong(column) for column in self.columns.values())
            rows = self.engine.rows(
                f"select {faults} from {self.name} where {row_is_wrong} order by {self.row}, rowid limit 1"
            )
            first = [name for row in rows for name, fault in zip(self.columns, row, strict=True) if fault]
        self.reject(row_is_wrong, reason, expected, bad, columns=first)

    def leave_out(self, unwanted: str, reason: str, bad: BadRows, *, is_had: bool = False) -> int:
        """Leave out and count rows that are not wanted; return their number.

        Args:
            unwanted: a condition in SQL, true for these rows.
            reason: the key that they are counted under.
            bad: counts them.
            is_had: whether the user has had the item of such an event (`tcf.data.events.had_items`).
        """
        number = self.engine.number(f"select count(*) from {self.name} where {unwanted}")
        if number:
            self._delete(unwanted, is_had)
        bad.count(reason, number)
        return number

    def _delete(self, unwanted: str, is_had: bool) -> None:
        if is_had and self.note_had is not None:
            self.note_had(self, unwanted)
        self.engine.run(f"delete from {self.name} where {unwanted}")

    def strings(self, *expressions: str) -> "list[pa.LargeStringArray]":
        """Return expressions in SQL for all rows, in file order, (n_rows,) each."""
        return self.engine.strings(f"select {', '.join(expressions)} from {self.name} order by rowid")

    def _first(self, wrong: str, shown: str | None, first: Sequence[str]) -> tuple[list[Place], str]:
        """Return the places of the first rows, and what the very first has."""
        names = list(dict.fromkeys((*first, *self.columns)))[: max(_SHOWN, len(first))]
        values = shown or ", ".join(self.columns[name] for name in names)
        rows = self.engine.rows(
            f"select distinct on ({self.row}) {self.row}, {values} from {self.name} where {wrong} "
            f"order by {self.row}, rowid limit {LINES_NAMED + 1}"
        )
        texts = [as_in_file(from_fault(str(value))) for value in rows[0][1:]]
        if shown is not None:
            found = repr(texts[0])
        else:
            found = ", ".join(f"{name} {_cut(text)!r}" for name, text in zip(names, texts, strict=True))
        return [self.place_of(row[0]) for row in rows], found


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_SHOWN else text[:_VALUE_SHOWN] + "..."


class TableFile(Protocol):
    """A raw file with named columns, or several that are read as one; read once."""

    @property
    def path(self) -> Path:
        """The file, or the first of several."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns; of several files, those that any of them has."""

    def load(self, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        """Read the rows.

        Args:
            engine: where to.
            columns: the columns to read, each once.
            bad: raises an error for unusable rows, or counts them.

        Raises:
            ConfigError: the file lacks one of the columns.
            DataError: the file cannot be read, is damaged, changes while it is read or has no rows; or a row is
                unusable and `bad` does not skip.
        """


def check_columns(path: Path, wanted: Iterable[str], there: Sequence[str]) -> None:
    """Refuse a column that a file lacks or has several times.

    Raises:
        ConfigError: it lacks one.
        DataError: it has one several times.
    """
    for name in wanted:
        number = there.count(name)
        if number == 0:
            raise ConfigError(lacks_column(path, name, there))
        if number > 1:
            raise DataError(f"{path}:1: expected one column {name}, found {number}; rename one")


def lacks_column(path: Path, name: str, columns: Sequence[str], scope: str = "") -> str:
    """Return the message about a column that a file lacks: it lists the file's columns and suggests the nearest.

    `scope` says which rows have these columns, if only some of them have been looked at.

    Example:
        >>> lacks_column(Path("sales.csv"), "InvoiceN", ["InvoiceNo", "StockCode"])
        'sales.csv: expected one of its columns (InvoiceNo, StockCode), found InvoiceN; did you mean InvoiceNo?'
    """
    there = listed_columns(columns) + (f"; {scope}" if scope else "")
    return f"{path}: expected one of its columns ({there}), found {name}{did_you_mean(name, columns)}"


def source_words(path: Path, number: int) -> str:
    """Return words for files, for messages: the first one, and how many more there are.

    Example:
        >>> source_words(Path("a.csv"), 1), source_words(Path("a.csv"), 3)
        ('a.csv', 'a.csv and 2 more files')
    """
    match number:
        case 1:
            return str(path)
        case 2:
            return f"{path} and 1 more file"
        case _:
            return f"{path} and {number - 1} more files"


def listed_columns(columns: Sequence[str]) -> str:
    """Return column names for a message, as many as about 300 characters hold."""
    names = ", ".join(columns)
    return names if len(names) <= _LISTED else f"{names[:_LISTED].rpartition(', ')[0] or names[:_LISTED]}, ..."


def joined(values: Iterable[str], between: str = "") -> str:
    """Return an expression in SQL for values one after another; any number of them, as its depth is one."""
    return f"array_to_string([{', '.join(values)}], {literal(between)})"


def trimmed(value: str) -> str:
    """Return an expression in SQL for a value without white space at either end.

    Few values have any; only for these is the slow function called.
    """
    edges = " or ".join(f"({value})[{at}] <= ' ' or ({value})[{at}] > '~'" for at in (1, -1))
    return f"case when {edges} then trim({value}, {literal(_WHITE)}) else {value} end"


def without_marks(value: str) -> str:
    """Return an expression in SQL for a value without the marks of a copy (`text_form`)."""
    for mark in MARKS:
        value = f"replace({value}, {literal(mark)}, '')"
    return value
