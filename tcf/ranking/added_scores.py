"""Scores of few items of each user, to be added to those by which all items are ranked.

Shapes: U users in all, B users of a block, E items with an added score of all users of a block, K items asked for.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.data.histories import Histories, owners

__all__ = ["Added", "AddedScores", "checked_added"]

_LARGEST = 1e30
"""No product that fits into float32 leaves its range when so much is added: that is less than half of its last bit."""


@dataclass(frozen=True)
class Added:
    """What is added to the scores of a block of users: user b has the items offsets[b]..offsets[b + 1] - 1.

    Attributes:
        offsets: (B + 1,) int64, starting at 0, never falling.
        items: (E,) int32 places among the ranked items, distinct and rising for each user.
        values: (E,) float32, finite; what is added. All other items get 0.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Number of users, B."""
        return len(self.offsets) - 1

    @property
    def histories(self) -> Histories:
        """The items alone."""
        return Histories(self.offsets, self.items)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """The user of every item, (E,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def at(self, items_BK: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return what each user's items get, (B, K).

        Example:
            >>> added = Added(np.array([0, 2, 2]), np.array([1, 4], np.int32), np.array([0.5, 2], np.float32))
            >>> added.at(np.array([[4, 0], [4, -1]]))
            array([[2., 0.],
                   [0., 0.]], dtype=float32)

        Args:
            items_BK: places among the ranked items; a negative one is no item and gets 0.
        """
        return self._values(np.arange(len(self))[:, None], items_BK)

    def of_items(self, items: Histories) -> npt.NDArray[np.float32]:
        """Return what some items of each user get, one after another."""
        return self._values(owners(items), items.items)

    def _values(self, users: npt.NDArray[np.int64], items: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return what items get, for users of the block; both of one shape, or broadcast to the items'."""
        if not len(self.items) or not items.size:
            return np.zeros(items.shape, np.float32)
        most = int(max(self.items.max(), items.max())) + 1
        keys_E = self.owners * most + self.items
        wanted = np.where(items < 0, -1, users * most + items)
        found = np.minimum(np.searchsorted(keys_E, wanted), len(keys_E) - 1)
        return np.where(keys_E[found] == wanted, self.values[found], np.float32(0))


class AddedScores(Protocol):
    """Scores of few items of each user; they depend on neither the block nor the other users."""

    @property
    def n_users(self) -> int:
        """Number of users, U."""

    @property
    def n_items(self) -> int:
        """Number of ranked items."""

    def of(self, users: npt.NDArray[np.int64]) -> Added:
        """Return what is added to the scores of some users; called by several threads at once.

        Args:
            users: (B,) positions among the U users, in any order.
        """


def checked_added(scores: AddedScores, users: npt.NDArray[np.int64]) -> Added:
    """Return what is added to the scores of some users, after checking that sums stay within float32.

    Raises:
        RunError: a value is not finite, or beyond 1e30.
    """
    added = scores.of(users)
    lowest, highest = added.values.min(initial=0), added.values.max(initial=0)  # NaN if there is one
    if not (lowest >= -_LARGEST and highest <= _LARGEST):
        outside_E = ~(np.abs(added.values) <= _LARGEST)
        bad = int(np.argmax(outside_E))
        raise RunError(
            f"user {users[added.owners[bad]]}, item {added.items[bad]}: expected an added score from -1e30 to 1e30, "
            f"found {added.values[bad]:g}, one of {int(outside_E.sum())} in a block of users; check their weight"
        )
    return added
