"""Small ranking tasks, and their answers counted item by item from the scores of all items."""

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories
from tcf.data.seen import distinct_items
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.seen_items import without
from tcf.ranking.task import RankingTask

__all__ = ["brute_force", "brute_lists", "copied", "histories_of", "pairs", "random_task", "same", "scores_of"]

F32 = npt.NDArray[np.float32]


def histories_of(users: list[list[int]]) -> Histories:
    return Histories(offsets_from(np.array([len(u) for u in users])), np.array([i for u in users for i in u], np.int32))


def random_task(rng: np.random.Generator, n_users: int, n_items: int, most_targets: int, most_seen: int) -> RankingTask:
    """Some targets of each user, for some none, and excluded items that are no targets."""
    lengths = rng.integers(0, min(most_targets, n_items) + 1, n_users)
    targets = histories_of([rng.permutation(n_items)[:n].tolist() for n in lengths])
    seen = histories_of([rng.integers(0, n_items, n).tolist() for n in rng.integers(0, most_seen + 1, n_users)])
    return RankingTask(targets, without(distinct_items(seen), targets))


def scores_of(vectors: F32, states: F32) -> npt.NDArray[np.float64]:
    return states.astype(np.float64) @ vectors.astype(np.float64).T


def brute_force(scores_UN: npt.NDArray[np.floating], task: RankingTask) -> list[tuple[int, int]]:
    """Greater and equal for every target, one item after the other."""
    counts = []
    for user, scores in enumerate(scores_UN):
        candidates = sorted(set(range(len(scores))) - set(task.excluded.of(user).tolist()))
        for target in task.targets.of(user):
            above = sum(scores[i] > scores[target] for i in candidates)
            counts.append((int(above), int(sum(scores[i] == scores[target] for i in candidates if i != target))))
    return counts


def brute_lists(scores_UN: npt.NDArray[np.floating], excluded: Histories, k: int) -> RankedLists:
    lists = RankedLists.empty(len(scores_UN), k)
    for user, scores in enumerate(scores_UN):
        candidates = sorted(set(range(len(scores))) - set(excluded.of(user).tolist()))
        best = sorted(candidates, key=lambda item: (-scores[item], item))[:k]
        lists.items_UK[user, : len(best)] = best
        lists.scores_UK[user, : len(best)] = scores[best]
    return lists


def pairs(counts: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> list[tuple[int, int]]:
    return [(int(greater), int(equal)) for greater, equal in zip(*counts, strict=True)]


def same(one: RankedLists, other: RankedLists) -> bool:
    return np.array_equal(one.items_UK, other.items_UK) and np.array_equal(one.scores_UK, other.scores_UK)


def copied(rng: np.random.Generator, values: F32) -> F32:
    """Let a third of the items have vectors of others."""
    values[rng.permutation(len(values))[: len(values) // 3]] = values[rng.integers(0, len(values), len(values) // 3)]
    return values
