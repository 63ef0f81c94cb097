"""One member of a combination before some validation users: what it ranks by, and its standardised scores.

Shapes: U users, P rows of pairs, E pairs of a user and an item, N items, D width.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from tcf.data.dataset import Dataset
from tcf.data.histories import Histories, owners
from tcf.evaluate.baselines.co_occurrence import CoOccurrence
from tcf.evaluate.baselines.co_occurrence_scores import CoOccurrenceScores
from tcf.evaluate.combination.dense_members import DenseMember
from tcf.ranking.catalogue import Catalogue, blocks
from tcf.ranking.engines import product_ranker
from tcf.ranking.ranker import Ranker
from tcf.ranking.scorers import InnerProduct

__all__ = ["JudgedMember", "JudgedPairs", "JudgedProducts"]

_PAIRS_AT_ONCE = 1 << 15
_ROWS_AT_ONCE = 1 << 10


class JudgedMember(Protocol):
    """A member, and users."""

    @property
    def ranker(self) -> Ranker:
        """Ranks all items for these users by this member alone."""

    def scores_of(self, users: npt.NDArray[np.int64], items: Histories) -> npt.NDArray[np.float32]:
        """Return standardised scores, up to a constant of each user.

        Args:
            users: (P,) positions of users.
            items: the items to score for each of them.

        Returns:
            (E,), item by item.
        """


@dataclass(frozen=True, eq=False)
class JudgedProducts:
    """A member that scores by products.

    Attributes:
        member: the member.
        states_UD: its states of the users.
        device: where products are computed.
    """

    member: DenseMember
    states_UD: npt.NDArray[np.float32]
    device: torch.device

    @property
    def ranker(self) -> Ranker:
        """Ranks by standardised scores, in the order of the member's own."""
        catalogue = Catalogue.build(self.member.scores.vectors_ND)
        return product_ranker(InnerProduct(catalogue, self._standard_UD), "torch", self.device)

    def scores_of(self, users: npt.NDArray[np.int64], items: Histories) -> npt.NDArray[np.float32]:
        """Return standardised scores, (E,); see `JudgedMember`."""
        users_E, scores_E = users[owners(items)], np.empty(len(items.items), np.float32)
        for block in blocks(len(users_E), _PAIRS_AT_ONCE):
            vectors = self.member.scores.vectors_ND[items.items[block]]
            np.einsum("ed,ed->e", vectors, self._standard_UD[users_E[block]], out=scores_E[block])
        return scores_E

    @cached_property
    def _standard_UD(self) -> npt.NDArray[np.float32]:
        return self.member.scores.states(self.states_UD)


@dataclass(frozen=True, eq=False)
class JudgedPairs:
    """Co-occurrence with the users' latest items.

    Attributes:
        ranker: ranks by the baseline's own scores, whose order the logarithm keeps.
        standard: the standardised scores less those of items that never occurred with the user's.
    """

    ranker: CoOccurrence
    standard: CoOccurrenceScores

    @classmethod
    def learn(cls, dataset: Dataset, earlier: Histories) -> "JudgedPairs":
        """Count pairs in the training part of all histories, to score what follows the earlier items."""
        standard = CoOccurrenceScores.learn(dataset.split, earlier, dataset.n_items)
        return cls(CoOccurrence(standard.recent, standard.pairs), standard)

    def scores_of(self, users: npt.NDArray[np.int64], items: Histories) -> npt.NDArray[np.float32]:
        """Return standardised scores, (E,); see `JudgedMember`."""
        parts = [np.zeros(0, np.float32)]
        for block in blocks(len(users), _ROWS_AT_ONCE):
            some = items.take(np.arange(block.start, block.stop))
            parts.append(self.standard.of(users[block]).of_items(some))
        return np.concatenate(parts)
