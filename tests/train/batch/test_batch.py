"""Batches by hand, and those of devices' parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small.train.losses import training_of
from small.train.runs import csr
from tcf.data.split import leave_one_out
from tcf.train.batch.batch import Batch, row_order
from tcf.train.batch.candidates import AllItems, Candidates, Drawn, OwnItems, PerBatch, PerTarget
from tcf.train.batch.feed import Feed
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.rows import BatchRows
from tcf.train.batch.training_data import TrainingData
from tcf.train.batch.windows import last_windows

CPU = torch.device("cpu")
NOTHING = Drawn(np.zeros(0, np.int64))
DATA = training_of(np.array([2, 5]), [[7, 3, 7], [3, 9]], 10, positions=4)


def test_users_by_hand() -> None:
    batch = Batch.build(last_windows(DATA).choose(np.array([0, 1])), NOTHING, 4, CPU)
    assert batch.users_B.tolist() == [2, 5]
    assert batch.items_U.tolist() == [3, 7, 9]
    assert batch.counts_U.tolist() == [2, 2, 1]
    assert batch.inputs_I.tolist() == [1, 0, 0]
    assert batch.targets_P.tolist() == [0, 1, 2]
    assert batch.rows_P.tolist() == [0, 0, 1]
    assert batch.masked_BK.tolist() == [[1, 0, 1], [0, 2, 2]]
    assert batch.layout.positions_P.tolist() == [2, 3, 3]
    assert batch.layout.rows_P.tolist() == [0, 0, 1]
    assert batch.n_targets == 3


def test_pairs_by_hand() -> None:
    """User 2's last 7 and user 5's 9: item 3 is masked for both, but in the batch only if it is read."""
    batch = Batch.build(PairRows(DATA, reads="nothing").choose(np.array([2, 4])), NOTHING, 4, CPU)
    assert batch.items_U.tolist() == [7, 9]
    assert batch.counts_U.tolist() == [1, 1]
    assert batch.inputs_I.tolist() == []
    assert batch.targets_P.tolist() == [0, 1]
    assert batch.masked_BK.shape == (2, 0)
    batch = Batch.build(PairRows(DATA, reads="all").choose(np.array([2, 4])), NOTHING, 4, CPU)
    assert batch.items_U.tolist() == [3, 7, 9]
    assert batch.counts_U.tolist() == [0, 1, 1]
    assert batch.inputs_I.tolist() == [0, 0]
    assert batch.targets_P.tolist() == [1, 2]
    assert batch.masked_BK.tolist() == [[0], [0]]
    assert batch.rows_P.tolist() == [0, 1]


def test_a_pairs_masked_items_are_those_that_the_batch_holds() -> None:
    """User 2's 3 and user 5's 3 and 9: user 2's 7 is not in the batch; what user 5 lacks to mask is its target."""
    batch = Batch.build(PairRows(DATA, reads="nothing").choose(np.array([1, 3, 4])), NOTHING, 4, CPU)
    assert batch.items_U.tolist() == [3, 9]
    assert batch.counts_U.tolist() == [2, 1]
    assert batch.masked_BK.tolist() == [[0], [1], [0]]


def test_drawn_items_join_the_batch() -> None:
    rows = last_windows(DATA).choose(np.array([1]))
    batch = Batch.build(rows, Drawn(np.array([8, 3, 8])), 4, CPU)
    assert batch.items_U.tolist() == [3, 8, 9]
    assert batch.drawn.tolist() == [1, 0, 1]
    assert batch.counts_U.tolist() == [1, 0, 1]
    batch = Batch.build(rows, Drawn(np.array([[1, 2]])), 4, CPU)
    assert batch.items_U.tolist() == [1, 2, 3, 9]
    assert batch.drawn.tolist() == [[0, 1]]
    batch = Batch.build(rows, Drawn(np.array([3, 7, 8, 9]), constant=True), 4, CPU)
    assert batch.items_U.tolist() == [3, 7, 8, 9]
    assert (batch.inputs_I.tolist(), batch.targets_P.tolist(), batch.drawn.tolist()) == ([0], [3], [])


SEQUENCES = [np.random.default_rng(7).integers(0, 15, n).tolist() for n in (3, 2, 6, 4, 2, 5, 3)]
LARGER = training_of(np.arange(10, 17), SEQUENCES, 15, positions=6)
CANDIDATES = [OwnItems(), AllItems(LARGER.items), PerBatch.build(np.arange(15), np.full(15, 1 / 15), 9)]


@pytest.mark.parametrize("candidates", [*CANDIDATES, PerTarget(16, 3)])
@pytest.mark.parametrize("rows", [last_windows(LARGER), PairRows(LARGER, "all"), PairRows(LARGER, "nothing")])
@pytest.mark.parametrize("parts", [2, 3, 11])
def test_parts_put_together_are_the_whole(rows: BatchRows, candidates: Candidates, parts: int) -> None:
    """The items drawn too: each device draws for the whole batch."""
    feed = Feed(rows, candidates, 6, 7, 3, None, CPU)
    (whole, *_), *others = ([fed.batch for fed in replace(feed, rank_and_size=part).epoch(2)] for part in
                            [(0, 1), *((i, parts) for i in range(parts))])  # fmt: skip
    split = [batches[0] for batches in others]
    for one in split:
        assert torch.equal(one.items_U, whole.items_U) and torch.equal(one.counts_U, whole.counts_U)
        assert one.n_targets == whole.n_targets == len(whole.targets_P)
    for name in ("users_B", "inputs_I", "targets_P"):
        assert torch.equal(torch.cat([getattr(one, name) for one in split]), getattr(whole, name))
    rows_before = np.cumsum([0, *(len(one.users_B) for one in split)])
    shifted = [one.rows_P + int(before) for one, before in zip(split, rows_before, strict=False)]
    assert torch.equal(torch.cat(shifted), whole.rows_P)
    drawn = [one.drawn for one in split]
    expected = [whole.drawn] * parts if whole.drawn.ndim == 1 else [torch.cat(drawn)]
    assert all(map(torch.equal, drawn if whole.drawn.ndim == 1 else [whole.drawn], expected))
    masked = [set(row.tolist()) for one in split for row in one.masked_BK]
    # Shorter rows are filled up with their own target, which is no more masked than without.
    targets = [set(whole.targets_P[whole.rows_P == row].tolist()) for row in range(len(whole.users_B))]
    for mine, row, own in zip(masked, whole.masked_BK, targets, strict=True):
        assert mine | own == set(row.tolist()) | own
    assert sum(len(one.layout.lengths_B) for one in split) == len(whole.layout.lengths_B)
    assert torch.equal(torch.cat([one.layout.positions_P for one in split]), whole.layout.positions_P)


def test_held_out_items_change_nothing_that_training_sees() -> None:
    rng = np.random.default_rng(0)
    kept = [rng.integers(0, 40, n).tolist() for n in rng.integers(1, 12, 30)]
    clean = TrainingData.build(leave_one_out(csr([[*h, 40, 41] for h in kept])), 44, 6)
    poisoned = TrainingData.build(leave_one_out(csr([[*h, 42, 43] for h in kept])), 44, 6)
    assert np.array_equal(clean.counts, poisoned.counts) and not clean.counts[40:].any()
    one, other = (Feed(last_windows(d), AllItems(d.items), 6, 4, 0, None, CPU).epoch(1) for d in (clean, poisoned))
    for a, b in zip(one, other, strict=True):
        assert int(a.batch.items_U.max()) < 40
        for name in ("items_U", "counts_U", "inputs_I", "targets_P", "masked_BK"):
            assert torch.equal(getattr(a.batch, name), getattr(b.batch, name))


@pytest.mark.parametrize("first", [0, 2])
def test_an_epoch_visits_every_user_once(first: int) -> None:
    data = TrainingData.build(leave_one_out(csr([[u, u + 1, 0, 0] for u in range(10)])), 12, 5)
    order = row_order(10, seed=3, epoch=1)
    found = [fed.batch for fed in Feed(last_windows(data), OwnItems(), 5, 4, 3, None, CPU).epoch(1, first)]
    assert [len(batch.users_B) for batch in found] == [4, 4, 2][first:]
    visited = torch.cat([batch.items_U[batch.inputs_I] for batch in found])
    assert visited.tolist() == order.tolist()[4 * first :]
    assert sorted(order.tolist()) == list(range(10))


def test_the_order_follows_from_seed_and_epoch() -> None:
    first = row_order(50, 1, 1)
    assert np.array_equal(first, row_order(50, 1, 1))
    assert not np.array_equal(first, row_order(50, 1, 2))
    assert not np.array_equal(first, row_order(50, 2, 1))
