"""A run's scores of the ranked items for some users, ready to be ranked.

Shapes: B users, D width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories
from tcf.evaluate.combination.combined_run import CombinedRun
from tcf.evaluate.finished_run import FinishedRun
from tcf.ranking.added_scores import AddedScores
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.engines import Engine, product_ranker
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import Ranker
from tcf.ranking.scorers import InnerProduct
from tcf.train.run.open_run import Run

__all__ = ["RunScores"]


@dataclass(frozen=True)
class RunScores:
    """Scores by the inner products of a run or a combination, and what is added to them.

    Attributes:
        run: the run.
        ranked: the items that are ranked.
        catalogue: their vectors.
        engine: what ranks them.
    """

    run: FinishedRun
    ranked: RankedItems
    catalogue: Catalogue
    engine: Engine

    @staticmethod
    def of(run: FinishedRun, ranked: RankedItems, engine: Engine) -> "RunScores":
        """Compute the vectors of the ranked items.

        Raises:
            RunError: one is not finite.
        """
        return RunScores(run, ranked, Catalogue.build(ranked.vectors(run.item_vectors())), engine)

    def ranker(self, states_BD: npt.NDArray[np.float32], histories: Histories) -> Ranker:
        """Return what ranks the items for some users.

        Args:
            states_BD: their states.
            histories: each user's items, oldest first, at least one.

        Raises:
            RunError: a state is not finite.
        """
        product = InnerProduct(self.catalogue, states_BD)
        return product_ranker(product, self.engine, self.run.device, self._added(histories))

    def _added(self, histories: Histories) -> AddedScores | None:
        match self.run:
            case Run():
                return None
            case CombinedRun():
                added = self.run.added_scores(histories)
                return None if added is None else added.among(self.ranked)
