import numpy as np
import pytest
import torch

from small_runs import csr
from tcf.data.dataset import Histories
from tcf.errors import DataError
from tcf.train.batches import Batch, TrainingData, batches, user_order

CPU = torch.device("cpu")


def as_lists(histories: Histories) -> list[list[int]]:
    return [histories.of(user).tolist() for user in range(len(histories))]


def test_batch_by_hand() -> None:
    batch = Batch.build(csr([[7, 3, 7], [3, 9]]), 4, CPU)
    assert batch.items_U.tolist() == [3, 7, 9]
    assert batch.counts_U.tolist() == [2, 2, 1]
    assert batch.inputs_P.tolist() == [1, 0, 0]
    assert batch.targets_P.tolist() == [0, 1, 2]
    assert batch.sequences_BK.tolist() == [[1, 0, 1], [0, 2, 2]]
    assert batch.layout.positions_P.tolist() == [2, 3, 3]
    assert batch.layout.rows_P.tolist() == [0, 0, 1]


def test_training_data_by_hand() -> None:
    data = TrainingData.build(csr([[0, 1, 2, 3, 4, 5], [1, 2, 0], [1, 0, 3, 4]]), 6, positions=2)
    # Without the last two: [0, 1, 2, 3], [1], [1, 0]; the latest three are used; user 1 has no target.
    assert as_lists(data.sequences) == [[1, 2, 3], [1, 0]]
    assert data.left_out == 1
    # All training items count, whether they are used as inputs or not: 0 twice, 1 three times, 2 and 3 once, of 7.
    np.testing.assert_allclose(np.exp(data.log_popularity), np.array([2, 3, 1, 1, 0, 0]) / 7, rtol=1e-6)


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(DataError, match="no user has two training items"):
        TrainingData.build(csr([[0, 1, 2], [1, 2, 0]]), 3, 5)


def test_held_out_items_change_nothing_that_training_sees() -> None:
    rng = np.random.default_rng(0)
    kept = [rng.integers(0, 40, n).tolist() for n in rng.integers(1, 12, 30)]
    clean = TrainingData.build(csr([[*h, 40, 41] for h in kept]), 44, 6)
    poisoned = TrainingData.build(csr([[*h, 42, 43] for h in kept]), 44, 6)
    assert np.array_equal(clean.log_popularity, poisoned.log_popularity)
    assert np.isneginf(clean.log_popularity[40:]).all()
    order = user_order(len(clean.sequences), 0, 1)
    pairs = zip(batches(clean, order, 4, CPU), batches(poisoned, order, 4, CPU), strict=True)
    for one, other in pairs:
        assert int(one.items_U.max()) < 40
        for name in ("items_U", "counts_U", "inputs_P", "targets_P", "sequences_BK"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_an_epoch_visits_every_user_once() -> None:
    data = TrainingData.build(csr([[u, u + 1, 0, 0] for u in range(10)]), 12, 5)
    order = user_order(10, seed=3, epoch=1)
    found = list(batches(data, order, 4, CPU))
    assert [batch.layout.users for batch in found] == [4, 4, 2]
    visited = torch.cat([batch.items_U[batch.inputs_P] for batch in found])
    assert visited.tolist() == order.tolist()
    assert sorted(order.tolist()) == list(range(10))


def test_the_order_follows_from_seed_and_epoch() -> None:
    first = user_order(50, 1, 1)
    assert np.array_equal(first, user_order(50, 1, 1))
    assert not np.array_equal(first, user_order(50, 1, 2))
    assert not np.array_equal(first, user_order(50, 2, 1))
