"""The members of a combination that score by products, side by side in one vector for each item.

Shapes: B users, N items of the dataset, D width of all members together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.dataset import Dataset
from tcf.data.histories import Histories
from tcf.evaluate.combination.members import DenseSource, MemberKind, PopularityVectors
from tcf.evaluate.combination.standardise import StandardScores

__all__ = ["DenseMember", "dense_members", "joined_states", "joined_vectors"]

_USERS_AT_ONCE = 4096  # a multiple of what runs compute at once, so that their states have the same bits


@dataclass(frozen=True, eq=False)
class DenseMember:
    """A member that scores by products.

    Attributes:
        place: its place among all members.
        source: its item vectors and user states.
        scores: what standardises its scores.
        columns: its part of the vectors of all members.
    """

    place: int
    source: DenseSource
    scores: StandardScores
    columns: slice


def dense_members(kinds: Sequence[MemberKind], runs: Sequence[DenseSource], dataset: Dataset) -> list[DenseMember]:
    """Compute the item vectors of those members that score by products.

    Args:
        kinds: the kinds of all members.
        runs: those that are runs, in order.
        dataset: the dataset of all.
    """
    found, start, waiting = list[DenseMember](), 0, iter(runs)
    for place, kind in enumerate(kinds):
        match kind:
            case "run":
                source = next(waiting)
            case "popularity":
                source = PopularityVectors.learn(dataset)
            case "co-occurrence":
                continue
        scores = StandardScores.of(source.item_vectors())
        stop = start + scores.vectors_ND.shape[1]
        found.append(DenseMember(place, source, scores, slice(start, stop)))
        start = stop
    return found


def joined_vectors(members: Sequence[DenseMember]) -> npt.NDArray[np.float32]:
    """Return the vector of every item, (N, D): those of the members about their means, one after another."""
    return np.concatenate([member.scores.vectors_ND for member in members], axis=1)


def joined_states(
    members: Sequence[DenseMember],
    weights: Sequence[float],
    users: npt.NDArray[np.int64],
    histories: Histories,
    advance: Callable[[int], object] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the states of users whose products with the joined vectors are weighted sums of standardised scores.

    Args:
        members: those that score by products.
        weights: the weights of all members, by their places.
        users: (B,) indices among all users of the dataset.
        histories: each user's items, oldest first.
        advance: called with the number of users whose states have just been computed.

    Returns:
        (B, D) float32.
    """
    states_BD = np.empty((len(users), members[-1].columns.stop), np.float32)
    for start in range(0, len(users), _USERS_AT_ONCE):
        part = np.arange(start, min(start + _USERS_AT_ONCE, len(users)))
        some = histories.take(part)
        for member in members:
            found = member.source.user_states(users[part], some)
            states_BD[part, member.columns] = member.scores.states(found, weights[member.place])
        if advance is not None:
            advance(len(part))
    return states_BD
