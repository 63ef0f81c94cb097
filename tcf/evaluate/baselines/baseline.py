"""Builds a baseline by its name."""

import numpy as np

from tcf.config.evaluate import Baseline
from tcf.data.split import Queries, Split
from tcf.evaluate.baselines.co_occurrence import CoOccurrence
from tcf.evaluate.baselines.popularity import Popularity
from tcf.evaluate.baselines.random_scores import Random
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import DenseRanker, Ranker

__all__ = ["baseline"]


def baseline(name: Baseline, split: Split, queries: Queries, ranked: RankedItems, *, seed: int = 0) -> Ranker:
    """Build a baseline.

    Args:
        name: the baseline.
        split: all users' histories, of which only the training part is used.
        queries: the evaluated users, and their items before the targets.
        ranked: the items to rank, by their places among them.
        seed: seed of the random scores.
    """
    n_items = len(ranked.places)
    match name:
        case "popularity":
            return Popularity.learn(split, len(queries), n_items).among(ranked)
        case "random":
            return DenseRanker(Random(queries.users, np.arange(n_items), seed).among(ranked))
        case "co-occurrence":
            return CoOccurrence.learn(split, queries.earlier, n_items).among(ranked)
