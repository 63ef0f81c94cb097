"""Co-occurrence as added scores, compared with their definition over all items in float64."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.rankings import brute_force, brute_lists, histories_of, pairs, random_task
from tcf.common.errors import RunError
from tcf.data.split import leave_one_out
from tcf.evaluate.baselines import sparse_sums
from tcf.evaluate.baselines.co_occurrence import CoOccurrence
from tcf.evaluate.baselines.co_occurrence_scores import CoOccurrenceScores
from tcf.evaluate.baselines.pair_counts import PairCounts
from tcf.ranking.added_scores import AddedScores
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.engines import product_ranker
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import RanksAndLists
from tcf.ranking.scorers import InnerProduct

F64 = npt.NDArray[np.float64]
N_USERS, N_ITEMS = 40, 60


def drawn(seed: int) -> list[list[int]]:
    """Histories in which few items are popular, some occur never, and items repeat."""
    rng = np.random.default_rng(seed)
    return [(rng.random(rng.integers(0, 14)) ** 3 * (N_ITEMS - 5)).astype(int).tolist() for _ in range(N_USERS)]


def by_definition(training: list[list[int]], earlier: list[list[int]], n_items: int) -> F64:
    """log(1 + c) of all items, (U, N)."""
    together = np.zeros((n_items, n_items))
    for history in training:
        for i, first in enumerate(history):
            for j, second in enumerate(history):
                if 0 < abs(i - j) <= 5:
                    together[first, second] += 1 / abs(i - j)
    scores = np.zeros((len(earlier), n_items))
    for user, history in enumerate(earlier):
        for position, item in enumerate(history[:-6:-1], start=1):
            scores[user] += together[item] / position
    return np.log1p(scores)


def learned(training: list[list[int]], earlier: list[list[int]], n_items: int, weight: float) -> CoOccurrenceScores:
    split = leave_one_out(histories_of([[*history, 0, 0] for history in training]))
    return CoOccurrenceScores.learn(split, histories_of(earlier), n_items, weight=weight)


def dense(scores: AddedScores, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    added = scores.of(users)
    values = np.zeros((len(users), scores.n_items), np.float32)
    assert (np.diff(added.owners * scores.n_items + added.items) > 0).all()
    values[added.owners, added.items] = added.values
    return values


def test_by_hand() -> None:
    # Items 0 and 1 follow one another twice, 0 and 2 are two apart, 1 and 2 follow one another once.
    scores = learned([[0, 1], [0, 1, 2]], [[0], [2, 0], [3], []], 4, weight=10)
    alone = np.array([0, math.log(3), math.log(1.5), 0])
    both = np.array([math.log(1.25), math.log(3.5), math.log(1.5), 0])
    found = dense(scores, np.arange(4))
    assert found[0] == pytest.approx(10 * alone / alone.std())
    assert found[1] == pytest.approx(10 * both / both.std())
    assert not found[2:].any()
    assert (scores.n_users, scores.n_items) == (4, 4)
    assert scores.of(np.arange(4)).offsets.tolist() == [0, 2, 5, 5, 5]


@pytest.mark.parametrize("catalogue", ["all", "some"])
@pytest.mark.parametrize("cells", [1, 200, 1 << 20])
def test_scores_are_standardised_over_the_whole_catalogue_whatever_is_ranked(
    catalogue: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_sums, "_CELLS", cells)
    training, earlier = drawn(0), drawn(1)
    logarithms = by_definition(training, earlier, N_ITEMS)
    deviations = logarithms.std(1, keepdims=True)
    expected = np.divide(-0.05 * logarithms, deviations, out=np.zeros_like(logarithms), where=deviations > 0)
    chosen = np.arange(N_ITEMS) % 3 > 0 if catalogue == "some" else np.ones(N_ITEMS, bool)
    scores = learned(training, earlier, N_ITEMS, -0.05).among(RankedItems.where(chosen))
    users = np.random.default_rng(2).permutation(N_USERS)[:25]
    found = dense(scores, users)
    assert found.dtype == np.float32
    assert np.abs(found - expected[users][:, chosen]).max() < 1e-7
    assert ((found != 0) == (expected[users][:, chosen] != 0)).all()
    assert (dense(scores, users[:1]) == found[:1]).all()  # to the last bit, whatever else is in the block
    items = np.random.default_rng(3).integers(-1, chosen.sum(), (25, 7))
    assert (scores.of(users).at(items) == np.where(items < 0, 0, np.take_along_axis(found, items, 1))).all()


def test_their_order_is_that_of_co_occurrence() -> None:
    # log(1 + c) is so flat nowhere here that different scores meet in float32; equal ones stay equal.
    training, earlier = drawn(4), drawn(5)
    split = leave_one_out(histories_of([[*history, 0, 0] for history in training]))
    nothing = InnerProduct(Catalogue.build(np.eye(N_ITEMS, dtype=np.float32)), np.zeros((N_USERS, N_ITEMS), np.float32))
    ranker = product_ranker(nothing, "torch", torch.device("cpu"), learned(training, earlier, N_ITEMS, 1.0))
    alone = CoOccurrence.learn(split, histories_of(earlier), N_ITEMS)
    task = random_task(np.random.default_rng(6), N_USERS, N_ITEMS, 3, 20)
    assert pairs(ranker.count(task)) == pairs(alone.count(task))
    assert (ranker.lists(task.excluded, 15).items_UK == alone.lists(task.excluded, 15).items_UK).all()


@pytest.mark.parametrize("equal", [False, True])
def test_a_ranking_with_them_is_that_of_an_explicit_ensemble(equal: bool) -> None:
    training, earlier, rng = drawn(7), drawn(8), np.random.default_rng(9)
    vectors = rng.standard_normal((N_ITEMS, 3)).astype(np.float32)
    if equal:
        vectors[10:40] = vectors[rng.integers(0, 10, 30)]
    states = rng.standard_normal((N_USERS, 3)).astype(np.float32)
    logarithms = by_definition(training, earlier, N_ITEMS)
    deviations = logarithms.std(1, keepdims=True)
    part = np.divide(0.5 * logarithms, deviations, out=np.zeros_like(logarithms), where=deviations > 0)
    ensemble = states.astype(np.float64) @ vectors.astype(np.float64).T + part
    close = np.abs(ensemble[:, :, None] - ensemble[:, None]) < 1e-5
    ensemble = np.where(close, ensemble[:, None], np.inf).min(2)  # one number for scores that differ by rounding
    task = random_task(rng, N_USERS, N_ITEMS, 3, 20)
    product = InnerProduct(Catalogue.build(vectors), states)
    ranker = product_ranker(product, "torch", torch.device("cpu"), learned(training, earlier, N_ITEMS, 0.5))
    assert isinstance(ranker, RanksAndLists)
    counts, lists = ranker.count_and_list(task, 20)
    assert pairs(counts) == brute_force(ensemble, task)
    assert (lists.items_UK == brute_lists(ensemble, task.excluded, 20).items_UK).all()


def test_other_users_and_weights_need_no_other_counts() -> None:
    training, earlier = drawn(0), drawn(1)
    scores = learned(training, earlier, N_ITEMS, 1.0)
    users = np.arange(N_USERS)
    assert np.allclose(dense(scores.weighted(3), users), 3 * dense(scores, users))
    others = scores.after(histories_of(drawn(2)[:5]))
    assert others.pairs is scores.pairs
    assert (dense(others, np.arange(5)) == dense(learned(training, drawn(2)[:5], N_ITEMS, 1.0), np.arange(5))).all()


def test_where_all_items_have_the_same_score_nothing_is_added() -> None:
    # All 3 items occur with item 0 as often and as close; 3 times log(1 + 1 / 3 + ...) over 3 is not exactly itself.
    values = PairCounts(np.array([0, 3, 3, 3]), np.array([0, 1, 2], np.int32), np.array([52, 52, 52], np.int32), 3)
    added = CoOccurrenceScores(histories_of([[0]]), values).of(np.arange(1))
    assert added.items.tolist() == [0, 1, 2]
    assert added.values.tolist() == [0, 0, 0]


def test_large_counts_are_added_up_exactly_or_refused() -> None:
    huge = np.array([2**40, 2**40 + 1, 7], np.int64)
    values = PairCounts(np.array([0, 2, 3, 3]), np.array([1, 2, 2], np.int32), huge, 3)
    found = dense(CoOccurrenceScores(histories_of([[1, 0]]), values), np.arange(1))[0]
    expected = np.log1p(np.array([0, 2**40 / 60, (2**40 + 1) / 60 + 7 / 120]))
    assert found == pytest.approx(expected / expected.std(), rel=1e-7)
    beyond = PairCounts(values.offsets, values.columns, np.array([2**56, 1, 1]), 3)
    with pytest.raises(RunError, match="expected weighted counts below"):
        CoOccurrenceScores(histories_of([[0]]), beyond).of(np.arange(1))


def test_no_users() -> None:
    added = learned(drawn(0), drawn(1), N_ITEMS, 1.0).of(np.zeros(0, np.int64))
    assert (len(added), len(added.items), len(added.values)) == (0, 0, 0)
    assert added.offsets.tolist() == [0]
