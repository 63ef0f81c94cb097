"""Groups of rankings that cannot be told apart, as letters.

The algorithm is insert and absorb (Piepho, J. Comput. Graph. Stat. 2004).
"""

import string
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError, shape_words

__all__ = ["groups_alike", "letters"]


def groups_alike(differs_NN: npt.NDArray[np.bool_], order: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the largest groups within which no two rankings differ.

    Two rankings have a group in common exactly where they do not differ, and a ranking that differs from all others has
    one of its own. Begins with one group of all. Each difference splits the groups with both of the two into one
    without the first and one without the second, and what lies within another group is dropped.

    The first and the last of three differ, and the one in the middle is like both:

    >>> differs = np.zeros((3, 3), bool)
    >>> differs[0, 2] = differs[2, 0] = True
    >>> groups_alike(differs, [0, 1, 2])
    [(0, 1), (1, 2)]

    Args:
        differs_NN: whether two rankings differ, symmetric, (N, N).
        order: all N rankings in the order of the table, the best first. The members of groups, and the groups by
            their members, have this order.

    Raises:
        RunError: the matrix is not symmetric, some ranking differs from itself, or the order is not one of all.
    """
    _check(differs_NN, order)
    groups = [frozenset(range(len(order)))]  # places in the order
    placed = differs_NN[np.ix_(order, order)]
    for first, second in np.argwhere(np.triu(placed)).tolist():
        split = [group for group in groups if first in group and second in group]
        if split:
            kept = [group for group in groups if not (first in group and second in group)]
            parts = [group - {member} for group in split for member in (first, second)]
            groups = kept + [part for part in dict.fromkeys(parts) if not _is_within(part, kept, parts)]
    return [tuple(int(order[place]) for place in group) for group in sorted(sorted(group) for group in groups)]


def letters(differs_NN: npt.NDArray[np.bool_], order: Sequence[int]) -> list[str]:
    """Return the letters of each ranking, (N,): two with a letter in common cannot be told apart.

    The groups of `groups_alike` are a, b, ... z, A, ... Z, (53), (54), ...

    >>> differs = np.zeros((3, 3), bool)
    >>> differs[0, 2] = differs[2, 0] = True
    >>> letters(differs, [2, 1, 0])
    ['b', 'ab', 'a']

    Args:
        differs_NN: whether two rankings differ, symmetric, (N, N).
        order: all N rankings, the best first.

    Raises:
        RunError: as `groups_alike`.
    """
    found = [""] * len(order)
    for number, group in enumerate(groups_alike(differs_NN, order)):
        letter = string.ascii_letters[number] if number < len(string.ascii_letters) else f"({number + 1})"
        for ranking in group:
            found[ranking] += letter
    return found


def _is_within(part: frozenset[int], kept: Sequence[frozenset[int]], parts: Sequence[frozenset[int]]) -> bool:
    return any(part <= group for group in kept) or any(part < other for other in parts)


def _check(differs_NN: npt.NDArray[np.bool_], order: Sequence[int]) -> None:
    n = len(order)
    if differs_NN.shape != (n, n) or sorted(order) != [*range(n)] or not n:
        raise RunError(
            f"groups: expected an order of all rankings and whether each two differ, found {n} in the order and the "
            f"shape {shape_words(differs_NN.shape)}; give both of the same rankings"
        )
    if (differs_NN != differs_NN.T).any() or differs_NN.diagonal().any():
        raise RunError("groups: expected pairs that differ either way, found others; compare each two rankings once")
