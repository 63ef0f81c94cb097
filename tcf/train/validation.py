"""The metrics that choose the best epoch: the whole catalogue is ranked for every user's validation target."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.data.dataset import Histories
from tcf.data.split import held_out, latest
from tcf.errors import DataError
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.metrics import summary
from tcf.ranking.ranks import rank_targets
from tcf.ranking.scorers import InnerProduct
from tcf.train.model import Recommender

__all__ = ["Metrics", "Validation"]

_DEPTH = 10
_FEWEST = 3


@dataclass(frozen=True)
class Metrics:
    """Means over the users.

    Attributes:
        hr: HR@10, a fraction.
        ndcg: NDCG@10.
    """

    hr: float
    ndcg: float


@dataclass(frozen=True)
class Validation:
    """The validation questions of a dataset.

    Attributes:
        users: index of each user who is asked about.
        inputs: the items that the model reads, by user.
        seen: all of a user's training items; they are no candidates.
        targets: the validation target of each user, (n_users,).
    """

    users: npt.NDArray[np.int64]
    inputs: Histories
    seen: Histories
    targets: npt.NDArray[np.int64]

    @staticmethod
    def build(histories: Histories, positions: int) -> "Validation":
        """Cut the questions out of the whole histories.

        Args:
            histories: every user's items, held-out ones included.
            positions: items of a history that the model reads.

        Raises:
            DataError: a user has fewer than three items.
        """
        short = np.flatnonzero(histories.lengths < _FEWEST)
        if len(short):
            raise DataError(
                f"expected {_FEWEST} items or more a user, found {histories.lengths[short[0]]} of user {short[0]} "
                f"(counted from 0; {len(short)} such users); prepare the dataset anew"
            )
        queries = held_out(histories, "validation")
        users = np.arange(len(histories))
        return Validation(users, latest(queries.earlier, positions), queries.earlier, queries.targets)

    def sample(self, most: int, seed: int) -> "Validation":
        """The questions of so many users at most, drawn by a seed, in the order of all."""
        if len(self.users) <= most:
            return self
        chosen = np.sort(np.random.default_rng([seed, 0, 0, 2]).choice(len(self.users), most, replace=False))
        return Validation(self.users[chosen], self.inputs.take(chosen), self.seen.take(chosen), self.targets[chosen])

    def measure(self, model: Recommender, device: Literal["cpu", "cuda"]) -> Metrics:
        """Rank all targets and take the means.

        Args:
            model: what to measure.
            device: where FAISS searches.

        Raises:
            RunError: a vector or a state is not finite.
        """
        vectors_ND = model.item_vectors()
        states_UD = model.user_states(self.users, self.inputs, vectors_ND)
        scorer = InnerProduct(Catalogue.build(vectors_ND.cpu().numpy()), states_UD, device)
        means = summary(rank_targets(scorer, self.seen, self.targets, depth=_DEPTH), _DEPTH)
        return Metrics(means[f"hr@{_DEPTH}"], means[f"ndcg@{_DEPTH}"])
