"""Several targets of a user that tie with other items, or with one another: what is expected of the first one found.

Items of equal scores are in random order. Of m items that tie for the positions g + 1 to g + m, t are targets; each
choice of t of these positions is equally likely.

Shapes: U users, T targets of all users, G groups of tied targets (each of one user).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.ranking.ranks import Ranks

__all__ = ["first_target", "hits_of_tied"]


@dataclass(frozen=True)
class _Groups:
    """Groups of tied targets.

    Attributes:
        users: (G,) the user of each group.
        greater: (G,) candidates that score above the group, g.
        size: (G,) items that tie, m.
        targets: (G,) how many of them are targets, t.
    """

    users: npt.NDArray[np.int64]
    greater: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]

    @staticmethod
    def of(ranks: Ranks) -> "_Groups":
        """Group the targets that are candidates; the groups of a user are in order, the best first."""
        kept = np.flatnonzero(ranks.is_candidate)
        kept = kept[np.lexsort((ranks.greater[kept], ranks.owners[kept]))]
        users, greater = ranks.owners[kept], ranks.greater[kept]
        first = np.flatnonzero((np.diff(users, prepend=-1) != 0) | (np.diff(greater, prepend=-1) != 0))
        numbers = np.diff(first, append=len(kept))
        return _Groups(users[first], greater[first], ranks.equal[kept][first] + 1, numbers)

    def where(self, chosen_G: npt.NDArray[np.bool_]) -> "_Groups":
        """Return some of the groups."""
        return _Groups(self.users[chosen_G], self.greater[chosen_G], self.size[chosen_G], self.targets[chosen_G])


def hits_of_tied(ranks: Ranks, k: int, within_T: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the probability that at least one of the user's targets is among the first k, (U,).

    One user's two targets tie with two others for positions 1 to 4; neither is among the first two with 2/4 * 1/3:

    >>> tied = Ranks(np.array([0, 0]), np.array([3, 3]), np.array([9]), offsets=np.array([0, 2]))
    >>> hits_of_tied(tied, 2, np.array([0.5, 0.5])).round(4)
    array([0.8333])

    Args:
        ranks: the ranks of the targets.
        k: number of positions.
        within_T: the probability that each target is among the first k.
    """
    # Only one group of a user can lie across the edge; whoever has a target before it has a hit.
    hits = np.zeros(len(ranks))
    np.maximum.at(hits, ranks.owners, within_T)
    groups = _Groups.of(ranks)
    groups = groups.where((groups.targets > 1) & (groups.greater < k) & (groups.greater + groups.size > k))
    none_G, room_G = np.ones(len(groups.users)), k - groups.greater
    for target in range(int(groups.targets.max(initial=0))):
        left_G = np.maximum(groups.size - room_G - target, 0) / np.maximum(groups.size - target, 1)
        none_G = np.where(target < groups.targets, none_G * left_G, none_G)
    np.maximum.at(hits, groups.users, 1 - none_G)
    return hits


def first_target(
    ranks: Ranks, gains: npt.NDArray[np.float64], single_T: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the expected gain of the position of the user's first target, (U,).

    One user's two targets tie with one other item for positions 1 to 3; the first is at 1 twice as often as at 2:

    >>> tied = Ranks(np.array([0, 0]), np.array([2, 2]), np.array([9]), offsets=np.array([0, 2]))
    >>> first_target(tied, 1 / np.arange(1, 4), np.zeros(2)).round(4)
    array([0.8333])

    Args:
        ranks: the ranks of the targets.
        gains: position p has gains[p - 1], or 0 beyond the end; never rising.
        single_T: the expected gain of each target.
    """
    groups = _Groups.of(ranks)
    best = groups.where(np.diff(groups.users, prepend=-1) != 0)  # it holds the first target
    found = np.zeros(len(ranks))
    # A target alone in its group: its own expected gain, which is the user's largest.
    np.maximum.at(found, ranks.owners, single_T)
    tied = best.where((best.targets > 1) & (best.greater < len(gains)))
    shapes, which = np.unique(np.stack([tied.greater, tied.size, tied.targets]), axis=1, return_inverse=True)
    of_shape = np.array([_first_of(gains[g:], m, t) for g, m, t in shapes.T.tolist()])
    found[tied.users] = of_shape[which.ravel()] if len(tied.users) else 0.0
    return found


def _first_of(gains: npt.NDArray[np.float64], size: int, targets: int) -> float:
    """Return the expected gain of the first of `targets` targets among `size` items in random order."""
    # P(first at 1) = t / m, and P(first at j + 1) = P(first at j) * (m - j - t + 1) / (m - j).
    places = np.arange(1, min(size - targets + 1, len(gains)))
    ratios = np.concatenate([[targets / size], (size - places - targets + 1) / (size - places)])
    return float(np.cumprod(ratios) @ gains[: len(ratios)])
