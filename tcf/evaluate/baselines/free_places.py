"""The first places of an order that are free, for many users at once.

Shapes: B users of a block, K places of each.
"""

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories, owners

__all__ = ["first_free"]


def first_free(taken: Histories, k: int, n_places: int) -> npt.NDArray[np.int64]:
    """Return the first k of the places 0..n_places - 1 that each user has not taken, rising, (B, K); -1 for none left.

    Example:
        >>> first_free(Histories(np.array([0, 2, 2]), np.array([0, 2], np.int32)), 2, 3)
        array([[ 1, -1],
               [ 0,  1]])

    Args:
        taken: the places that each user has taken, distinct and rising.
        k: number of places.
        n_places: number of places that there are.
    """
    # Before the i-th taken place p lie p - i free ones: the m-th free place lies behind all with p - i <= m.
    users = owners(taken)
    free_before = taken.items - (np.arange(len(users)) - taken.offsets[users])
    wanted_BK = np.arange(len(taken))[:, None] * (n_places + 1) + np.minimum(np.arange(k), n_places)
    passed_BK = (
        np.searchsorted(users * (n_places + 1) + free_before, wanted_BK, side="right") - taken.offsets[:-1, None]
    )
    places_BK = np.arange(k) + passed_BK
    return np.where(places_BK < n_places, places_BK, -1)
