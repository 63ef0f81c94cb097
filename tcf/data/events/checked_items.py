"""Checks that the raw formats share: of rows with an id and a value, of items, and of the items that events name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.tsv_file import empty_strings, select_strings

__all__ = ["Items", "Pairs", "check_items", "find_items", "offsets_of", "repeated"]


@dataclass(frozen=True)
class Pairs:
    """Rows of an id and a value, with where they stand.

    Attributes:
        path: the file.
        lines: (n_rows,) int64, line numbers from 1.
        ids: (n_rows,).
        values: (n_rows,).
        unit: what rows are numbered by: lines of a text file, rows of another one.
    """

    path: Path
    lines: npt.NDArray[np.int64]
    ids: "pa.LargeStringArray"
    values: "pa.LargeStringArray"
    unit: Literal["line", "row"] = "line"

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def from_row(self, start: int) -> "Pairs":
        """The rows from this one on."""
        return replace(self, lines=self.lines[start:], ids=self.ids[start:], values=self.values[start:])

    def without(self, wrong: npt.NDArray[np.bool_], reason: str, expected: str, bad: BadRows) -> "Pairs":
        """The rows that are not wrong; the others are refused.

        Args:
            wrong: (n_rows,).
            reason: what the wrong rows are counted under.
            expected: what should have been there, for messages.
            bad: stops at, or counts, the wrong rows.

        Raises:
            DataError: a row is wrong and `bad` does not skip.
        """
        rows = np.flatnonzero(wrong)
        found = self.lines[rows]
        bad.refuse(reason, self.path, found, expected, lambda index: self._shown(int(rows[index])), self.unit)
        ids, values = select_strings(self.ids, ~wrong), select_strings(self.values, ~wrong)
        return replace(self, lines=self.lines[~wrong], ids=ids, values=values)

    def _shown(self, row: int) -> str:
        return repr(f"{self.ids[row].as_py()}\t{self.values[row].as_py()}")


@dataclass(frozen=True)
class Items:
    """The items of a raw format that can be used.

    Attributes:
        path: the item file.
        ids: outside item ids, (n_items,), distinct; the file's order.
        texts: (n_items,), none empty.
        skipped_ids: ids of items left out for want of a text.
    """

    path: Path
    ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    skipped_ids: "pa.LargeStringArray"


def check_items(rows: Pairs, bad: BadRows) -> Items:
    """Refuse items without id or text (`empty_id`, `empty_text`) and later rows of one id (`duplicate_item`).

    Args:
        rows: item ids and texts.
        bad: stops at, or counts, rows that cannot be used.

    Raises:
        DataError: a row cannot be used and `bad` does not skip, or none is left.
    """
    rows = rows.without(empty_strings(rows.ids), "empty_id", "an item id", bad)
    no_text = empty_strings(rows.values)
    skipped_ids = select_strings(rows.ids, no_text)
    rows = rows.without(no_text, "empty_text", "an item with a text", bad)
    rows = rows.without(repeated(rows.ids), "duplicate_item", f"an item id that no earlier {rows.unit} has", bad)
    if len(rows) == 0:
        raise DataError(f"{rows.path}: expected items, found none that can be used (skipped: {bad.skipped or 'none'})")
    return Items(rows.path, rows.ids, rows.values, skipped_ids)


def find_items(
    events: "pa.LargeStringArray",
    items: Items,
    path: Path,
    lines_of: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]],
    bad: BadRows,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Look events' items up (`unknown_item`; `event_of_skipped_item` where the item was left out for want of a text).

    Args:
        events: item ids, (nnz,).
        items: the items that can be used.
        path: the file of the events.
        lines_of: line numbers of the events at given positions.
        bad: stops at, or counts, events of unknown items.

    Returns:
        Positions in `items`, (nnz,) int32, and which events have one, (nnz,).

    Raises:
        DataError: an event names no item and `bad` does not skip, or none of them does.
    """
    found = pc.index_in(events, value_set=items.ids)
    known = np.asarray(found.is_valid())
    if known.all():
        return np.asarray(found), known
    missing = np.flatnonzero(~known)
    if len(missing) == len(events):
        raise DataError(
            f"{path}:{lines_of(missing[:1])[0]}: expected item ids of {items.path}, found {events[0].as_py()[:80]!r}, "
            "and no event names an item of that file; check that the files belong together, and their separators"
        )
    of_skipped = np.asarray(pc.is_in(events.take(pa.array(missing)), value_set=items.skipped_ids))
    bad.count("event_of_skipped_item", int(of_skipped.sum()))
    unknown = missing[~of_skipped]
    expected = f"an item id of {items.path}"
    bad.refuse("unknown_item", path, lines_of(unknown), expected, lambda index: repr(events[unknown[index]].as_py()))
    return np.asarray(found.fill_null(0)), known


def repeated(strings: "pa.LargeStringArray") -> npt.NDArray[np.bool_]:
    """Which strings have occurred before, (n,)."""
    encoded = strings.dictionary_encode()
    if len(encoded.dictionary) == len(strings):
        return np.zeros(len(strings), bool)
    again = np.ones(len(strings), bool)
    again[np.unique(np.asarray(encoded.indices), return_index=True)[1]] = False
    return again


def offsets_of(owners: npt.NDArray[np.int32], n_owners: int) -> npt.NDArray[np.int64]:
    """Where each owner's events begin, (n_owners + 1,), for events in the order of their owners."""
    return offsets_from(np.bincount(owners, minlength=n_owners))
