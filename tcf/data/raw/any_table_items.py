"""Item texts from rows that may name an item many times, with different texts.

The most frequent text of an item is taken; of equally frequent ones, the first. In a sales log, whose rows repeat the
text of their item, a rare text is a typing error or a note ("damaged", "?"), and may well come first. In a catalogue
with two rows for one id, the first one is taken.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.events.checked_items import Pairs
from tcf.data.events.event_log import LineNumbers
from tcf.data.events.id_encoder import IdEncoder
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.table import Unit
from tcf.data.tables.tsv_file import empty_strings

__all__ = ["ItemTexts"]


class ItemTexts:
    """A context manager that collects ids and texts of items, in bounded memory.

    Args:
        path: the file.
        unit: what the row numbers count.
    """

    def __init__(self, path: Path, unit: Unit) -> None:
        self._path, self._unit = path, unit
        self._ids, self._texts, self._lines = IdEncoder(), IdEncoder(), LineNumbers()

    def __enter__(self) -> Self:
        self._ids.__enter__()
        self._texts.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        try:
            self._ids.__exit__(kind, error, trace)
        finally:
            self._texts.__exit__(kind, error, trace)

    def add(self, lines: npt.NDArray[np.int64], ids: "pa.LargeStringArray", texts: "pa.LargeStringArray") -> None:
        """Add the next rows of the file, (n,) each; a text may be empty."""
        self._lines.add(lines)
        self._ids.add(ids)
        self._texts.add(texts)

    def rows(self, bad: BadRows, *, count_duplicates: bool) -> Pairs:
        """Return one row for each item, in order of first appearance, with the line where it first appeared.

        Args:
            bad: counts rows whose text differs from the one taken (`other_item_text`).
            count_duplicates: whether to count the other further rows of an item too (`duplicate_item`).
        """
        ids, texts = self._ids.finish(), self._texts.finish()
        n_items, filled = len(ids.values), ~empty_strings(texts.values)
        written = filled[texts.codes]
        chosen, counts = _most_frequent(ids.codes[written], texts.codes[written], n_items)
        others = int(written.sum() - counts.sum())
        bad.count("other_item_text", others)
        if count_duplicates:
            bad.count("duplicate_item", len(ids.codes) - n_items - others)
        # Items without a text become null here.
        taken = texts.values.take(pa.array(chosen, mask=chosen < 0)).fill_null("")
        return Pairs(self._path, self._lines.at(_first_places(ids.codes, n_items)), ids.values, taken, self._unit)


def _most_frequent(
    items: npt.NDArray[np.int32], texts: npt.NDArray[np.int32], n_items: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each item's most frequent text, -1 if it has none, and how often it occurs, (n_items,) both."""
    pairs = items.astype(np.int64) << 32 | texts
    distinct, first, counts = np.unique(pairs, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts, distinct >> 32))
    owners = distinct[order] >> 32
    leading = np.ones(len(order), bool)
    leading[1:] = owners[1:] != owners[:-1]
    chosen, how_often = np.full(n_items, -1, np.int64), np.zeros(n_items, np.int64)
    chosen[owners[leading]] = distinct[order][leading] & 0xFFFFFFFF
    how_often[owners[leading]] = counts[order][leading]
    return chosen, how_often


def _first_places(codes: npt.NDArray[np.int32], n_codes: int) -> npt.NDArray[np.int64]:
    """Return where each code first occurs, (n_codes,); codes follow the order of first appearance, so these rise."""
    so_far = np.maximum.accumulate(codes) if len(codes) else codes
    return np.searchsorted(so_far, np.arange(n_codes)).astype(np.int64)
