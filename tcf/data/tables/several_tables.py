"""Several files that are read as one table, such as the parts of a log.

The rows of all files lie in one table of the engine, in the order of the files. A column holds the place of each: the
number of its file, and its row there. A single file needs neither. Where files are for the parts of a split, the column
`part` of the engine's table, which is none of the files' columns, has the part.
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

__all__ = ["ListedFile", "SeveralTables", "columns_of_files", "look_for", "open_several", "refuse_copies"]

logger = logging.getLogger(__name__)

_BITS = 40  # of the row in its file
_PLACE = "place"
_BY_CHANCE = 4096  # bytes; smaller files may be alike without being copies


@dataclass(frozen=True)
class ListedFile:
    """A file of a list.

    Attributes:
        path: the file.
        constants: columns whose value is the same in all rows, because the names of folders give it.
        is_named: whether it was named itself, and not only a folder or a pattern; then it must have rows.
        part: the number of the part of a split that it is for; None, as for all files of a list, if that is not known.
    """

    path: Path
    constants: Mapping[str, str] = field(default_factory=dict)
    is_named: bool = True
    part: int | None = None


@dataclass(frozen=True)
class _Part:
    """A file that has been opened."""

    file: ListedFile
    table: TableFile

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.table.columns, *self.file.constants)))


def open_several(files: Sequence[ListedFile], open_file: Callable[[Path], TableFile]) -> TableFile:
    """Open files as one table; one file without columns from its folders and without a part is opened as it is.

    Args:
        files: the files, at least one, in the order of their rows.
        open_file: opens one.

    Raises:
        DataError: one cannot be used; an empty one is an error if it was named itself or all are empty.
    """
    if len(files) == 1 and not files[0].constants and files[0].part is None:
        return open_file(files[0].path)
    parts, empty = list[_Part](), list[Path]()
    for file in files:
        try:
            parts.append(_Part(file, open_file(file.path)))
        except NoRowsError:
            if file.is_named:
                raise
            empty.append(file.path)
    if not parts:
        raise _no_rows(empty)
    return SeveralTables(parts, empty)


def refuse_copies(files: Mapping[Path, str], told_apart: Callable[[Path], object] = lambda path: None) -> None:
    """Refuse a file that is a copy of another one, unless both are so small that they may be alike by chance.

    Args:
        files: checksum of each file, by path.
        told_apart: returns what files may differ in although they have the same content; by default, nothing.

    Raises:
        DataError: there is such a file.
    """
    first: dict[tuple[object, str], Path] = {}
    for path, sha256 in files.items():
        known = first.setdefault((told_apart(path), sha256), path)
        if known != path and path.stat().st_size > _BY_CHANCE:
            raise DataError(
                f"{path}: expected a file of its own, found a copy of {known}, whose rows would count twice; leave "
                "one of them out"
            )


def columns_of_files(table: TableFile) -> list[tuple[Path, tuple[str, ...]]]:
    """Return the files of a table, each with the columns that it can be asked for."""
    return table.columns_of_files() if isinstance(table, SeveralTables) else [(table.path, table.columns)]


def look_for(table: TableFile, names: Sequence[str]) -> None:
    """Look in the whole of JSON lines for keys that their first objects lack: a table has these columns as well.

    Raises:
        DataError: a file cannot be read.
    """
    if isinstance(table, JsonTable | SeveralTables):
        table.look_for(names)


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

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that any of the files has."""
        return tuple(dict.fromkeys(column for part in self._parts for column in part.columns))

    def look_for(self, names: Sequence[str]) -> None:
        """Look in the whole of JSON lines for keys that no file has among its first objects."""
        for part in self._parts:
            look_for(part.table, [name for name in names if name not in self.columns])

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
        engine.run(f"create temp table {name} ({typed}, part tinyint, {_PLACE} bigint)")
        places, files, empty = list[Callable[[int], Place]](), dict[Path, str](), list(self._empty)
        for part in self._parts:
            rows = self._rows_of(part, columns, engine, bad)
            if rows is None:
                empty.append(part.file.path)
                continue
            values = ", ".join(_value(part.file, rows, column) for column in columns)
            part_of_file = "null" if part.file.part is None else part.file.part
            place = f"{len(places) << _BITS} + {rows.row}"
            engine.run(f"insert into {name} select {values}, {part_of_file}, {place} from {rows.name}")
            engine.run(f"drop table {rows.name}")
            places.append(rows.place_of)
            files |= rows.files
        if not files:
            raise _no_rows(empty)
        constants = {part.file.path: tuple(sorted(part.file.constants.items())) for part in self._parts}
        refuse_copies(files, constants.get)
        if empty:
            logger.info(f"{self.source}: {len(empty)} of them without rows, the first of these {min(empty)}")
        files |= {path: sha256_file(path) for path in empty}
        return RawTable(engine, name, names, _place_among(places), files, _PLACE)

    def _rows_of(self, part: _Part, columns: Sequence[str], engine: Engine, bad: BadRows) -> RawTable | None:
        """Read a file; return None if it may be without rows, and is."""
        there, constants = part.table.columns, part.file.constants
        own = [column for column in columns if column not in constants or column in there]
        try:
            rows = part.table.load(engine, own or there[:1], bad)
        except NoRowsError:
            if part.file.is_named:
                raise
            return None
        for column in own:
            if column in constants:
                _check_constant(rows, column, constants[column])
        return rows


def _no_rows(files: Sequence[Path]) -> NoRowsError:
    return NoRowsError(f"{source_words(files[0], len(files))}: expected rows, found none; check the source")


def _check_constant(rows: RawTable, column: str, value: str) -> None:
    """Refuse a file of which a column differs from what the name of a folder says.

    Raises:
        DataError: a row has another value.
    """
    differing = rows.engine.rows(
        f"select {rows.row}, {rows[column]} from {rows.name} where {rows[column]} <> {literal(value)} "
        f"order by {rows.row} limit 1"
    )
    for row, found in differing:
        raise DataError(
            f"{rows.place_of(row)}: expected {column} {value!r}, as a folder of the file says, found {found[:80]!r}; "
            "rename the folder or the column"
        )


def _value(file: ListedFile, rows: RawTable, column: str) -> str:
    return literal(file.constants[column]) if column in file.constants else rows[column]


def _place_among(places: Sequence[Callable[[int], Place]]) -> Callable[[int], Place]:
    return lambda place: places[place >> _BITS](place & ((1 << _BITS) - 1))
