"""Ranking by inner product with torch's matrix products, a block of scores at a time.

Exact ranks need no list: each target's score is compared with all others where the product has left them. Lists take
the best rows of each block. Ranks and lists that are asked for together are taken from the same products.

Shapes: U users, T targets of all users, K list length.
"""

from dataclasses import dataclass

import numpy as np
import torch

from tcf.common.errors import RunError
from tcf.common.ragged import spans
from tcf.data.histories import Histories
from tcf.ranking.added_scores import AddedScores
from tcf.ranking.products.best_rows import BestRows
from tcf.ranking.products.block_products import BlockShape, Products, full_float32
from tcf.ranking.products.target_counts import Counter, TargetCounts
from tcf.ranking.products.user_block import user_blocks
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import Advance, Counts
from tcf.ranking.scorers import InnerProduct
from tcf.ranking.task import RankingTask

__all__ = ["TorchRanker"]


@dataclass(frozen=True)
class TorchRanker:
    """Ranks with torch's products.

    Attributes:
        product: states and item vectors.
        device: where to multiply.
        shape: how many users and rows are multiplied at once at most; None: what is fastest.
        added: what is added to the products; None: nothing.

    Raises:
        RunError: the users or items of the products and of what is added differ.
    """

    product: InnerProduct
    device: torch.device
    shape: BlockShape | None = None
    added: AddedScores | None = None

    def __post_init__(self) -> None:
        if self.added is not None:
            found, expected = (self.added.n_users, self.added.n_items), (self.n_users, self.n_items)
            if found != expected:
                raise RunError(
                    f"added scores: expected {expected[0]:,} users and {expected[1]:,} items, as the products have, "
                    f"found {found[0]:,} and {found[1]:,}; take them for the same users and the same ranked items"
                )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.product.n_users

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.product.catalogue.n_items

    def count(self, task: RankingTask, advance: Advance | None = None) -> Counts:
        """Count the candidates that score above each target, (T,), and the other ones that score the same, (T,)."""
        return self._rank(task, None, advance)

    def lists(self, excluded: Histories, k: int, advance: Advance | None = None) -> RankedLists:
        """Return each user's k best candidates."""
        nobody = Histories(np.zeros(self.n_users + 1, np.int64), np.zeros(0, np.int32))
        return self.count_and_list(RankingTask(nobody, excluded), k, advance)[1]

    def count_and_list(self, task: RankingTask, k: int, advance: Advance | None = None) -> tuple[Counts, RankedLists]:
        """Return what `count` and `lists` return, from the same products."""
        lists = RankedLists.empty(self.n_users, k)
        return self._rank(task, lists, advance), lists

    def _rank(self, task: RankingTask, lists: RankedLists | None, advance: Advance | None) -> Counts:
        """Count for all targets, and fill the lists if there are any."""
        targets = task.targets
        greater, equal = (np.zeros(len(targets.items), np.int64) for _ in range(2))
        # Those with more targets come first, so that the users who have a further one are the first ones of a block.
        users = np.argsort(-targets.lengths, kind="stable")
        if lists is None:
            users = users[: np.count_nonzero(targets.lengths)]
            if advance is not None:
                advance(self.n_users - len(users))
        with full_float32(), torch.inference_mode():
            products = Products.of(self.product, self.device, self.shape)
            counter = Counter.of(products)
            for block in user_blocks(products, users, task.excluded, self.added):
                counts = TargetCounts.of(block, counter, targets.take(block.users))
                best = None if lists is None else BestRows.of(block, lists.items_UK.shape[1])
                for scores in block.sweep(counts.known):
                    counts.read(scores)
                    if best is not None:
                        best.read(scores)
                places = spans(targets.offsets[block.users], targets.lengths[block.users])
                greater[places], equal[places] = counts.result()
                if best is not None and lists is not None:
                    best.place(lists, counts.known)
                if advance is not None:
                    advance(len(block))
        return greater, equal
