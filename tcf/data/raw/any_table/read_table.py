"""Event logs from any source: files of events and of items, as CSV, other delimited text, Parquet or JSON lines.

Options name the columns. Each user's events are sorted by time; events of one time, and all events of files without
times, keep the order of the files and of the rows in them. The files of events may also hold the items. Rows can be
left out by the values of a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from tcf.common.errors import ConfigError, did_you_mean
from tcf.data.events.group_events import Grouped, group_events, with_ids
from tcf.data.events.items import Items
from tcf.data.events.timestamps import Times, read_times
from tcf.data.raw.any_table.dropped_rows import DroppedRows
from tcf.data.raw.any_table.table_files import list_files
from tcf.data.raw.any_table.table_items import items_of_catalogue, items_of_events
from tcf.data.raw.any_table.table_options import Drop, TableOptions
from tcf.data.raw.any_table.table_split import list_events, mention_unused_split, part_of_rows
from tcf.data.raw.any_table.text_options import mention_quotes, open_files, refuse_unused
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.open_table import scope_of_columns
from tcf.data.tables.several_tables import ListedFile, columns_of_files, look_for
from tcf.data.tables.source_file import changed, require_folder
from tcf.data.tables.table import RawTable, TableFile, lacks_column, listed_columns
from tcf.data.text_template import Template

__all__ = ["read_items_alone", "read_table", "table_files"]

_SWAP = "exchange --user-column and --item-column"


def table_files(raw: Path, options: TableOptions) -> tuple[Path, ...]:
    """Return the files that the options name, each once: events, then items if they have their own files.

    Raises:
        ConfigError: a file is named twice.
        DataError: a file does not exist.
    """
    events, items = _list_files(raw, options)
    return tuple(dict.fromkeys(file.path for file in (*events, *items)))


def _list_files(raw: Path, options: TableOptions) -> tuple[list[ListedFile], list[ListedFile]]:
    """Return the files of events and of items; none of items if the events describe them."""
    require_folder(raw)
    events = list_events(raw, options)
    items = list_files(raw, options.items, "--items")
    same = [file.path for file in items] == [file.path for file in events]
    return events, [] if same else items


def read_table(
    engine: Engine,
    raw: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None,
    options: TableOptions,
    unescape_html: bool = False,
    keep_times: bool = True,
) -> RawLog:
    """Read tables of events and items.

    Args:
        engine: reads and orders the rows.
        raw: the folder of the files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes`, `bad_json`, `empty_id`, `empty_text`, `bad_timestamp`,
            `bad_split`, `unknown_item`, `event_of_skipped_item`. Further rows of an item are counted, never errors:
            `other_item_text` and, in an items file, `duplicate_item`.
        template: the text of an item, made from columns of the items.
        options: files, columns, and rows to leave out, which are counted as `drop COLUMN=PATTERN`.
        unescape_html: whether character references in texts become characters.
        keep_times: whether to return times, if the file has them.

    Raises:
        ConfigError: there is no template, or a file lacks a named column.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    events_files, items_files = _list_files(raw, options)
    refuse_unused(options, events_files, items_files)
    bad, dropped = BadRows(bad_rows), DroppedRows(options.drops)
    tables, items_text = [open_files(events_files, options.text, "--header")], options.items_text.or_else(options.text)
    if items_files:
        tables.append(open_files(items_files, items_text, "--items-header"))
    needed = _needed(tables, template, options, unescape_html)
    mention_unused_split(tables[0], options)
    events, items, described = _load(engine, tables, needed, dropped, bad)
    dropped.check()
    mention_quotes(items.texts, items_files or events_files, items_text)
    events = with_ids(events, needed.user, needed.item, bad)
    times = _times(events, needed.time, options, bad)
    part = part_of_rows(events, options, bad)
    log = group_events(
        events, needed.user, needed.item, times, items, bad, keep_times=keep_times, part=part, if_swapped=_SWAP
    )
    return RawLog.from_groups(items, log, bad.skipped, _checksums(raw, (events, described)))


def read_items_alone(
    engine: Engine,
    raw: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None,
    options: TableOptions,
    unescape_html: bool = False,
) -> RawLog:
    """Read tables of items, without any event.

    Args:
        engine: reads the rows.
        raw: the folder of the files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows, as `read_table` does.
        template: the text of an item, made from columns of the items.
        options: files and columns of items, and rows to leave out.
        unescape_html: whether character references in texts become characters.

    Raises:
        ConfigError: there is no template, or a file lacks a named column.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    _, files = _list_files(raw, options)
    refuse_unused(options, (), files)
    bad, dropped = BadRows(bad_rows), DroppedRows(options.drops)
    text = options.items_text.or_else(options.text)
    table = open_files(files, text, "--items-header")
    needed = _needed([table], template, options, unescape_html)
    described = table.load(engine, tuple(dict.fromkeys(needed.of_items(table.columns))), bad)
    dropped.leave_out(described, bad)
    dropped.check()
    items = items_of_catalogue(described, needed.item_id, needed.template, bad, needed.unescape_html)
    mention_quotes(items.texts, files, text)
    nobody = Grouped(pa.array([], pa.large_string()), np.zeros(1, np.int64), np.zeros(0, np.int32), None)
    return RawLog.from_groups(items, nobody, bad.skipped, _checksums(raw, (described,)))


def _times(events: RawTable, column: str | None, options: TableOptions, bad: BadRows) -> Times | None:
    if column is None:
        return None
    return read_times(events, column, bad, time_format=options.time_format, has_option=True)


def _load(
    engine: Engine, tables: Sequence[TableFile], needed: "_Needed", dropped: DroppedRows, bad: BadRows
) -> tuple[RawTable, Items, RawTable]:
    """Return the rows of events, the items, and the rows that describe them, which may be those of events."""
    if len(tables) == 1:
        columns = (*needed.of_items(tables[0].columns), *needed.of_events(tables[0].columns))
        events = tables[0].load(engine, tuple(dict.fromkeys(columns)), bad)
        dropped.leave_out(events, bad)
        if bad.is_error:  # rows without a user describe items too, if they are skipped
            with_ids(events, needed.user, needed.item, bad)
        return events, items_of_events(events, needed.item_id, needed.template, bad, needed.unescape_html), events
    described = tables[1].load(engine, tuple(dict.fromkeys(needed.of_items(tables[1].columns))), bad)
    dropped.leave_out(described, bad, needed.item_id)
    items = items_of_catalogue(described, needed.item_id, needed.template, bad, needed.unescape_html)
    dropped.skip_events(engine, items)
    events = tables[0].load(engine, tuple(dict.fromkeys(needed.of_events(tables[0].columns))), bad)
    dropped.leave_out(events, bad)
    return events, items, described


def _checksums(raw: Path, tables: Sequence[RawTable]) -> dict[str, str]:
    """Return the checksum of each file by its path below the raw folder; one may be read as events and as items."""
    files: dict[str, str] = {}
    for path, sha256 in (entry for table in tables for entry in table.files.items()):
        if files.setdefault(path.relative_to(raw).as_posix(), sha256) != sha256:
            raise changed(path)
    return files


@dataclass(frozen=True)
class _Needed:
    """The columns to read.

    Attributes:
        user: column of user ids in the events.
        item: column of item ids in the events.
        time: column of times in the events, if any.
        part: column of the events that says their part of the split, if one does.
        item_id: column of item ids in the items.
        template: the text, made from columns of the items.
        unescape_html: whether character references in texts become characters.
        drops: rows to leave out, in each file that has the column.
    """

    user: str
    item: str
    time: str | None
    part: str | None
    item_id: str
    template: Template
    unescape_html: bool
    drops: Sequence[Drop]

    def of_events(self, there: Sequence[str]) -> tuple[str, ...]:
        others = [column for column in (self.time, self.part) if column is not None]
        return (self.user, self.item, *others, *self._dropping(there))

    def of_items(self, there: Sequence[str]) -> tuple[str, ...]:
        return (self.item_id, *self.template.columns, *self._dropping(there))

    def _dropping(self, there: Sequence[str]) -> list[str]:
        return [drop.column for drop in self.drops if drop.column in there]


def _needed(
    tables: Sequence[TableFile], template: Template | None, options: TableOptions, unescape_html: bool
) -> _Needed:
    events, items = tables[0], tables[-1]
    if template is None:
        raise ConfigError(
            f"--text-columns: expected the columns of {items.path} that make up the text of an item, or a --template, "
            f"found neither; name some of {listed_columns(items.columns)}"
        )
    item_id, dropping = options.item_id_column or options.item_column, [drop.column for drop in options.drops]
    named = [("--user-column", options.user_column, events), ("--item-column", options.item_column, events)]
    named += [("--time-column", options.time_column, events)] if options.time_column is not None else []
    named += [("--split-column", options.split_column, events)] if options.split_column is not None else []
    if options.are_items_alone:
        named = []
    look_for(events, [*(column for _, column, _ in named), *dropping])
    look_for(items, [item_id, *template.columns, *dropping])
    for path, there in columns_of_files(items):
        template.check(there, path, scope_of_columns(path))
    named += [("--item-id-column", item_id, items)]
    for option, column, table in named:
        for path, there in columns_of_files(table):
            if column not in there:
                raise ConfigError(f"{option}: {lacks_column(path, column, there, scope_of_columns(path))}")
    _check_drops(options.drops, tables)
    return _Needed(
        user=options.user_column,
        item=options.item_column,
        time=options.time_column,
        part=options.split_column,
        item_id=item_id,
        template=template,
        unescape_html=unescape_html,
        drops=options.drops,
    )


def _check_drops(drops: Sequence[Drop], tables: Sequence[TableFile]) -> None:
    known = [column for table in tables for column in table.columns]
    for drop in drops:
        if drop.column not in known:
            there = "; ".join(f"{table.path} has {listed_columns(table.columns)}" for table in tables)
            advice = did_you_mean(drop.column, known) or "; name one of these"
            raise ConfigError(f"--drop: no file has a column {drop.column}: {there}{advice}")
        for table in tables:
            for path, columns in columns_of_files(table) if drop.column in table.columns else ():
                if drop.column not in columns:
                    raise ConfigError(f"--drop: {lacks_column(path, drop.column, columns)}")
