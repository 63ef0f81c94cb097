"""The groups of the targets of an evaluation.

Shapes: T targets of all users.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.evaluate.groups.column_groups import column_codes
from tcf.evaluate.groups.grouping import Cold, Column, Grouping, History, Popularity, Warm

__all__ = ["TargetGroups", "target_groups"]

_MOST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class TargetGroups:
    """Groups of targets: group g has those with a number of at least least[g] and below below[g].

    Attributes:
        names: what the groups are called.
        numbers: the number of each target, (T,).
        least: smallest number of each group.
        below: the number that ends each group.
    """

    names: tuple[str, ...]
    numbers: npt.NDArray[np.int64]
    least: tuple[int, ...]
    below: tuple[int, ...]

    def __iter__(self) -> "Iterator[tuple[str, npt.NDArray[np.bool_]]]":
        """Iterate over the name of each group, and which targets are in it, (T,)."""
        for name, least, below in zip(self.names, self.least, self.below, strict=True):
            yield name, (self.numbers >= least) & (self.numbers < below)


def target_groups(grouping: Grouping, targets: pa.Table) -> TargetGroups:
    """Divide targets into groups.

    Args:
        grouping: what decides the group.
        targets: the file of ranks of an evaluation, a row for each target.

    Raises:
        ConfigError: the file of a column lacks it, or has more different values than a table can show.
        DataError: that file cannot be read, or gives an id several values.
    """
    match grouping:
        case Cold():
            return _between(_column(targets, "item_interactions"), (0, 1), ("cold", "warm"))
        case Warm():
            counts_T = _column(targets, "item_interactions")
            names = tuple(f"warm-{least}" for least in grouping.least)
            return TargetGroups(names, counts_T, grouping.least, (_MOST,) * len(names))
        case Popularity():
            counts_T = _column(targets, "item_interactions")
            return _between(counts_T, _quantiles(counts_T, grouping.number))
        case History():
            return _between(_column(targets, "history"), (1, *(edge for edge in grouping.edges if edge > 1)))
        case Column():
            names, codes_T = column_codes(grouping.file, grouping.name, targets)
            return _between(codes_T, range(len(names)), names)


def _column(targets: pa.Table, name: str) -> npt.NDArray[np.int64]:
    numbers_T: npt.NDArray[np.int64] = targets[name].to_numpy().astype(np.int64)
    return numbers_T


def _between(numbers_T: npt.NDArray[np.int64], least: Sequence[int], names: Sequence[str] = ()) -> TargetGroups:
    """Groups that end where the next one begins."""
    below = (*least[1:], _MOST)
    return TargetGroups(tuple(names) or tuple(map(_range_words, least, below)), numbers_T, tuple(least), below)


def _range_words(least: int, below: int) -> str:
    """What a group is called: its numbers.

    >>> _range_words(0, 5), _range_words(7, 8), _range_words(20, _MOST)
    ('0 to 4', '7', '20 or more')
    """
    if below == _MOST:
        return f"{least} or more"
    return str(least) if below == least + 1 else f"{least} to {below - 1}"


def _quantiles(counts_T: npt.NDArray[np.int64], number: int) -> tuple[int, ...]:
    """Where groups of equal numbers of targets begin; equal counts are in one group, so there may be fewer groups.

    >>> _quantiles(np.array([3, 1, 1, 1, 2, 9]), 3)
    (0, 3)
    """
    ordered = np.sort(counts_T)
    number = min(number, len(ordered))
    starts = ordered[np.arange(number) * len(ordered) // number]
    return (0, *sorted({*starts.tolist()} - {int(ordered[0]), 0}))
