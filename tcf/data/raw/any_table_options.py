"""What a user says about tables of their own: which files and columns, and which rows to leave out."""

import re
from dataclasses import dataclass, field

from tcf.common.errors import ConfigError
from tcf.config.prepare import PrepareConfig

__all__ = ["Drop", "TableOptions", "parse_drop", "table_options"]


@dataclass(frozen=True)
class Drop:
    """Rows to leave out: those whose value of a column fits a pattern as a whole.

    Attributes:
        written: as the user wrote it, `COLUMN=GLOB`.
        column: the column.
        pattern: a regular expression.
    """

    written: str
    column: str
    pattern: str

    @property
    def reason(self) -> str:
        """What the rows are counted under."""
        return f"drop {self.written}"


@dataclass(frozen=True)
class TableOptions:
    """Files and columns of the tables.

    Attributes:
        events: the file of events, below the raw folder.
        user_column: their users' ids.
        item_column: their items' ids.
        time_column: their times; None for the order of the file.
        items: the file of items, below the raw folder; None if the events' rows describe their items.
        item_id_column: the items' ids in that file; None if the column has the name that it has with the events.
        delimiter: between fields of text; None for a comma, or a tab in files that end in `.tsv`.
        drops: rows to leave out of each file that has the column.
    """

    events: str
    user_column: str
    item_column: str
    time_column: str | None = None
    items: str | None = None
    item_id_column: str | None = None
    delimiter: str | None = None
    drops: tuple[Drop, ...] = field(default=())


def parse_drop(written: str) -> Drop:
    """Read `COLUMN=GLOB`, where `*` stands for anything, `?` for one character, and all else for itself.

    Raises:
        ConfigError: there is no `=`, or no column before it.

    Example:
        >>> parse_drop("InvoiceNo=C*").pattern
        '(?s)^(?:C.*)$'
    """
    column, equals, glob = written.partition("=")
    if not column or not equals:
        raise ConfigError(
            f"--drop: expected COLUMN=GLOB, found {written!r}; write for instance 'InvoiceNo=C*', in single quotes"
        )
    pieces = (".*" if mark == "*" else "." if mark == "?" else re.escape(mark) for mark in glob)
    return Drop(written, column, f"(?s)^(?:{''.join(pieces)})$")


def table_options(config: PrepareConfig) -> TableOptions:
    """What the settings of a preparation say about tables.

    Raises:
        ConfigError: a file or column that is needed is not named, or an option cannot be read.
    """
    delimiter = None if config.delimiter is None else _delimiter(config.delimiter)
    return TableOptions(
        events=_needed(config.events, "--events", "the file of events, below RAW"),
        user_column=_needed(config.user_column, "--user-column", "the column of user ids"),
        item_column=_needed(config.item_column, "--item-column", "the column of item ids"),
        time_column=config.time_column,
        items=config.items,
        item_id_column=config.item_id_column,
        delimiter=delimiter,
        drops=tuple(parse_drop(written) for written in config.drop),
    )


def _needed(value: str | None, option: str, what: str) -> str:
    if value is None:
        raise ConfigError(f"{option}: expected {what} with format table, found none; name it")
    return value


def _delimiter(written: str) -> str:
    r"""The delimiter; `\t`, which is easier to type, for a tab."""
    delimiter = written.replace("\\t", "\t")
    if not delimiter or not delimiter.isascii() or any(mark in delimiter for mark in '\n\r\0"'):
        raise ConfigError(f"--delimiter: expected one or several ASCII characters, found {written!r}")
    return delimiter
