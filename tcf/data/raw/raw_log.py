"""What every reader of a raw format hands on: texts and histories under outside ids, with what was skipped."""

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
        item_ids: outside item ids, (n_items,), distinct; the order of the item file.
        texts: one text an item, (n_items,), none empty.
        user_ids: outside user ids, (n_users,), distinct; the order of first appearance.
        offsets: (n_users + 1,) int64; user u's events are items[offsets[u]:offsets[u + 1]], oldest first.
        items: (nnz,) int32, rows of `item_ids`; repeats are kept, in order.
        skipped: reason to the number of rows or events left out.
        files: the raw files read, by name, with their sha256.
        times: (nnz,) int64, when each event of `items` was, never falling within a user; any unit that sorts, seconds
            since 1970 preferred. None where the format has none.
    """

    item_ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    user_ids: "pa.LargeStringArray"
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    skipped: Mapping[str, int]
    files: Mapping[str, str]
    times: npt.NDArray[np.int64] | None = None
