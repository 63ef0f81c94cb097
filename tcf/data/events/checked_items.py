"""Checks shared by the raw formats: rows of an id and a value, items, and the items that events name."""

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
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.tsv_file import empty_strings, select_strings

__all__ = ["Items", "Pairs", "check_items", "find_items", "offsets_of", "repeated"]


@dataclass(frozen=True)
class Pairs:
    """Rows of an id and a value, with their line numbers.

    Attributes:
        path: the file.
        lines: (n_rows,) int64, line numbers from 1.
        ids: (n_rows,).
        values: (n_rows,).
        unit: what `lines` counts: lines of a text file, or rows of another format.
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
        """Return the rows from this one on."""
        return replace(self, lines=self.lines[start:], ids=self.ids[start:], values=self.values[start:])

    def without(self, wrong: npt.NDArray[np.bool_], reason: str, expected: str, bad: BadRows) -> "Pairs":
        """Return the rows that are not wrong; the others are rejected.

        Args:
            wrong: (n_rows,), the rows to reject.
            reason: the key that they are counted under.
            expected: what was expected instead, for messages.
            bad: raises an error for rejected rows, or counts them.

        Raises:
            DataError: a row is wrong and `bad` does not skip.
        """
        rows = np.flatnonzero(wrong)
        found = self.lines[rows]
        bad.reject(reason, self.path, found, expected, lambda index: self._shown(int(rows[index])), self.unit)
        ids, values = select_strings(self.ids, ~wrong), select_strings(self.values, ~wrong)
        return replace(self, lines=self.lines[~wrong], ids=ids, values=values)

    def _shown(self, row: int) -> str:
        return repr(f"{self.ids[row].as_py()}\t{self.values[row].as_py()}")


@dataclass(frozen=True)
class Items:
    """The usable items of a raw format.

    Attributes:
        path: the item file.
        ids: raw item ids, (n_items,), distinct, in file order.
        texts: (n_items,), none empty.
        skipped_ids: ids of items left out because they have no text.
    """

    path: Path
    ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    skipped_ids: "pa.LargeStringArray"


def check_items(rows: Pairs, bad: BadRows) -> Items:
    """Reject items without id or text (`empty_id`, `empty_text`) and repeated ids (`duplicate_item`).

    Args:
        rows: item ids and texts.
        bad: raises an error for unusable rows, or counts them.

    Raises:
        DataError: a row is unusable and `bad` does not skip, or no row is left.
    """
    rows = rows.without(empty_strings(rows.ids), "empty_id", "an item id", bad)
    no_text = empty_strings(rows.values)
    skipped_ids = select_strings(rows.ids, no_text)
    rows = rows.without(no_text, "empty_text", "an item with a text", bad)
    rows = rows.without(repeated(rows.ids), "duplicate_item", f"an item id that no earlier {rows.unit} has", bad)
    if len(rows) == 0:
        raise DataError(
            f"{rows.path}: expected items, found none that can be used (skipped: {skipped_words(bad.skipped)}); check "
            "the file"
        )
    return Items(rows.path, rows.ids, rows.values, skipped_ids)


def find_items(
    events: "pa.LargeStringArray",
    items: Items,
    path: Path,
    lines_of: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]],
    bad: BadRows,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Look up the items of events.

    Events of unknown items are rejected (`unknown_item`); events of items left out because they have no text are
    counted (`event_of_skipped_item`).

    Args:
        events: item ids, (nnz,).
        items: the usable items.
        path: the file of the events.
        lines_of: returns the line numbers of the events at given positions.
        bad: raises an error for events of unknown items, or counts them.

    Returns:
        Positions in `items`, (nnz,) int32, and which events have one, (nnz,).

    Raises:
        DataError: an event names an unknown item and `bad` does not skip, or all of them do.
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
    bad.reject("unknown_item", path, lines_of(unknown), expected, lambda index: repr(events[unknown[index]].as_py()))
    return np.asarray(found.fill_null(0)), known


def repeated(strings: "pa.LargeStringArray") -> npt.NDArray[np.bool_]:
    """Return which strings have occurred before, (n,)."""
    encoded = strings.dictionary_encode()
    if len(encoded.dictionary) == len(strings):
        return np.zeros(len(strings), bool)
    again = np.ones(len(strings), bool)
    again[np.unique(np.asarray(encoded.indices), return_index=True)[1]] = False
    return again


def offsets_of(owners: npt.NDArray[np.int32], n_owners: int) -> npt.NDArray[np.int64]:
    """Return where each owner's events begin, (n_owners + 1,), for events sorted by owner."""
    return offsets_from(np.bincount(owners, minlength=n_owners))
