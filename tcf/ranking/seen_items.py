"""Items that are not candidates because the user has seen them.

Shapes: U users, any number of items of each.
"""

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.data.histories import Histories, owners

__all__ = ["are_in", "check_seen", "counts_at", "without"]


def check_seen(seen: Histories, n_users: int, n_items: int) -> None:
    """Refuse histories of other users or another catalogue.

    Raises:
        RunError: the number of users differs, or an item is not in the catalogue.
    """
    if len(seen) != n_users:
        raise RunError(f"seen items: expected {n_users} users, found {len(seen)}; take both from the same dataset")
    if len(seen.items) and not (seen.items.min() >= 0 and seen.items.max() < n_items):
        raise RunError(
            f"seen items: expected items 0..{n_items - 1}, found {seen.items.min()}..{seen.items.max()}; "
            "take histories and items from the same dataset"
        )


def are_in(some: Histories, others: Histories) -> npt.NDArray[np.bool_]:
    """Return for each item of `some` whether the same user has it in `others` too.

    Args:
        some: U users.
        others: the same users; items distinct and rising within a user.
    """
    most = int(max(some.items.max(initial=0), others.items.max(initial=0))) + 1
    keys = owners(others) * most + others.items
    wanted = np.where(some.items >= 0, owners(some) * most + some.items, -1)
    return counts_at(keys, np.ones(len(keys), np.int64), wanted) > 0


def without(histories: Histories, items: Histories) -> Histories:
    """Return every user's items without some of them.

    Args:
        histories: U users; items distinct and rising within a user.
        items: the items to leave out, whether or not the user has them; a negative one is none.
    """
    if not len(histories.items):
        return histories
    most = int(max(histories.items.max(), items.items.max(initial=0))) + 1
    keys = owners(histories) * most + histories.items
    gone = (owners(items) * most + items.items)[items.items >= 0]
    places = np.minimum(np.searchsorted(keys, gone), len(keys) - 1)
    kept = np.ones(len(keys), bool)
    kept[places[keys[places] == gone]] = False
    return histories.where(kept)


def counts_at(
    keys: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Look up the count of each wanted key, 0 for unknown keys.

    Args:
        keys: ascending and distinct.
        counts: one per key.
        wanted: keys, of any shape.
    """
    if not len(keys):
        return np.zeros(wanted.shape, np.int64)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, counts[found], 0)
