"""Metrics of the ranked lists themselves: what is recommended, whether or not it is what the user took next.

A list is cut at several depths, of which each costs little beside the deepest one. A user's value is a mean over the
items of the list, or over its pairs; it is 0 where there is none, because the user has no candidate, or for pairs only
one. Unlike metrics of ranks these are of the one list that is found: of equal scores, the first items.

Shapes: U users, K places, N items, C cutoffs, B users of a block, L distinct items in lists, W some of their columns.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.ranking.catalogue import blocks

__all__ = ["VectorsOf", "coverage", "diversity", "novelty", "popularity"]

VectorsOf: TypeAlias = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.floating[Any]]]
"""Returns the vectors of some items, (n, D)."""
_Lists: TypeAlias = npt.NDArray[np.int32]
_Values: TypeAlias = npt.NDArray[np.float64]

_ENTRIES_AT_ONCE = 2**20
_TABLE_BYTES = 2**27  # columns of the listed items' vectors that are in memory at once
_ITEMS_AT_ONCE = 2**12
_USERS_AT_ONCE = 2**8  # whose sums stay in the processor's cache


def coverage(items_UK: _Lists, cutoffs: Sequence[int], n_candidates: int) -> _Values:
    """Return the share of all candidates that are among the first k of somebody's list, (C,).

    Catalogue coverage (Ge, Delgado-Battenfeld and Jannach, RecSys 2010; `ItemCoverage` of RecBole).

    >>> coverage(np.array([[4, 1], [4, 2]], np.int32), [1, 2], 6)
    array([0.16666667, 0.5       ])

    Args:
        items_UK: each user's items, best first, padded with -1.
        cutoffs: the depths k, rising.
        n_candidates: number of items that are ranked.
    """
    listed = np.zeros(items_UK.max(initial=-1) + 2, np.bool_)  # the last one is that of -1
    found = np.zeros(len(cutoffs))
    for place, (first, last) in enumerate(pairwise((0, *cutoffs))):
        listed[items_UK[:, first:last]] = True
        found[place] = listed[:-1].sum() / n_candidates
    return found


def popularity(items_UK: _Lists, cutoffs: Sequence[int], interactions_N: npt.NDArray[np.integer]) -> _Values:
    """Return the mean number of training interactions of each user's first k items, (U, C).

    Average recommendation popularity (Yin, Cui, Li, Yao and Chen, PVLDB 5(9), 2012, arXiv:1205.6700; `ARP` of Elliot,
    `AveragePopularity` of RecBole, `AvgRecPopularity` of RecTools).

    >>> popularity(np.array([[2, 0, 1], [0, -1, -1]], np.int32), [1, 3], np.array([7, 0, 2]))
    array([[2., 3.],
           [7., 7.]])

    Args:
        items_UK: each user's items, best first, padded with -1.
        cutoffs: the depths k, rising.
        interactions_N: training interactions of every item.
    """
    return _means(items_UK, cutoffs, interactions_N.astype(np.float64))


def novelty(items_UK: _Lists, cutoffs: Sequence[int], users_N: npt.NDArray[np.integer], n_users: int) -> _Values:
    """Return the mean self-information of each user's first k items, in bits, (U, C).

    That of an item is -log2 of the share of users who had it in training (Zhou, Kuscsik, Liu, Medo, Wakeling and Zhang,
    PNAS 107(10), 2010; `MeanInvUserFreq` of RecTools). As in RecTools an item that nobody had counts as one that a
    single user had, the most novel of all.

    Four users; one of them had item 0, all had item 1, nobody had item 2:

    >>> novelty(np.array([[0, 1, 2], [1, 2, -1]], np.int32), [1, 3], np.array([1, 4, 0]), 4)
    array([[2.        , 1.33333333],
           [0.        , 1.        ]])

    Args:
        items_UK: each user's items, best first, padded with -1.
        cutoffs: the depths k, rising.
        users_N: how many users had each item in training.
        n_users: how many users had any.
    """
    return _means(items_UK, cutoffs, np.log2(max(n_users, 1)) - np.log2(np.maximum(users_N, 1)))


def diversity(items_UK: _Lists, cutoffs: Sequence[int], vectors: VectorsOf) -> _Values:
    """Return the mean of 1 - cosine over all pairs of each user's first k items, (U, C).

    Intra-list diversity (Ziegler, McNee, Konstan and Lausen, WWW 2005, as a distance; Vargas and Castells, RecSys 2011;
    `IntraListDiversity` of RecTools). The cosines of all pairs follow from one sum: of n vectors of length
    1 with the sum s they add up to (s @ s - n) / 2. A vector of zeros has a cosine of 0 with any other.

    Items 0 and 1 point the same way, item 2 at a right angle to both, so that two of three pairs differ:

    >>> vectors = np.array([[1, 0], [3, 0], [0, 2]], np.float32)
    >>> diversity(np.array([[0, 1, 2], [2, -1, -1]], np.int32), [2, 3], vectors.__getitem__).round(4)
    array([[0.    , 0.6667],
           [0.    , 0.    ]])

    Args:
        items_UK: each user's items, best first, padded with -1.
        cutoffs: the depths k, rising.
        vectors: the items' vectors, of any finite type, read a part at a time.

    Raises:
        RunError: a number in the vector of a listed item is not finite.
    """
    listed, places_UK = _listed(items_UK)
    lengths_L = _lengths(vectors, listed)
    squares_UC = np.zeros((len(items_UK), len(cutoffs)))
    width = vectors(listed[:1]).shape[1]
    for columns in blocks(width, max(1, _TABLE_BYTES // (4 * (len(listed) + 1)))):
        _add_squares(squares_UC, _units(vectors, listed, lengths_L, columns), places_UK, cutoffs)
    pointing_UC = _sums(places_UK, cutoffs, np.append(lengths_L > 0, False).astype(np.float64))
    numbers_UC = _sums(places_UK, cutoffs, np.append(np.ones(len(listed)), 0.0))
    pairs_UC = numbers_UC * (numbers_UC - 1) / 2
    cosines_UC = (squares_UC - pointing_UC) / 2
    distances_UC = np.where(pairs_UC > 0, 1 - cosines_UC / np.maximum(pairs_UC, 1), 0.0)
    return distances_UC.clip(0, 2)


def _means(items_UK: _Lists, cutoffs: Sequence[int], values_N: _Values) -> _Values:
    """Return the mean value of each user's first k items, (U, C)."""
    sums_UC = _sums(items_UK, cutoffs, np.append(values_N, 0.0))
    numbers_UC = _sums(items_UK, cutoffs, np.append(np.ones(len(values_N)), 0.0))
    return sums_UC / np.maximum(numbers_UC, 1)


def _sums(places_UK: npt.NDArray[np.integer], cutoffs: Sequence[int], values: _Values) -> _Values:
    """Return the sum of the values at each user's first k places, (U, C); the last value is that of the padding."""
    sums_UC = np.zeros((len(places_UK), len(cutoffs)))
    within = np.minimum(cutoffs, places_UK.shape[1])
    for block in blocks(len(places_UK), max(1, _ENTRIES_AT_ONCE // places_UK.shape[1])):
        sums_UC[block] = np.cumsum(values[places_UK[block]], axis=1)[:, within - 1]
    return sums_UC


def _listed(items_UK: _Lists) -> tuple[npt.NDArray[np.int64], _Lists]:
    """Return the items that are in lists, (L,), and each entry's place among them, L for the padding, (U, K)."""
    is_listed = np.zeros(items_UK.max(initial=-1) + 2, np.bool_)
    is_listed[items_UK] = True
    listed = np.flatnonzero(is_listed[:-1])
    place_of = np.full(len(is_listed), len(listed), np.int32)
    place_of[listed] = np.arange(len(listed))
    return listed, place_of[items_UK]


def _lengths(vectors: VectorsOf, listed: npt.NDArray[np.int64]) -> _Values:
    """Return the length of the vector of each listed item, (L,)."""
    squares = np.zeros(len(listed))
    for block in blocks(len(listed), _ITEMS_AT_ONCE):
        some = vectors(listed[block]).astype(np.float64)
        with np.errstate(invalid="ignore"):  # NaN is checked below
            np.einsum("rd,rd->r", some, some, out=squares[block])
    bad = np.flatnonzero(~np.isfinite(squares))
    if len(bad):
        raise RunError(
            f"item {listed[bad[0]]}: expected a vector of finite numbers, found NaN or infinity, in {len(bad)} of "
            f"{len(listed)} vectors; check the cache with `tcf cache verify`"
        )
    return np.asarray(np.sqrt(squares))


def _units(
    vectors: VectorsOf, listed: npt.NDArray[np.int64], lengths_L: _Values, columns: slice
) -> npt.NDArray[np.float32]:
    """Return some columns of the listed items' vectors, scaled to length 1, (L + 1, W); the last row is zeros."""
    units = np.zeros((len(listed) + 1, columns.stop - columns.start), np.float32)
    factors = 1 / np.where(lengths_L > 0, lengths_L, 1)
    for block in blocks(len(listed), _ITEMS_AT_ONCE):
        units[block] = vectors(listed[block])[:, columns] * factors[block, None]
    return units


def _add_squares(
    squares_UC: _Values, units: npt.NDArray[np.float32], places_UK: _Lists, cutoffs: Sequence[int]
) -> None:
    """Add the squares of the sum of each user's first k rows."""
    for block in blocks(len(places_UK), _USERS_AT_ONCE):
        places_KB = np.ascontiguousarray(places_UK[block].T)
        sums_BW = np.zeros((places_KB.shape[1], units.shape[1]), np.float32)
        row_BW = np.empty_like(sums_BW)
        for place, (first, last) in enumerate(pairwise((0, *cutoffs))):
            for places_B in places_KB[first:last]:
                sums_BW += np.take(units, places_B, axis=0, out=row_BW, mode="clip")
            squares_UC[block, place] += np.einsum("bw,bw->b", sums_BW, sums_BW, dtype=np.float64)
