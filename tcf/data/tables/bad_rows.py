"""Handling of unusable rows in raw files: an error that names their lines, or a count by reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.config.typed_values import typed

__all__ = ["LINES_NAMED", "BadRows", "Place", "Unit", "skipped_words"]

Unit = Literal["line", "row"]

LINES_NAMED = 5
"""Lines named in a message."""

_FOUND_SHOWN = 80


@dataclass(frozen=True)
class Place:
    """Where a row is.

    Attributes:
        path: its file.
        number: its line or row, from 1; the first line of a record of several lines.
        unit: what `number` counts: lines of a text file, or rows of another format.

    Example:
        >>> print(Place(Path("sales.csv"), 7), "and", Place(Path("sales.parquet"), 7, "row"))
        sales.csv:7 and sales.parquet, row 7
    """

    path: Path
    number: int
    unit: Unit = "line"

    def __str__(self) -> str:
        return f"{self.path}:{self.number}" if self.unit == "line" else f"{self.path}, {self.unit} {self.number}"


class BadRows:
    """Rejects unusable rows of raw files: raises an error, or counts them.

    Attributes:
        skipped: number of rows, or of events within rows, left out so far, by reason.
        is_error: whether unusable rows are errors.
    """

    skipped: dict[str, int]
    is_error: bool

    def __init__(self, mode: Literal["error", "skip"]) -> None:
        self.skipped = {}
        self.is_error = typed(mode, Literal["error", "skip"], "bad_rows") == "error"

    def reject(self, reason: str, number: int, places: Sequence[Place], expected: str, found: str) -> None:
        """Raise an error for bad rows, or count them; do nothing if there are none.

        Args:
            reason: the key that they are counted under.
            number: how many there are.
            places: the first different places, in order, one more than a message names; used only for an error.
            expected: what was expected instead.
            found: the first bad row; used only for an error.

        Raises:
            DataError: there are bad rows, and such rows are errors.
        """
        if number == 0:
            return
        if self.is_error:
            raise DataError(
                f"{places[0]}: expected {expected}, found {_shortened(found)}; {number} of this kind ({reason}) in "
                f"all, on {_listed(places)}; correct the file, or skip and count such rows with --bad-rows skip"
            )
        self.count(reason, number)

    def count(self, reason: str, number: int) -> None:
        """Count rows or events left out for a reason that is never an error."""
        if number:
            self.skipped[reason] = self.skipped.get(reason, 0) + number


def skipped_words(skipped: Mapping[str, int]) -> str:
    """Return counts by reason, for messages: `12 empty_id, 3 empty_text`, or `none`."""
    return ", ".join(f"{number} {reason}" for reason, number in skipped.items()) or "none"


def _listed(places: Sequence[Place]) -> str:
    """Return line numbers, and their files if there are several."""
    by_file = [
        (path, list(group)) for path, group in groupby(places[:LINES_NAMED], lambda place: (place.path, place.unit))
    ]
    dots = ", ..." if len(places) > LINES_NAMED else ""
    listed = [
        f"{unit}{'s' if len(group) > 1 else ''} "
        + ", ".join(str(place.number) for place in group)
        + (f" of {path}" if len(by_file) > 1 else "")
        for (path, unit), group in by_file
    ]
    return " and ".join(listed) + dots


def _shortened(text: str) -> str:
    return text if len(text) <= _FOUND_SHOWN else text[:_FOUND_SHOWN] + "..."
