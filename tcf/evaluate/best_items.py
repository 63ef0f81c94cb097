"""The best items that users have not had, found with a run's model.

Shapes: B users, K places, M ranked items.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.config.evaluate import CataloguePolicy
from tcf.data.dataset import Dataset
from tcf.data.histories import Histories
from tcf.data.seen import distinct_items
from tcf.evaluate.questions import ranked_items
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.engines import Engine, product_ranker
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import top_k
from tcf.ranking.scorers import InnerProduct
from tcf.train.run.open_run import Run

__all__ = ["BestItems", "had", "usual_catalogue"]


@dataclass(frozen=True)
class BestItems:
    """Finds the best items for users of a run.

    Attributes:
        run: the run.
        ranked: the items that may be recommended.
        catalogue: their vectors.
        engine: what ranks them.
    """

    run: Run
    ranked: RankedItems
    catalogue: Catalogue
    engine: Engine

    @staticmethod
    def of(run: Run, policy: CataloguePolicy, engine: Engine) -> "BestItems":
        """Compute the vectors of the items that may be recommended.

        Raises:
            DataError: there are none.
        """
        ranked = ranked_items(run.dataset, policy)
        return BestItems(run, ranked, Catalogue.build(ranked.vectors(run.item_vectors())), engine)

    def lists(self, users: npt.NDArray[np.int64], k: int) -> RankedLists:
        """Return each user's k best items, by their indices in the dataset, given the user's whole history.

        Args:
            users: (B,) user indices.
            k: length of a list, which has -1 where a user has no further candidate.
        """
        states_BD = self.run.user_states(users, self.run.dataset.histories.take(users))
        gone = self.ranked.of_histories(had(self.run.dataset, users))
        ranker = product_ranker(InnerProduct(self.catalogue, states_BD), self.engine, self.run.device)
        found = top_k(ranker, gone, k)
        items_BK = np.where(found.items_UK >= 0, self.ranked.items[found.items_UK], -1).astype(np.int32)
        return RankedLists(items_BK, found.scores_UK)


def had(dataset: Dataset, users: npt.NDArray[np.int64]) -> Histories:
    """Return all items that some users have had, distinct and rising: in the kept history or in another way."""
    parts = (dataset.histories, dataset.seen.earlier, dataset.seen.others)
    return distinct_items(*(part.take(users) for part in parts))


def usual_catalogue(run: Run) -> CataloguePolicy:
    """Which items are recommended by default: without texts, an untrained item's vector is a random one."""
    return "all" if run.config.reads_text else "trained"
