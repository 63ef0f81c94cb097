"""Shortlists: a user's best candidates by any member, among which a held-out target is looked for.

Shapes: U users, K places of a list, P targets, E entries of all shortlists.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories, owners
from tcf.ranking.ranked_lists import RankedLists

__all__ = ["Shortlists"]


@dataclass(frozen=True, eq=False)
class Shortlists:
    """The shortlists of those targets that at least one member has on its list.

    A target that no member lists says nothing of how to weigh them at the top: beside candidates that were chosen for
    their scores, it would teach that high scores are bad.

    Attributes:
        users: (P,) position of the user of each target.
        items: the entries of each target's shortlist, rising, the target among them.
        targets: (P,) int64, the entry of all that is the target.
    """

    users: npt.NDArray[np.int64]
    items: Histories
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of targets."""
        return len(self.users)

    @classmethod
    def of(cls, lists: Sequence[RankedLists], targets: Histories, n_items: int) -> "Shortlists":
        """Join the members' lists, user by user and target by target.

        Args:
            lists: each member's lists; their candidates include the targets.
            targets: the targets of each user; another target of the same user is left out of a target's entries.
            n_items: size of the catalogue.
        """
        listed_UK = np.concatenate([found.items_UK for found in lists], axis=1)
        owners_T = owners(targets)
        is_listed_T = (listed_UK[owners_T] == targets.items[:, None]).any(1)
        users_P, targets_P = owners_T[is_listed_T], targets.items[is_listed_T].astype(np.int64)
        rows, places = np.nonzero(listed_UK[users_P] >= 0)
        keys_E = np.unique(rows * n_items + listed_UK[users_P[rows], places])
        rows, items = np.divmod(keys_E, n_items)
        are_targets_E = np.isin(users_P[rows] * n_items + items, owners_T * n_items + targets.items)
        kept_E = ~are_targets_E | (items == targets_P[rows])
        offsets = offsets_from(np.bincount(rows[kept_E], minlength=len(users_P)))
        at_P = np.searchsorted(keys_E[kept_E], np.arange(len(users_P)) * n_items + targets_P)
        return cls(users_P, Histories(offsets, items[kept_E].astype(np.int32)), at_P)
