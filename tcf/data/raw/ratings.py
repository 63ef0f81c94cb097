"""What formats of events in tables share: rows with ids, with times, and with a rating that is high enough."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.data.events.event_log import EventLog
from tcf.data.events.timestamps import TimeReader
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.table import TableBlock, TableFile, joined_blocks
from tcf.data.tables.tsv_file import empty_strings

__all__ = ["add_events", "rated_at_least", "timed", "whole_table", "with_ids"]

_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def whole_table(table: TableFile, columns: tuple[str, ...], bad: BadRows) -> TableBlock:
    """All rows of a file that is small enough, such as one of items.

    Raises:
        DataError: no row can be used, or one cannot and `bad` does not skip.
    """
    rows = joined_blocks(table.blocks(columns, bad))
    if len(rows) == 0:
        raise DataError(f"{table.path}: expected rows that can be used, found none (skipped: {bad.skipped})")
    return rows


def with_ids(block: TableBlock, user: str, item: str, bad: BadRows) -> TableBlock:
    """The rows that have both ids; the others are refused as `empty_id`."""
    lacking = empty_strings(block.columns[user]) | empty_strings(block.columns[item])
    return block.without(lacking, "empty_id", "a user id and an item id", bad)


def timed(block: TableBlock, column: str, clock: TimeReader, bad: BadRows) -> tuple[TableBlock, npt.NDArray[np.int64]]:
    """The rows whose time can be read, and these times, (n_rows,); the others are refused as `bad_timestamp`."""
    times, usable = clock.read(block.columns[column])
    return block.without(~usable, "bad_timestamp", clock.expected, bad), times[usable]


def add_events(
    log: EventLog, block: TableBlock, user: str, item: str, time: str | None, clock: TimeReader, bad: BadRows
) -> None:
    """Add a block's rows to a log, those without an id or a time aside, which are refused.

    Args:
        log: what to add them to.
        block: some rows.
        user: the column of user ids.
        item: the column of item ids.
        time: the column of times; None where there is none.
        clock: reads the times of this file.
        bad: stops at, or counts, rows that cannot be used (`empty_id`, `bad_timestamp`).

    Raises:
        DataError: a row cannot be used and `bad` does not skip.
    """
    block, times = with_ids(block, user, item, bad), None
    if time is not None:
        block, times = timed(block, time, clock, bad)
    log.add(block.lines, block.columns[user], block.columns[item], times)


def rated_at_least(block: TableBlock, column: str, least: float | None, bad: BadRows) -> TableBlock:
    """The rows with this rating or a better one; the others are counted as `below_min_rating`.

    Args:
        block: some rows.
        column: the ratings; not looked at if all rows are wanted.
        least: the lowest rating to keep; None for all.
        bad: counts the others, and stops at, or counts, rows whose rating is no number (`bad_rating`).

    Raises:
        DataError: a rating is no number and `bad` does not skip.
    """
    if least is None:
        return block
    ratings = _numbers(block.columns[column])
    numeric = np.isfinite(ratings)
    block, ratings = block.without(~numeric, "bad_rating", f"a number in column {column}", bad), ratings[numeric]
    good = ratings >= least
    bad.count("below_min_rating", int((~good).sum()))
    return block.select(good)


def _numbers(written: "pa.LargeStringArray") -> npt.NDArray[np.float64]:
    """Numbers, (n,); what is none is NaN."""
    try:
        return np.asarray(pc.cast(written, pa.float64()))
    except pa.ArrowInvalid:
        numeric = pc.match_substring_regex(written, _NUMBER)
        return np.asarray(pc.cast(pc.if_else(numeric, written, "nan"), pa.float64()))
