"""What users have had besides their kept histories, so that it is not recommended to them as something new.

Shapes: n_users users.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from
from tcf.common.threads import ordered_map
from tcf.data.histories import Histories, taken

__all__ = ["SeenItems", "distinct_items", "renumbered"]

_AT_ONCE = 1 << 19  # items sorted at once; few enough that most pairs of user and item fit in 32 bits


@dataclass(frozen=True)
class SeenItems:
    """The items that each user has had besides the kept history; one may be in the kept history or in both parts too.

    Attributes:
        earlier: item indices of each user's interactions before the kept history, which `--keep-last` has cut off;
            distinct and rising.
        others: likewise those of the user's other interactions, which are no part of the history: after the test target
            of a split by time, or with a rating below `--min-rating`.
    """

    earlier: Histories
    others: Histories

    def __post_init__(self) -> None:
        """Check that both are of the same users, and that each user's items are distinct and rising.

        Raises:
            DataError: they are not.
        """
        if len(self.earlier) != len(self.others):
            raise DataError(
                f"seen items: expected both parts of the same users, found {len(self.earlier)} and {len(self.others)}"
            )
        for name, items in self.parts.items():
            rises = items.items[1:] > items.items[:-1]
            starts = items.offsets[1:-1]
            rises[starts[(starts > 0) & (starts < len(items.items))] - 1] = True
            if not rises.all():
                user = int(np.searchsorted(items.offsets, np.argmin(rises) + 1, side="right")) - 1
                raise DataError(
                    f"seen items: expected distinct and rising items of each user ({name}), found others of user "
                    f"{user} (counted from 0)"
                )

    @staticmethod
    def none(n_users: int) -> "SeenItems":
        """Return that no user has had anything besides the kept history."""
        nothing = Histories(np.zeros(n_users + 1, np.int64), np.zeros(0, np.int32))
        return SeenItems(nothing, nothing)

    @property
    def parts(self) -> dict[str, Histories]:
        """Both parts, by name."""
        return {"earlier": self.earlier, "others": self.others}

    def __len__(self) -> int:
        """Number of users."""
        return len(self.earlier)


def renumbered(histories: Histories, numbers: npt.NDArray[np.int32]) -> Histories:
    """Return histories in which item i is numbers[i]; items whose number is below 0 are left out."""
    items = taken(numbers, histories.items)
    return Histories(histories.offsets, items).where(items >= 0)


def distinct_items(*parts: Histories) -> Histories:
    """Return the items that each user has in any of the parts, distinct and rising; a few users at a time.

    Args:
        parts: items of the same users, at least one part; none below 0.
    """
    n_items = 1 + max(int(part.items.max(initial=0)) for part in parts)
    totals = np.sum([part.offsets for part in parts], axis=0)
    found = list(ordered_map(lambda users: _distinct(parts, *users, n_items), _ranges(totals), threads=2, extra=2))
    counts = np.concatenate([np.zeros(0, np.int64), *(counts for counts, _ in found)])
    return Histories(offsets_from(counts), np.concatenate([np.zeros(0, np.int32), *(items for _, items in found)]))


def _ranges(totals: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return ranges of users with about `_AT_ONCE` items each; totals are those before each user, (n_users + 1,)."""
    ends = np.arange(_AT_ONCE, totals[-1] + _AT_ONCE, _AT_ONCE)
    stops = np.unique(np.searchsorted(totals, ends, side="right") - 1)
    return list(pairwise(np.unique([0, *stops.tolist(), len(totals) - 1]).tolist()))


def _distinct(
    parts: tuple[Histories, ...], start: int, stop: int, n_items: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return how many distinct items each of the users from start to stop has, and these items."""
    kind = np.dtype(np.uint32 if (stop - start) * n_items < 1 << 32 else np.uint64)
    of_users = (np.arange(stop - start) * n_items).astype(kind)
    pairs = np.concatenate([_pairs(part, start, stop, of_users) for part in parts])
    pairs.sort()
    pairs = pairs[np.concatenate([[True], pairs[1:] != pairs[:-1]])] if len(pairs) else pairs
    counts = np.diff(np.searchsorted(pairs, of_users), append=len(pairs))
    return counts, (pairs - np.repeat(of_users, counts)).astype(np.int32)


def _pairs(part: Histories, start: int, stop: int, of_users: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return each item of the users from start to stop as one number with its user."""
    pairs = np.repeat(of_users, np.diff(part.offsets[start : stop + 1]))
    pairs += part.items[part.offsets[start] : part.offsets[stop]].astype(of_users.dtype)
    return pairs
