"""Options of format `table`: files, columns, and rows to leave out."""

import re
from dataclasses import dataclass, field

from tcf.common.errors import ConfigError
from tcf.config.prepare import PrepareConfig
from tcf.data.events.date_patterns import pattern_of

__all__ = ["Drop", "TableOptions", "parse_drop", "table_options"]


@dataclass(frozen=True)
class Drop:
    """Rows to leave out: those whose value in a column matches a pattern entirely.

    Attributes:
        written: the option as the user wrote it, `COLUMN=PATTERN`.
        column: the column.
        pattern: a regular expression.
    """

    written: str
    column: str
    pattern: str

    @property
    def reason(self) -> str:
        """The key that the rows are counted under."""
        return f"drop {self.written}"


@dataclass(frozen=True)
class TableOptions:
    """Files and columns of the tables.

    Attributes:
        events: the events file, relative to the raw folder.
        user_column: column of user ids in the events file.
        item_column: column of item ids in the events file.
        time_column: column of times in the events file; None for file order.
        items: the items file, relative to the raw folder; None if the rows of the events describe their items.
        item_id_column: column of item ids in the items file; None if it has the same name as in the events file.
        delimiter: field separator; None for a comma, or a tab in files that end in `.tsv`.
        drops: rows to leave out, in each file that has the column.
        time_format: the form of the times, as in `datetime.strptime`; None for numbers or ISO dates.
    """

    events: str
    user_column: str
    item_column: str
    time_column: str | None = None
    items: str | None = None
    item_id_column: str | None = None
    delimiter: str | None = None
    drops: tuple[Drop, ...] = field(default=())
    time_format: str | None = None


def parse_drop(written: str) -> Drop:
    """Parse `COLUMN=PATTERN`, where `*` matches any text, `?` any one character, and everything else itself.

    Raises:
        ConfigError: there is no `=`, or no column before it.

    Example:
        >>> parse_drop("InvoiceNo=C*").pattern
        '(?s)^(?:C.*)$'
    """
    column, equals, glob = written.partition("=")
    if not column or not equals:
        raise ConfigError(
            f"--drop: expected COLUMN=PATTERN, found {written!r}; write for example 'InvoiceNo=C*', in single quotes"
        )
    pieces = (".*" if mark == "*" else "." if mark == "?" else re.escape(mark) for mark in glob)
    return Drop(written, column, f"(?s)^(?:{''.join(pieces)})$")


def table_options(config: PrepareConfig) -> TableOptions:
    """Return the table options in the settings of a preparation.

    Raises:
        ConfigError: a required file or column is not named, or an option is malformed.
    """
    delimiter = None if config.delimiter is None else _delimiter(config.delimiter)
    return TableOptions(
        events=_required(config.events, "--events", "the events file, relative to RAW"),
        user_column=_required(config.user_column, "--user-column", "the column of user ids"),
        item_column=_required(config.item_column, "--item-column", "the column of item ids"),
        time_column=config.time_column,
        items=config.items,
        item_id_column=config.item_id_column,
        delimiter=delimiter,
        drops=tuple(parse_drop(written) for written in config.drop),
        time_format=_time_format(config),
    )


def _required(value: str | None, option: str, what: str) -> str:
    if value is None:
        raise ConfigError(f"{option}: expected {what}, which format table requires, found none; name it")
    return value


def _time_format(config: PrepareConfig) -> str | None:
    if config.time_format is None:
        return None
    if config.time_column is None:
        raise ConfigError("--time-format: expected --time-column as well, found none; name the column of the times")
    pattern_of(config.time_format)
    return config.time_format


def _delimiter(written: str) -> str:
    r"""Return the delimiter; `\t`, which is easier to type, stands for a tab."""
    delimiter = written.replace("\\t", "\t")
    if not 1 <= len(delimiter) <= 4 or not delimiter.isascii() or any(mark in delimiter for mark in '\n\r\0"'):
        raise ConfigError(
            "--delimiter: expected one to four ASCII characters other than quotes and line ends, found "
            f"{written!r}; name another delimiter"
        )
    return delimiter
