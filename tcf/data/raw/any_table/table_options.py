"""Options of format `table`: files, columns, the form of text files, and rows to leave out."""

import codecs
import re
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from tcf.common.errors import ConfigError
from tcf.config.fields import option_name
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import Quotes
from tcf.data.events.date_patterns import pattern_of

__all__ = [
    "Drop",
    "TableOptions",
    "TextOptions",
    "are_items_alone",
    "catalogue_options",
    "parse_drop",
    "table_options",
]

_T = TypeVar("_T")
_OF_ITEMS = ("items_header", "items_delimiter", "items_encoding", "items_quotes")
_SAMPLE = "a,b\n"
_SIGNED_UTF8 = "utf-8-sig"  # a byte order mark is removed in any case


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
class TextOptions:
    """What options say about text files; None where they say nothing.

    Attributes:
        delimiter: field separator.
        header: names of the columns of files without a header line.
        encoding: text encoding, by the name that Python's codecs give it.
        quotes: whether quotes enclose fields, or are characters like others.
    """

    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    encoding: str | None = None
    quotes: Quotes | None = None

    def or_else(self, others: "TextOptions") -> "TextOptions":
        """Return these options, and the others where these say nothing, except the header."""
        return TextOptions(
            others.delimiter if self.delimiter is None else self.delimiter,
            self.header,
            others.encoding if self.encoding is None else self.encoding,
            others.quotes if self.quotes is None else self.quotes,
        )


@dataclass(frozen=True)
class TableOptions:
    """Files and columns of the tables.

    Attributes:
        events: files of events, folders of files or patterns, relative to the raw folder.
        user_column: column of user ids in the events.
        item_column: column of item ids in the events.
        time_column: column of times in the events; None for file order.
        items: files of items, likewise; empty if the rows of the events describe their items.
        item_id_column: column of item ids in the items; None if it has the same name as in the events.
        text: what is said about text files; the header is that of the events.
        items_text: what is said about those of items in particular.
        drops: rows to leave out, in all files of events or of items that have the column.
        split_column: column of the events that says the part of each; None if there is none.
        validation_events: files of events, like `events`, of which all are validation targets.
        test_events: likewise, test targets; if there are these or the former, `events` are for training.
        time_format: the form of the times, as in `datetime.strptime`; None for numbers or ISO dates.
    """

    events: tuple[str, ...]
    user_column: str
    item_column: str
    time_column: str | None = None
    items: tuple[str, ...] = ()
    item_id_column: str | None = None
    text: TextOptions = TextOptions()
    items_text: TextOptions = TextOptions()
    drops: tuple[Drop, ...] = field(default=())
    split_column: str | None = None
    validation_events: tuple[str, ...] = ()
    test_events: tuple[str, ...] = ()
    time_format: str | None = None

    @property
    def are_items_alone(self) -> bool:
        """Whether there are files of items only, so that no other column is used than theirs."""
        return not self.events

    @property
    def has_files_of_parts(self) -> bool:
        """Whether each part of the split has files of its own."""
        return bool(self.validation_events or self.test_events)


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
        ConfigError: a required file or column is not named, or an option is malformed or has no use.
    """
    if not config.items:
        for name in _OF_ITEMS:
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"{option_name(name)}: expected only with --items, found without it; leave it out, or name the "
                    "files of items"
                )
    return TableOptions(
        events=_required(config.events, "--events", "the events file, relative to RAW"),
        user_column=_required(config.user_column, "--user-column", "the column of user ids"),
        item_column=_required(config.item_column, "--item-column", "the column of item ids"),
        time_column=config.time_column,
        items=config.items,
        item_id_column=config.item_id_column,
        text=TextOptions(
            _delimiter(config.delimiter, "--delimiter"),
            _header(config.header, "--header"),
            _encoding(config.encoding, "--encoding"),
            config.quotes,
        ),
        items_text=TextOptions(
            _delimiter(config.items_delimiter, "--items-delimiter"),
            _header(config.items_header, "--items-header"),
            _encoding(config.items_encoding, "--items-encoding"),
            config.items_quotes,
        ),
        drops=tuple(parse_drop(written) for written in config.drop),
        split_column=config.split_column,
        validation_events=config.validation_events,
        test_events=config.test_events,
        time_format=_time_format(config),
    )


_OF_EVENTS = (
    *("user_column", "item_column", "time_column", "time_format", "header", "split_column"),
    *("validation_events", "test_events", "test_from", "validation_from", "min_history", "max_history"),
    *("min_item_count", "min_item_count_over", "keep_last", "sample_users", "seed", "drop_duplicates"),
)


def are_items_alone(config: PrepareConfig) -> bool:
    """Whether the options name files of items with their column of ids, and nothing else: a catalogue without events.

    Raises:
        ConfigError: they do, and there are options about events as well.
    """
    if config.events or not config.items or config.item_id_column is None or config.user_column is not None:
        return False
    for entry in fields(config):
        if entry.name in _OF_EVENTS and getattr(config, entry.name) != entry.default:
            raise ConfigError(
                f"{option_name(entry.name)}: expected --events as well, found only --items, whose dataset has no "
                "interactions; name the file of events, or leave this option out"
            )
    return True


def catalogue_options(config: PrepareConfig) -> TableOptions:
    """Return the table options for files of items alone.

    Raises:
        ConfigError: an option is malformed.
    """
    column = _required(config.item_id_column, "--item-id-column", "the column of item ids")
    named = replace(config, events=config.items, user_column=column, item_column=column)
    return replace(table_options(named), events=())


def _required(value: _T | None, option: str, what: str) -> _T:
    if not value:
        raise ConfigError(f"{option}: expected {what}, which format table requires, found none; name it")
    return value


def _time_format(config: PrepareConfig) -> str | None:
    if config.time_format is None:
        return None
    if config.time_column is None:
        raise ConfigError("--time-format: expected --time-column as well, found none; name the column of the times")
    pattern_of(config.time_format)
    return config.time_format


def _delimiter(written: str | None, option: str) -> str | None:
    r"""Return the delimiter; `\t`, which is easier to type, stands for a tab."""
    if written is None:
        return None
    delimiter = written.replace("\\t", "\t")
    if not 1 <= len(delimiter) <= 4 or not delimiter.isascii() or any(mark in delimiter for mark in '\n\r\0"'):
        raise ConfigError(
            f"{option}: expected one to four ASCII characters other than quotes and line ends, found "
            f"{written!r}; name another delimiter"
        )
    return delimiter


def _header(written: str | None, option: str) -> tuple[str, ...] | None:
    if written is None:
        return None
    names = tuple(name.strip() for name in written.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            f"{option}: expected different names of columns with commas between them, found {written[:80]!r}; name "
            "every column of the file in order"
        )
    return names


def _encoding(written: str | None, option: str) -> str | None:
    """Return the name that Python's codecs give an encoding."""
    if written is None:
        return None
    try:
        name = codecs.lookup(written).name
        decoder = codecs.getincrementaldecoder(name)()
        if "".join(decoder.decode(bytes([byte])) for byte in _SAMPLE.encode(name)) != _SAMPLE:
            raise LookupError  # what cannot be decoded piece by piece, such as punycode
    except (LookupError, UnicodeError, ValueError):  # base64 is no encoding of text
        raise ConfigError(
            f"{option}: expected a text encoding that Python knows, such as latin-1, cp1252, gbk or utf-16, found "
            f"{written[:80]!r}; name the encoding of the file"
        ) from None
    return "utf-8" if name == _SIGNED_UTF8 else name
