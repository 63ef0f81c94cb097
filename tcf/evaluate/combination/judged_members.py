"""The members of a combination before some validation users: their ranks, lists and standardised scores.

Shapes: U users, P rows of pairs, E pairs of a user and an item, N items, D width.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tcf.common.errors import DataError
from tcf.common.progress import Progress
from tcf.common.random_streams import RandomStream, generator
from tcf.config.combine import CombineConfig
from tcf.data.split import Queries
from tcf.evaluate.combination.dense_members import DenseMember, dense_members, joined_vectors
from tcf.evaluate.combination.judged_member import JudgedMember, JudgedPairs, JudgedProducts
from tcf.evaluate.combination.members import MemberKind
from tcf.evaluate.questions import held_out_queries
from tcf.ranking.added_scores import AddedScores
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.engines import product_ranker
from tcf.ranking.metrics import VALIDATION_DEPTH
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import RanksAndLists
from tcf.ranking.ranks import Ranks, excluded_items, rank_and_list, rank_targets
from tcf.ranking.scorers import InnerProduct
from tcf.train.batch.training_data import trained_users
from tcf.train.run.open_run import Run

__all__ = ["JudgedMembers"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class JudgedMembers:
    """Members, and what they say of the users whose validation targets judge them.

    Attributes:
        queries: the users, their earlier items and targets.
        members: all members.
        device: where products are computed.
    """

    queries: Queries
    members: tuple[JudgedMember, ...]
    device: torch.device

    @classmethod
    def of(cls, kinds: Sequence[MemberKind], runs: Sequence[Run], config: CombineConfig) -> "JudgedMembers":
        """Draw the users, and compute what the members know of them.

        Args:
            kinds: the kinds of all members.
            runs: those that are runs, in order; none was trained on validation targets.
            config: settings.

        Raises:
            DataError: no user has a validation target and an item before it.
        """
        queries, dataset = _drawn(runs, config), runs[0].dataset
        dense = {member.place: member for member in dense_members(kinds, runs, dataset)}
        members = list[JudgedMember]()
        with Progress("combine: states", len(queries) * len(dense), "users") as shown:
            for place in range(len(kinds)):
                if place in dense:
                    found = dense[place].source.user_states(queries.users, queries.earlier, shown.advance)
                    members.append(JudgedProducts(dense[place], found, runs[0].device))
                else:
                    members.append(JudgedPairs.learn(dataset, queries.earlier))
        return cls(queries, tuple(members), runs[0].device)

    @property
    def n_items(self) -> int:
        """Number of items of the dataset."""
        return self.members[0].ranker.n_items

    def ranks_and_lists(self, k: int) -> tuple[list[Ranks], list[RankedLists]]:
        """Rank the targets by each member alone, at least to the depth of validation metrics, and list its k best.

        Raises:
            RunError: a score is not finite.
        """
        with Progress("combine: lists", len(self.queries) * len(self.members), "users") as shown:
            found = [self._ranks_and_lists(member, min(k, self.n_items), shown) for member in self.members]
        return [ranks for ranks, _ in found], [lists for _, lists in found]

    def _ranks_and_lists(self, member: JudgedMember, k: int, shown: Progress) -> tuple[Ranks, RankedLists]:
        ranker, seen, targets = member.ranker, self.queries.earlier, self.queries.targets
        if isinstance(ranker, RanksAndLists):
            return rank_and_list(ranker, seen, targets, k, advance=shown.advance)
        ranks = rank_targets(ranker, seen, targets, depth=VALIDATION_DEPTH)
        return ranks, ranker.lists(excluded_items(seen, targets, "keep"), k, shown.advance)

    def combined_ranks(self, weights: Sequence[float]) -> Ranks:
        """Rank the targets by the weighted sum of the standardised scores, to the depth of validation metrics.

        Raises:
            RunError: a score is not finite.
        """
        product, added = self._combined(weights)
        ranker = product_ranker(product, "torch", self.device, added)
        seen, targets = self.queries.earlier, self.queries.targets
        with Progress("combine: ranking", len(self.queries), "users") as shown:
            return rank_targets(ranker, seen, targets, depth=VALIDATION_DEPTH, advance=shown.advance)

    def _combined(self, weights: Sequence[float]) -> tuple[InnerProduct, AddedScores | None]:
        """The scores of the combination: products of the members side by side, and what is added to them."""
        states, dense, added = list[npt.NDArray[np.float32]](), list[DenseMember](), None
        for member, weight in zip(self.members, weights, strict=True):
            match member:
                case JudgedProducts():
                    dense.append(member.member)
                    states.append(member.member.scores.states(member.states_UD, weight))
                case JudgedPairs():
                    added = member.standard.weighted(weight)
        return InnerProduct(Catalogue.build(joined_vectors(dense)), np.concatenate(states, axis=1)), added


def _drawn(runs: Sequence[Run], config: CombineConfig) -> Queries:
    """The validation queries of at most so many users whom every run represents by what it has learned.

    Raises:
        DataError: there are none.
    """
    queries = _known(runs, held_out_queries(runs[0].dataset, "validation"))
    if len(queries) <= config.fit_users:
        return queries
    drawn = generator(RandomStream.COMBINED_USERS, config.seed).choice(len(queries), config.fit_users, replace=False)
    return queries.take(np.sort(drawn))


def _known(runs: Sequence[Run], queries: Queries) -> Queries:
    """Those of users whom every run represents by what it has learned; says how many others are left out."""
    split, path = runs[0].dataset.split, runs[0].dataset.path
    known = np.logical_and.reduce([trained_users(split, run.config) for run in runs])[queries.users]
    if known.all():
        return queries
    if not known.any():
        raise DataError(
            f"{path}: expected users with a validation target and a training interaction, without which a run has no "
            f"vector for them, found none among {len(queries):,} with a target; leave out runs of --user-tower id"
        )
    logger.info(
        f"combine: {int((~known).sum()):,} of {len(queries):,} users with a validation target have no training "
        "interaction, and a run has no vector for them; they are left out"
    )
    return queries.take(np.flatnonzero(known))
