"""The best items that users have not had, found with a run's model.

Shapes: B users, K places, M members of a combination.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.config.evaluate import CataloguePolicy
from tcf.data.dataset import Dataset
from tcf.data.histories import Histories
from tcf.data.seen import distinct_items
from tcf.evaluate.combination.combined_run import CombinedRun
from tcf.evaluate.finished_run import FinishedRun
from tcf.evaluate.questions import ranked_items
from tcf.evaluate.run_scores import RunScores
from tcf.ranking.engines import Engine
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import top_k
from tcf.train.run.open_run import Run

__all__ = ["BestItems", "had"]


@dataclass(frozen=True)
class BestItems:
    """Finds the best items for users of a run.

    Attributes:
        scores: the run's scores of the items that may be recommended.
    """

    scores: RunScores

    @staticmethod
    def of(run: FinishedRun, policy: CataloguePolicy, engine: Engine) -> "BestItems":
        """Compute the vectors of the items that may be recommended.

        Raises:
            DataError: there are none.
        """
        return BestItems(RunScores.of(run, ranked_items(run.dataset, policy), engine))

    @property
    def dataset(self) -> Dataset:
        """The run's dataset."""
        return self.scores.run.dataset

    def lists(self, users: npt.NDArray[np.int64], k: int) -> RankedLists:
        """Return each user's k best items, by their indices in the dataset, given the user's whole history.

        Args:
            users: (B,) user indices.
            k: length of a list, which has -1 where a user has no further candidate.
        """
        ranked, histories = self.scores.ranked, self.dataset.histories.take(users)
        ranker = self.scores.ranker(self.scores.run.user_states(users, histories), histories)
        found = top_k(ranker, ranked.of_histories(had(self.dataset, users)), k)
        items_BK = np.where(found.items_UK >= 0, ranked.items[found.items_UK], -1).astype(np.int32)
        return RankedLists(items_BK, found.scores_UK)

    def shares(self, users: npt.NDArray[np.int64], lists: RankedLists) -> npt.NDArray[np.float32] | None:
        """Return each member's part of the scores of users' lists, (B, K, M), of any value where a list has ended.

        Only a combination has members: None for another run.
        """
        run, items_BK = self.scores.run, np.maximum(lists.items_UK, 0)
        match run:
            case Run():
                return None
            case CombinedRun():
                return run.shares(users, self.dataset.histories.take(users), items_BK)


def had(dataset: Dataset, users: npt.NDArray[np.int64]) -> Histories:
    """Return all items that some users have had, distinct and rising: in the kept history or in another way."""
    parts = (dataset.histories, dataset.seen.earlier, dataset.seen.others)
    return distinct_items(*(part.take(users) for part in parts))
