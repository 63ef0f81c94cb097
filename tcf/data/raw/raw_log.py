"""The result of every raw format reader: texts and histories with raw ids, and counts of what was skipped."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
        times: (nnz,) int64, time of each event in `items`, never falling within a user; any sortable unit, preferably
            seconds since 1970. None if the format has none.
    """

    item_ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    user_ids: "pa.LargeStringArray"
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    skipped: Mapping[str, int]
    files: Mapping[str, str]
    times: npt.NDArray[np.int64] | None = None
