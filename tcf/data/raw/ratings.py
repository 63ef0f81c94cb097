"""Functions shared by the formats whose events are tables: rows with ids, times and sufficient ratings."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.data.events.event_log import EventLog
from tcf.data.events.timestamps import TimeReader
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.table import TableBlock, TableFile, joined_blocks
from tcf.data.tables.tsv_file import empty_strings

__all__ = ["add_events", "rated_at_least", "timed", "whole_table", "with_ids"]

_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def whole_table(table: TableFile, columns: tuple[str, ...], bad: BadRows) -> TableBlock:
    """Read all rows of a file that fits in memory, such as an items file.

    Raises:
        DataError: no row is usable, or a row is not and `bad` does not skip.
    """
    rows = joined_blocks(table.blocks(columns, bad))
    if len(rows) == 0:
        raise DataError(
            f"{table.path}: expected rows that can be used, found none (skipped: {skipped_words(bad.skipped)}); check "
            "the file"
        )
    return rows


def with_ids(block: TableBlock, user: str, item: str, bad: BadRows) -> TableBlock:
    """Return the rows that have both ids; the others are rejected as `empty_id`."""
    lacking = empty_strings(block.columns[user]) | empty_strings(block.columns[item])
    return block.without(lacking, "empty_id", "a user id and an item id", bad)


def timed(block: TableBlock, column: str, clock: TimeReader, bad: BadRows) -> tuple[TableBlock, npt.NDArray[np.int64]]:
    """Return the rows with a readable time, and the times, (n_rows,); the others are rejected as `bad_timestamp`."""
    times, usable = clock.read(block.columns[column])
    return block.without(~usable, "bad_timestamp", clock.expected, bad), times[usable]


def add_events(
    log: EventLog, block: TableBlock, user: str, item: str, time: str | None, clock: TimeReader, bad: BadRows
) -> None:
    """Add the rows of a block to a log; rows without an id or a readable time are rejected.

    Args:
        log: the log to add them to.
        block: the rows.
        user: the column of user ids.
        item: the column of item ids.
        time: the column of times; None if there is none.
        clock: reads the times of this file.
        bad: raises an error for unusable rows (`empty_id`, `bad_timestamp`), or counts them.

    Raises:
        DataError: a row is unusable and `bad` does not skip.
    """
    block, times = with_ids(block, user, item, bad), None
    if time is not None:
        block, times = timed(block, time, clock, bad)
    log.add(block.lines, block.columns[user], block.columns[item], times)


def rated_at_least(block: TableBlock, column: str, least: float | None, bad: BadRows) -> TableBlock:
    """Return the rows with at least this rating; the others are counted as `below_min_rating`.

    Args:
        block: the rows.
        column: the ratings; not read if all rows are kept.
        least: the lowest rating to keep; None keeps all rows.
        bad: counts the others; raises an error for rows whose rating is not a number (`bad_rating`), or counts them.

    Raises:
        DataError: a rating is not a number and `bad` does not skip.
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
    """Convert strings to numbers, (n,); NaN for non-numbers."""
    try:
        return np.asarray(pc.cast(written, pa.float64()))
    except pa.ArrowInvalid:
        numeric = pc.match_substring_regex(written, _NUMBER)
        return np.asarray(pc.cast(pc.if_else(numeric, written, "nan"), pa.float64()))
