"""The result of every raw format reader: texts and histories with raw ids, and counts of what was skipped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.events.group_events import Grouped
from tcf.data.events.items import Items
from tcf.data.histories import Histories
from tcf.data.tables.table import RawTable

__all__ = ["RawLog"]


@dataclass(frozen=True)
class RawLog:
    """Items and histories of a raw format, checked, before any filter.

    Attributes:
        item_ids: raw item ids, (n_items,), distinct, in the order of the items file.
        texts: one text for each item, (n_items,), none empty.
        user_ids: raw user ids, (n_users,), distinct, in order of first appearance.
        offsets: (n_users + 1,) int64; user u's events are items[offsets[u]:offsets[u + 1]], oldest first.
        items: (nnz,) int32, rows of `item_ids`; repeats are kept, in order.
        skipped: number of rows or events left out, by reason.
        files: sha256 of the raw files read, by name.
        times: (nnz,) int64, time of each event in `items`, never falling within a user, or within a part of a user's
            history; any sortable unit, preferably seconds since 1970. None if the format has none.
        parts: (nnz,) int8, `tcf.data.split.EventPart` of each event in `items`, never falling within a user; None if
            the files bring no split, or it is not to be used.
        duplicates: (nnz,) bool, whether an earlier event has the same user, item, time and part; None if the times of
            events are not known, or not exactly.
        rows_are_distinct: whether the reader has left out, and counted, rows that repeat others exactly, so that there
            is none to drop even if `duplicates` is None.
        others: items that each user has had without an event in `items`, rows of `item_ids` in any order; None if
            there are none.
    """

    item_ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    user_ids: "pa.LargeStringArray"
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    skipped: Mapping[str, int]
    files: Mapping[str, str]
    times: npt.NDArray[np.int64] | None = None
    parts: npt.NDArray[np.int8] | None = None
    duplicates: npt.NDArray[np.bool_] | None = None
    rows_are_distinct: bool = False
    others: Histories | None = None

    @classmethod
    def of(cls, items: Items, log: Grouped, skipped: Mapping[str, int], tables: Iterable[RawTable]) -> "RawLog":
        """Return items and histories of tables, whose files have different names."""
        files = {path.name: sha256 for table in tables for path, sha256 in table.files.items()}
        return cls.from_groups(items, log, skipped, files)

    @classmethod
    def from_groups(cls, items: Items, log: Grouped, skipped: Mapping[str, int], files: Mapping[str, str]) -> "RawLog":
        """Return items and histories; `files` are the checksums of the raw files, by name."""
        events = (log.user_ids, log.offsets, log.items)
        more = (log.times, log.parts, log.duplicates)
        return cls(items.ids, items.texts, *events, skipped, files, *more, others=log.others)
