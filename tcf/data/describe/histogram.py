"""The numbers of a dataset's plots: bars over whole numbers, and items in the order of their popularity."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Bars", "RankCurve", "bars", "rank_curve"]

_MOST_BARS = 60

Counts = npt.NDArray[np.int64]


class Bars(NamedTuple):
    """A histogram of whole numbers.

    Attributes:
        edges: (n_bars + 1,) int64, rising; bar i is over edges[i] ... edges[i + 1] - 1.
        sums: (n_bars,) int64, how often the numbers of each bar occur together.
    """

    edges: Counts
    sums: Counts

    @property
    def heights(self) -> npt.NDArray[np.float64]:
        """How often a number of each bar occurs, on average over the bar, (n_bars,); wide bars are then no higher."""
        return self.sums / np.diff(self.edges)

    @property
    def single(self) -> bool:
        """Whether every bar stands for one number."""
        return bool((np.diff(self.edges) == 1).all())


class RankCurve(NamedTuple):
    """Items from the most popular on; those of equal popularity are one level stretch.

    Attributes:
        first: (n_levels,) int64, rank of the first item of each level, from 1.
        last: (n_levels,) int64, rank of its last item.
        interactions: (n_levels,) int64, of each of its items, falling, none 0.
        without: items without an interaction, which have no place on a logarithmic axis.
    """

    first: Counts
    last: Counts
    interactions: Counts
    without: int


def bars(counts: Counts) -> Bars:
    """A bar for each number if they are few; else bars whose widths grow with the numbers.

    Args:
        counts: (largest + 1,) how often each number occurs; one of them does.
    """
    there = np.flatnonzero(counts)
    smallest, largest = int(there[0]), int(there[-1])
    if largest - smallest < _MOST_BARS:
        edges = np.arange(smallest, largest + 2)
    else:
        # By ratio from 1 on; widths below 1 fall together, and the last edge is exact.
        spread = np.geomspace(max(smallest, 1), largest + 1, _MOST_BARS + 1)
        inner = np.unique(np.rint(spread).astype(np.int64))
        edges = np.unique(np.append(inner, [smallest, largest + 1]))
    return Bars(edges, np.add.reduceat(counts[: largest + 1], edges[:-1]))


def rank_curve(popularity: Counts) -> RankCurve:
    """Rank and popularity of items.

    Args:
        popularity: (n_items,) interactions of each item.
    """
    levels, sizes = np.unique(popularity[popularity > 0], return_counts=True)
    last = np.cumsum(sizes[::-1])
    return RankCurve(last - sizes[::-1] + 1, last, levels[::-1], int((popularity == 0).sum()))
