"""Blocks of users, and the scores of all rows for them: products, what is added to them, and marks of excluded items.

Shapes: B users of a block, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.threads import ordered_map
from tcf.data.histories import Histories
from tcf.ranking.added_scores import Added, AddedScores, checked_added
from tcf.ranking.catalogue import blocks
from tcf.ranking.products.added_rows import AddedRows
from tcf.ranking.products.block_products import Products
from tcf.ranking.products.excluded_rows import ExcludedRows
from tcf.ranking.products.score_block import KnownProducts, ScoreBlock

__all__ = ["UserBlock", "user_blocks"]

_THREADS = 2  # that find added scores while others multiply


@dataclass(frozen=True)
class UserBlock:
    """Some users, and the scores of all rows for them.

    Attributes:
        products: all products.
        users: (B,) which users.
        states_BD: their states, on the device.
        gone: their items that are no candidates by their rows: excluded ones, and those that are scored by themselves.
        gone_rows: the rows of these.
        added: what is added to their scores; None: nothing.
    """

    products: Products
    users: npt.NDArray[np.int64]
    states_BD: Tensor
    gone: Histories
    gone_rows: ExcludedRows
    added: AddedRows | None

    @staticmethod
    def of(products: Products, users: npt.NDArray[np.int64], excluded: Histories, added: Added | None) -> "UserBlock":
        """Move to the device what the scores of some users need.

        Args:
            products: all products.
            users: (B,) which users.
            excluded: their items that are no candidates.
            added: what is added to their scores.
        """
        rows, device = products.rows, products.device
        states_BD = torch.from_numpy(products.product.states_UD[users]).to(device)
        added_rows = None if added is None else AddedRows.of(added, excluded, rows, products.row_of_N)
        gone = excluded if added_rows is None else added_rows.gone(excluded)
        return UserBlock(products, users, states_BD, gone, ExcludedRows.of(gone, rows, device), added_rows)

    def __len__(self) -> int:
        """Number of users, B."""
        return len(self.users)

    def sweep(self, known: KnownProducts | None = None) -> Iterator[ScoreBlock]:
        """Iterate over the scores of all rows, -inf where no item of a row is a candidate.

        Args:
            known: products to be taken in place of the blocks' own.
        """
        masked = self.gone_rows.masked
        for scores in self.products.multiply(self.states_BD):
            if known is not None:
                known.put_into(scores)
            if self.added is not None:
                self.added.add_to(scores, are_whole=self.products.are_whole)
            here = masked.among(scores.rows)
            scores.memory[scores.places(masked.users[here], masked.rows[here])] = -torch.inf
            yield scores


def user_blocks(
    products: Products, users: npt.NDArray[np.int64], excluded: Histories, added: AddedScores | None = None
) -> Iterator[UserBlock]:
    """Iterate over blocks of some users.

    Args:
        products: all products.
        users: which users, in this order.
        excluded: the excluded items of all users.
        added: what is added to the scores; found in other threads, for a few blocks ahead.

    Raises:
        RunError: what is added is not finite.
    """
    parts = (users[block] for block in blocks(len(users), products.shape.users))
    if added is None:
        yield from (UserBlock.of(products, part, excluded.take(part), None) for part in parts)
    else:
        found = ordered_map(lambda part: (part, checked_added(added, part)), parts, _THREADS)
        yield from (UserBlock.of(products, part, excluded.take(part), values) for part, values in found)
