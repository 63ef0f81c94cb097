"""The validation metrics, one of which selects the best epoch; every target is ranked against the whole catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.random_streams import RandomStream, generator
from tcf.data.histories import Histories, latest
from tcf.data.split import Split, held_out
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.metrics import VALIDATION_DEPTH, VALIDATION_METRICS, means
from tcf.ranking.ranks import rank_targets
from tcf.ranking.scorers import InnerProduct
from tcf.train.model.recommender import Recommender

__all__ = ["Validation"]


@dataclass(frozen=True)
class Validation:
    """The validation queries of a dataset.

    Attributes:
        users: index of each evaluated user.
        inputs: the items that the model reads, by evaluated user.
        seen: all items of an evaluated user before the first target; they are not candidates.
        targets: the validation targets of each evaluated user.
    """

    users: npt.NDArray[np.int64]
    inputs: Histories
    seen: Histories
    targets: Histories

    @staticmethod
    def build(split: Split, positions: int) -> "Validation":
        """Extract the queries from the whole histories.

        Args:
            split: every user's items, and which of them are targets.
            positions: maximum number of items of a history that the model reads.

        Raises:
            DataError: no user has a validation target and an item before it.
        """
        queries = held_out(split, "validation")
        if not len(queries):
            raise DataError(
                f"expected users with a validation target and an item before it, found none among {len(split.starts)} "
                "users, so no best epoch can be selected; prepare the dataset from more interactions"
            )
        return Validation(queries.users, latest(queries.earlier, positions), queries.earlier, queries.targets)

    def sample(self, most: int, seed: int) -> "Validation":
        """The queries of at most this many users, drawn at random by a seed, in the original order."""
        if len(self.users) <= most:
            return self
        return self._take(
            np.sort(generator(RandomStream.VALIDATION_USERS, seed, 0, 0).choice(len(self.users), most, replace=False))
        )

    def among(self, chosen: npt.NDArray[np.bool_]) -> "Validation":
        """The queries of some users.

        Args:
            chosen: (n_users,) which of all users to evaluate.

        Raises:
            DataError: none of them has a query.
        """
        places = np.flatnonzero(chosen[self.users])
        if not len(places):
            raise DataError(
                f"expected validation targets of users with a training item, found {len(self.users)} of others alone; "
                "validate with them (--untrained-users keep), or train with --user-tower history"
            )
        return self if len(places) == len(self.users) else self._take(places)

    def _take(self, places: npt.NDArray[np.int64]) -> "Validation":
        return Validation(
            self.users[places], self.inputs.take(places), self.seen.take(places), self.targets.take(places)
        )

    def measure(self, model: Recommender, device: Literal["cpu", "cuda"]) -> Mapping[str, float]:
        """Rank all targets, and average the metrics.

        Args:
            model: the model to evaluate.
            device: where FAISS searches.

        Returns:
            The mean of each of `tcf.ranking.metrics.VALIDATION_METRICS`, by name.

        Raises:
            RunError: a vector or a state is not finite.
        """
        vectors_ND = model.item_vectors()
        states_UD = model.user_states(self.users, self.inputs, vectors_ND)
        ranker = FaissRanker(InnerProduct(Catalogue.build(vectors_ND.cpu().numpy()), states_UD), device)
        return means(rank_targets(ranker, self.seen, self.targets, depth=VALIDATION_DEPTH), VALIDATION_METRICS)
