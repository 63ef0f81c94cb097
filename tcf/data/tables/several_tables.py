"""Several files that are read as one table, such as the parts of a log.

The rows of all files lie in one table of the engine, in the order of the files. A column holds the place of each: the
number of its file, and its row there. A single file needs neither.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tcf.common.errors import DataError
from tcf.common.manifest import sha256_file
from tcf.data.tables.bad_rows import BadRows, Place
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.source_file import NoRowsError
from tcf.data.tables.table import RawTable, TableFile, check_columns, source_words

__all__ = ["ListedFile", "SeveralTables", "columns_of_files", "open_several"]

logger = logging.getLogger(__name__)

_BITS = 40  # of the row in its file
_PLACE = "place"


@dataclass(frozen=True)
class ListedFile:
    """A file of a list.

    Attributes:
        path: the file.
        constants: columns whose value is the same in all rows, because the names of folders give it.
        is_named: whether it was named itself, and not only a folder or a pattern; then it must have rows.
    """

    path: Path
    constants: Mapping[str, str] = field(default_factory=dict)
    is_named: bool = True


@dataclass(frozen=True)
class _Part:
    """A file that has been opened."""

    file: ListedFile
    table: TableFile

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.table.columns, *self.file.constants)))


def open_several(files: Sequence[ListedFile], open_file: Callable[[Path], TableFile]) -> TableFile:
    """Open files as one table; one file without columns from its folders is opened as it is.

    Args:
        files: the files, at least one, in the order of their rows.
        open_file: opens one.

    Raises:
        DataError: one cannot be used; an empty one is an error if it was named itself or all are empty.
    """
    if len(files) == 1 and not files[0].constants:
        return open_file(files[0].path)
    parts, empty = list[_Part](), dict[Path, NoRowsError]()
    for file in files:
        try:
            parts.append(_Part(file, open_file(file.path)))
        except NoRowsError as error:
            if file.is_named:
                raise
            empty[file.path] = error
    if not parts:
        raise next(iter(empty.values()))
    return SeveralTables(parts, tuple(empty))


def columns_of_files(table: TableFile) -> list[tuple[Path, tuple[str, ...]]]:
    """Return the files of a table, each with the columns that it can be asked for."""
    return table.columns_of_files() if isinstance(table, SeveralTables) else [(table.path, table.columns)]


class SeveralTables:
    """Files that are read as one table; each must have the columns that are read, in any order.

    Objects of JSON lines may lack a key, and so may all objects of one file, if another file has it.

    Args:
        parts: the files with rows, at least one.
        empty: those without any.
    """

    def __init__(self, parts: Sequence[_Part], empty: Sequence[Path]) -> None:
        self._parts, self._empty = parts, empty
        self.path = parts[0].file.path
        self.columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))

    @property
    def source(self) -> str:
        """The files, for messages."""
        return source_words(self.path, len(self._parts) + len(self._empty))

    def columns_of_files(self) -> list[tuple[Path, tuple[str, ...]]]:
        """Return the files, each with the columns that it can be asked for."""
        keys = [key for part in self._parts if isinstance(part.table, JsonTable) for key in part.table.columns]
        return [
            (part.file.path, tuple(dict.fromkeys((*part.columns, *keys))))
            if isinstance(part.table, JsonTable)
            else (part.file.path, part.columns)
            for part in self._parts
        ]

    def load(self, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        """Read the rows; see `TableFile`.

        Raises:
            ConfigError: a file lacks one of the columns.
            DataError: a file cannot be used, has no rows although it was named, or is a copy of another one; no file
                has rows; or the name of a folder and a file in it differ in the value of a column.
        """
        for path, there in self.columns_of_files():
            check_columns(path, columns, there)
        name, names = engine.name("rows"), {column: f"c{at}" for at, column in enumerate(columns)}
        typed = ", ".join(f"{column} varchar" for column in names.values())
        engine.run(f"create temp table {name} ({typed}, {_PLACE} bigint)")
        places, files, empty = list[Callable[[int], Place]](), dict[Path, str](), dict[Path, NoRowsError | None]()
        for part in self._parts:
            try:
                rows = self._rows_of(part, columns, engine, bad)
            except NoRowsError as error:
                if part.file.is_named:
                    raise
                empty[part.file.path] = error
                continue
            values = ", ".join(_value(part.file, rows, column) for column in columns)
            place = f"{len(places) << _BITS} + {rows.row}"
            engine.run(f"insert into {name} select {values}, {place} from {rows.name}; drop table {rows.name}")
            places.append(rows.place_of)
            files |= rows.files
        self._refuse_copies(files)
        if not files:
            raise next(error for error in empty.values() if error)
        empty |= dict.fromkeys(self._empty)
        if empty:
            logger.info(f"{self.source}: {len(empty)} of them without rows, the first of these {min(empty)}")
        files |= {path: sha256_file(path) for path in empty}
        return RawTable(engine, name, names, _place_among(places), files, _PLACE)

    def _rows_of(self, part: _Part, columns: Sequence[str], engine: Engine, bad: BadRows) -> RawTable:
        """Read a file; a column that both a folder and the file give must be the same in both."""
        there, constants = part.table.columns, part.file.constants
        own = [column for column in columns if column not in constants or column in there]
        rows = part.table.load(engine, own or there[:1], bad)
        for column in constants.keys() & set(own):
            value = constants[column]
            differing = engine.rows(
                f"select {rows.row}, {rows[column]} from {rows.name} where {rows[column]} <> {literal(value)} "
                f"order by {rows.row} limit 1"
            )
            for row, found in differing:
                raise DataError(
                    f"{rows.place_of(row)}: expected {column} {value!r}, as a folder of the file says, found "
                    f"{found[:80]!r}; rename the folder or the column"
                )
        return rows

    def _refuse_copies(self, files: Mapping[Path, str]) -> None:
        constants = {part.file.path: tuple(sorted(part.file.constants.items())) for part in self._parts}
        first: dict[tuple[object, str], Path] = {}
        for path, sha256 in files.items():
            known = first.setdefault((constants[path], sha256), path)
            if known != path:
                raise DataError(
                    f"{path}: expected a file of its own, found a copy of {known}, whose rows would count twice; leave "
                    "one of them out"
                )


def _value(file: ListedFile, rows: RawTable, column: str) -> str:
    return literal(file.constants[column]) if column in file.constants else rows[column]


def _place_among(places: Sequence[Callable[[int], Place]]) -> Callable[[int], Place]:
    return lambda place: places[place >> _BITS](place & ((1 << _BITS) - 1))
