"""Ranks and lists of the baselines, compared with those among the scores of all items, computed one by one."""

import math
from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.config.evaluate import Baseline
from tcf.data.histories import Histories
from tcf.data.split import Queries, leave_one_out
from tcf.evaluate.baselines import merged_rows, pair_counts, popularity, recent_rows
from tcf.evaluate.baselines.baseline import baseline
from tcf.evaluate.baselines.co_occurrence import CoOccurrence
from tcf.evaluate.baselines.free_places import first_free
from tcf.evaluate.baselines.pair_counts import PairCounts
from tcf.evaluate.baselines.popularity import Popularity
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import Ranker
from tcf.ranking.task import RankingTask

N_USERS, N_ITEMS = 60, 90


def csr(users: list[list[int]]) -> Histories:
    offsets = np.cumsum([0] + [len(user) for user in users]).astype(np.int64)
    return Histories(offsets, np.array([item for user in users for item in user], np.int32))


def drawn(seed: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Histories in which few items are popular and some have no training interaction; targets; excluded items."""
    rng = np.random.default_rng(seed)
    histories = [(rng.random(rng.integers(1, 14)) ** 3 * (N_ITEMS - 5)).astype(int).tolist() for _ in range(N_USERS)]
    targets = [rng.permutation(N_ITEMS)[: rng.integers(0, 4)].tolist() for _ in range(N_USERS)]
    targets = [
        [*dict.fromkeys([*user, *(history[:1] if seed % 2 else [])])]
        for user, history in zip(targets, histories, strict=True)
    ]
    excluded = [
        sorted({*history[: rng.integers(0, 9)], *rng.integers(0, N_ITEMS, rng.integers(0, 30))} - {*user})
        for user, history in zip(targets, histories, strict=True)
    ]
    excluded[3] = sorted({*range(N_ITEMS)} - {*targets[3], 4})
    return histories, targets, [[int(item) for item in user] for user in excluded]


def pair_sums(histories: list[list[int]]) -> Counter[tuple[int, int]]:
    sums = Counter[tuple[int, int]]()
    for history in histories:
        for i, first in enumerate(history):
            for j in range(max(0, i - 5), min(len(history), i + 6)):
                if j != i:
                    sums[first, history[j]] += 60 // abs(i - j)
    return sums


def scores_of(name: str, histories: list[list[int]]) -> npt.NDArray[np.float32]:
    """Scores of all items by definition; the histories are both training parts and what the users have had."""
    if name == "popularity":
        return np.tile(np.bincount(list(chain(*histories)), minlength=N_ITEMS), (N_USERS, 1)).astype(np.float32)
    sums, scores = pair_sums(histories), np.zeros((N_USERS, N_ITEMS))
    for user, history in enumerate(histories):
        for back, first in enumerate(history[:-6:-1], start=1):
            scores[user] += [60 // back * sums[first, second] for second in range(N_ITEMS)]
    return scores.astype(np.float32)


def counts(scores: Any, targets: list[int], candidates: list[int]) -> list[tuple[int, int]]:
    of = {item: scores[item] for item in candidates}
    levels = [of[target] for target in targets]
    return [(sum(s > level for s in of.values()), sum(s == level for s in of.values()) - 1) for level in levels]


def ranker_of(name: Baseline, histories: list[list[int]], ranked: RankedItems) -> Ranker:
    split = leave_one_out(csr([[*history, 0, 0] for history in histories]))
    return baseline(name, split, Queries(np.arange(N_USERS), csr(histories), csr([[0]] * N_USERS)), ranked)


@pytest.fixture(params=["one block", "several blocks", "no main rows"])
def _in_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_rows, "_WORTH", 1000 if request.param == "no main rows" else 12)
    if request.param == "several blocks":
        for module, name in ((recent_rows, "_ENTRIES_AT_ONCE"), (pair_counts, "_PAIRS_AT_ONCE")):
            monkeypatch.setattr(module, name, 300)
        monkeypatch.setattr(popularity, "_USERS_AT_ONCE", 7)


@pytest.mark.usefixtures("_in_blocks")
@pytest.mark.parametrize("name", ["popularity", "co-occurrence"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("catalogue", ["all", "some"])
def test_ranks_and_lists_are_those_among_all_scores(name: Baseline, seed: int, catalogue: str) -> None:
    histories, targets, excluded = drawn(seed)
    items = [item for item in range(N_ITEMS) if catalogue == "all" or (item in chain(*histories) and item % 7 != 2)]
    ranked = RankedItems.where(np.isin(np.arange(N_ITEMS), items))
    place = {item: number for number, item in enumerate(items)}
    targets, excluded = (
        [[place[item] for item in user if item in place] for user in part] for part in (targets, excluded)
    )
    scores = scores_of(name, histories)[:, items]
    candidates = [sorted({*range(len(items))} - {*user}) for user in excluded]
    ranker = ranker_of(name, histories, ranked)
    assert (ranker.n_users, ranker.n_items) == (N_USERS, len(items))

    done: list[int] = []
    greater, equal = ranker.count(RankingTask(csr(targets), csr(excluded)), done.append)
    expected = [counts(scores[user], targets[user], candidates[user]) for user in range(N_USERS)]
    assert list(zip(greater.tolist(), equal.tolist(), strict=True)) == [*chain(*expected)]
    assert sum(done) == N_USERS
    assert sum(equal > 0) > 20

    for k in (1, 5, N_ITEMS + 3):
        lists = ranker.lists(csr(excluded), k)
        for user in range(N_USERS):
            best = sorted(candidates[user], key=lambda item: (-scores[user, item], item))[:k]
            left = k - len(best)
            assert lists.items_UK[user].tolist() == best + [-1] * left
            assert lists.scores_UK[user].tolist() == scores[user, best].tolist() + [-math.inf] * left


def test_ranks_by_hand() -> None:
    # Item 0 was met 3 times, items 1 and 2 twice, 3 once, 4 and 5 never.
    popular = Popularity(3, np.array([3, 2, 2, 1, 0, 0]))
    greater, equal = popular.count(RankingTask(csr([[2], [4, 1], [3]]), csr([[0], [], [1, 4]])))
    assert (greater.tolist(), equal.tolist()) == ([0, 4, 1, 2], [1, 1, 1, 0])
    assert popular.lists(csr([[0], [], [1, 4]]), 3).items_UK.tolist() == [[1, 2, 3], [0, 1, 2], [0, 2, 3]]
    # Items 0 and 1 follow one another twice, 1 and 2 once; all users had item 1 last.
    pairs = PairCounts.learn(csr([[0, 1], [0, 1, 2]]), 5)
    near = CoOccurrence(csr([[1], [1], [1]]), pairs)
    greater, equal = near.count(RankingTask(csr([[2], [2, 4], [3]]), csr([[], [0], [0, 2]])))
    assert (greater.tolist(), equal.tolist()) == ([1, 0, 1, 0], [0, 0, 2, 2])
    assert near.lists(csr([[], [0], [0, 2]]), 3).items_UK.tolist() == [[0, 2, 1], [2, 1, 3], [1, 3, 4]]


def test_scores_are_compared_in_float32() -> None:
    # As a model's scores are: 2^24 and 2^24 + 1 are the same number.
    popular = Popularity(1, np.array([2**24, 2**24 + 1, 5]))
    greater, equal = popular.count(RankingTask(csr([[0]]), csr([[]])))
    assert (greater.tolist(), equal.tolist()) == ([0], [1])
    assert popular.lists(csr([[]]), 3).items_UK.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("main_from", [1, 9])
def test_large_counts_are_added_up_exactly(monkeypatch: pytest.MonkeyPatch, main_from: int) -> None:
    monkeypatch.setattr(recent_rows, "_WORTH", main_from)
    huge = np.array([2**40, 2**40 + 2**17, 1, 7, 9], np.int64)
    pairs = PairCounts(np.array([0, 2, 5, 5]), np.array([0, 1, 0, 1, 2], np.int32), huge, 3)
    ranker = CoOccurrence(csr([[0, 1]]), pairs)  # 30 x the first row and 60 x the second
    lists = ranker.lists(csr([[]]), 3)
    expected = np.array([30 * (2**40 + 2**17) + 420, 30 * 2**40 + 60, 540], np.float32)
    assert (lists.items_UK.tolist(), lists.scores_UK.tolist()) == ([[1, 0, 2]], [expected.tolist()])
    greater, equal = ranker.count(RankingTask(csr([[0, 1, 2]]), csr([[]])))
    assert (greater.tolist(), equal.tolist()) == ([1, 0, 2], [0, 0, 0])


def test_counts_beyond_whole_numbers_of_63_bits_are_refused() -> None:
    pairs = PairCounts(np.array([0, 1]), np.array([0], np.int32), np.array([2**57], np.int64), 1)
    with pytest.raises(RunError, match=r"co-occurrence: expected weighted counts below .* for 1 items, found"):
        CoOccurrence(csr([[0]]), pairs).count(RankingTask(csr([[0]]), csr([[]])))


def test_as_many_users_are_merged_at_once_as_numbers_have_room_for() -> None:
    pairs = PairCounts(np.array([0, 1]), np.array([0], np.int32), np.array([2**40], np.int64), 1000)
    bits = merged_rows.value_bits(pairs)
    most = merged_rows.most_users(pairs, bits)
    assert (most * 1000 - 1) * 2**bits + 137 * 2**40 < 2**63 <= (most * 1000 + 1000) * 2**bits


def test_no_user_has_anything_in_common_with_the_training() -> None:
    ranker = CoOccurrence(csr([[2], [], [0]]), PairCounts.learn(csr([[0], [1]]), 3))
    greater, equal = ranker.count(RankingTask(csr([[1], [0], [2]]), csr([[2], [], [0, 1]])))
    assert (greater.tolist(), equal.tolist()) == ([0, 0, 0], [1, 2, 0])
    assert ranker.lists(csr([[2], [], [0, 1]]), 2).items_UK.tolist() == [[0, 1], [0, 1], [2, -1]]


def test_free_places() -> None:
    rng = np.random.default_rng(0)
    taken = [np.flatnonzero(rng.random(12) < share).tolist() for share in np.linspace(0, 1, 30)]
    found = first_free(csr(taken), 5, 12)
    for places, user in zip(found.tolist(), taken, strict=True):
        free = [place for place in range(12) if place not in user]
        assert places == (free + [-1] * 5)[:5]
