"""Every evaluated user's list: measured and written.

Shapes: U evaluated users, K places, N items of the dataset.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.units import counted
from tcf.config.evaluate import EvaluateConfig
from tcf.data.dataset import Dataset
from tcf.data.histories import occurrences
from tcf.data.seen import distinct_items
from tcf.data.split import training_histories
from tcf.evaluate.lists.list_table import LISTS_SCHEMA, list_table
from tcf.evaluate.questions import Questions
from tcf.ranking.catalogue import blocks
from tcf.ranking.list_metrics import VectorsOf, coverage, diversity, novelty, popularity
from tcf.ranking.metrics import measured_among
from tcf.ranking.ranked_lists import RankedLists

__all__ = ["LISTS", "LIST_METRICS", "FoundLists", "list_values"]

logger = logging.getLogger(__name__)

LISTS = "lists.parquet"
LIST_METRICS = "list_metrics.parquet"
_ROWS_AT_ONCE = 2**20  # of a list; the ids of a row group are in memory at once


@dataclass(frozen=True)
class FoundLists:
    """The evaluated users' lists, and what was measured of them.

    Attributes:
        lists: the best candidates of every user, by their indices in the dataset.
        values: the value of each metric for every user, (U,).
        coverage: the catalogue coverage at each cutoff, which users have only together.
    """

    lists: RankedLists
    values: Mapping[str, npt.NDArray[np.float64]]
    coverage: Mapping[str, float]

    @staticmethod
    def of(
        found: RankedLists,
        questions: Questions,
        dataset: Dataset,
        config: EvaluateConfig,
        vectors: VectorsOf | None,
    ) -> "FoundLists":
        """Measure every user's list.

        Args:
            found: the lists, of places among `questions.ranked`.
            questions: who is evaluated, and what is ranked.
            dataset: the dataset.
            config: cutoffs and policies.
            vectors: the vectors for diversity; without them it is not measured.

        Raises:
            RunError: a vector of a recommended item is not finite.
        """
        _say_short(found)
        items_UK = np.where(found.items_UK >= 0, questions.ranked.items[found.items_UK], -1).astype(np.int32)
        shares = coverage(items_UK, config.cutoffs, len(questions.ranked)).tolist()
        names = (f"coverage@{k}" for k in config.cutoffs)
        values = list_values(items_UK, dataset, config.cutoffs, vectors)
        return FoundLists(RankedLists(items_UK, found.scores_UK), values, dict(zip(names, shares, strict=True)))

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the users, and the coverage; cutoff by cutoff."""
        found = {**self.coverage, **{name: float(values_U.mean()) for name, values_U in self.values.items()}}
        return {metric.name: found[metric.name] for metric in measured_among(found)}

    def write(self, folder: Path, users: npt.NDArray[np.int64], dataset: Dataset) -> None:
        """Write the lists, and every user's values, with the ids of the raw data.

        Args:
            folder: the folder of both files.
            users: (U,) the users, by their indices in the dataset.
            dataset: the dataset.
        """
        n_users, k = self.lists.items_UK.shape
        # User ids come in runs, items and places again and again; scores hardly do.
        repeated = ["user_id", "place", "item_id"]
        with pq.ParquetWriter(folder / LISTS, LISTS_SCHEMA, use_dictionary=repeated) as writer:
            for rows in blocks(n_users, max(1, _ROWS_AT_ONCE // k)):
                part = RankedLists(self.lists.items_UK[rows], self.lists.scores_UK[rows])
                writer.write_table(list_table(dataset, users[rows], part), row_group_size=_ROWS_AT_ONCE)
        columns = {"user_id": dataset.user_ids.take(pa.array(users)), **self.values}
        pq.write_table(pa.table(columns), folder / LIST_METRICS, row_group_size=_ROWS_AT_ONCE, use_dictionary=False)


def list_values(
    items_UK: npt.NDArray[np.int32], dataset: Dataset, cutoffs: tuple[int, ...], vectors: VectorsOf | None
) -> dict[str, npt.NDArray[np.float64]]:
    """Return what is measured of every user's list, (U,) each, by the metric's name, such as `novelty@10`.

    Args:
        items_UK: each user's items, by their indices in the dataset, best first, padded with -1.
        dataset: the dataset, whose training part says how popular and how new items are.
        cutoffs: the depths, rising.
        vectors: the vectors for diversity; without them it is not measured. Nor is it of a single item.
    """
    split = dataset.split
    users_N = occurrences(distinct_items(training_histories(split)).items, dataset.n_items)
    found = {
        "popularity": popularity(items_UK, cutoffs, dataset.training_interactions),
        "novelty": novelty(items_UK, cutoffs, users_N, int((split.training > 0).sum())),
    }
    values = {f"{kind}@{k}": values_UC[:, c] for kind, values_UC in found.items() for c, k in enumerate(cutoffs)}
    deep = [k for k in cutoffs if k > 1]
    if vectors is not None and deep:
        distances_UC = diversity(items_UK, deep, vectors)
        values |= {f"diversity@{k}": distances_UC[:, c] for c, k in enumerate(deep)}
    return {metric.name: values[metric.name] for metric in measured_among(values)}


def _say_short(lists: RankedLists) -> None:
    """Log how many users have fewer candidates than places."""
    n_users, k = lists.items_UK.shape
    short = int((lists.items_UK[:, -1] < 0).sum())
    if short:
        logger.info(
            f"{short:,} of {counted(n_users, 'evaluated user')} have fewer than {counted(k, 'candidate')}, "
            "so that their lists are shorter"
        )
