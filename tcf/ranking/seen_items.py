"""Items that are not candidates because the user has seen them.

Shapes: U users in all, B users of a block, K listed rows.
"""

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.common.ragged import offsets_from
from tcf.data.dataset import Histories

__all__ = ["check_seen", "counts_at", "owners", "without"]


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


def owners(histories: Histories) -> npt.NDArray[np.int64]:
    """Return the user of every interaction, (nnz,)."""
    return np.repeat(np.arange(len(histories)), histories.lengths)


def without(histories: Histories, items_U: npt.NDArray[np.int64]) -> Histories:
    """Return every user's items without one item, whether or not the user has it.

    Args:
        histories: U users.
        items_U: the item to leave out, by user.
    """
    users = owners(histories)
    kept = histories.items != items_U[users]
    return _from_pairs(users[kept], histories.items[kept], len(histories))


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


def _from_pairs(users: npt.NDArray[np.int64], items: npt.NDArray[np.integer], n_users: int) -> Histories:
    return Histories(offsets_from(np.bincount(users, minlength=n_users)), items.astype(np.int32))
