"""Rankers whose scores are written down."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.ranking.catalogue import ScoreRows
from tcf.ranking.ranker import DenseRanker

__all__ = ["ScoreTable", "table_ranker"]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of every item for every user, (U, N); and how many users were asked for at once."""

    table: npt.NDArray[np.float32]
    asked: list[int] = field(default_factory=list)

    @property
    def n_users(self) -> int:
        return len(self.table)

    @property
    def rows(self) -> ScoreRows:
        return ScoreRows.one_each(self.table.shape[1])

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        self.asked.append(len(users))
        return self.table[users]


def table_ranker(scores: Any) -> DenseRanker:
    """A ranker with these scores, (U, N)."""
    return DenseRanker(ScoreTable(np.asarray(scores, np.float32)))
