import numpy as np
import pytest
import torch

from small.train.runs import csr
from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from
from tcf.config.train import TrainConfig
from tcf.data.split import leave_one_out
from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import Drawn
from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.training_data import TrainingData
from tcf.train.model.build import build_model
from tcf.train.model.dssm import MeanOfHistory, UserIds

CPU = torch.device("cpu")
NOTHING = Drawn(np.zeros(0, np.int64))


def layout_of(lengths: list[int], positions: int = 5) -> PackedLayout:
    return PackedLayout.build(offsets_from(np.array(lengths)), positions, CPU)


def test_the_mean_of_a_history_by_hand() -> None:
    tower = MeanOfHistory(5)
    read = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]], requires_grad=True)
    states = tower(read, layout_of([2, 0, 1]), torch.tensor([7, 9, 8]))
    assert states.tolist() == [[2.0, 4.0], [0.0, 0.0], [5.0, 1.0]]
    assert torch.equal(tower.last_states(read, layout_of([2, 0, 1]), torch.tensor([0, 0, 0])), states)
    states.sum().backward()
    assert read.grad is not None
    assert read.grad.tolist() == [[0.5, 0.5], [0.5, 0.5], [1.0, 1.0]]
    assert not list(tower.parameters())


def test_sixteen_bit_vectors_are_added_up_in_float32() -> None:
    """256 + 1 is 256 in bfloat16, however often."""
    read = torch.ones(17, 1, dtype=torch.bfloat16)
    read[0] = 256
    states = MeanOfHistory(17)(read, layout_of([17], 17), torch.tensor([0]))
    assert states.dtype == torch.float32
    assert states.item() == pytest.approx(272 / 17)


def test_nothing_at_all_is_no_error() -> None:
    assert MeanOfHistory(5)(torch.zeros(0, 3), layout_of([]), torch.zeros(0, dtype=torch.int64)).shape == (0, 3)


def test_users_have_an_embedding_each_whatever_they_read() -> None:
    tower = UserIds(4, 3)
    states = tower(torch.randn(3, 3), layout_of([2, 1]), torch.tensor([3, 1]))
    assert torch.equal(states, tower.embedding.weight[[3, 1]])
    assert torch.equal(tower.last_states(torch.zeros(0, 3), layout_of([0, 0]), torch.tensor([3, 1])), states)


def test_a_batch_of_pairs_reads_the_history_without_the_target() -> None:
    """Training parts: 0 1 2 1 of user 0, 3 of user 1 (no target), 4 4 of user 2; of each pair the rest is read."""
    data = TrainingData.build(leave_one_out(csr([[0, 1, 2, 1, 9, 9], [3, 9, 9], [4, 4, 9, 9]])), 10, 20)
    config = TrainConfig(backbone="dssm", user_tower="history", items="id", width=4)
    model = build_model(config, 10, 3, None, CPU)
    vectors = model.item_vectors()
    rows = PairRows(data, reads="all")
    batch = Batch.build(rows.choose(np.arange(len(rows))), NOTHING, config.history, CPU)
    states, items = model(batch)
    expected = [(1, 2, 1), (0, 2), (0, 1, 1), (0, 2), (), ()]
    assert batch.items_U[batch.targets_P].tolist() == [0, 1, 2, 1, 4, 4]
    assert torch.equal(items, vectors[batch.items_U])
    for state, read in zip(states, expected, strict=True):
        mean = vectors[list(read)].mean(dim=0) if read else torch.zeros(4)
        torch.testing.assert_close(state, mean)


def test_known_users_are_served_and_others_refused() -> None:
    config = TrainConfig(backbone="dssm", items="id", width=4)
    model = build_model(config, 10, 3, None, CPU)
    vectors, histories = model.item_vectors(), csr([[1, 2], [3]])
    states = model.user_states(np.array([2, 0]), histories, vectors)
    assert np.array_equal(states, model.backbone.embedding.weight.detach()[[2, 0]])  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"user 3 .*: expected one of the 3 users .* --user-tower history"):
        model.user_states(np.array([0, 3]), histories, vectors)


def test_a_tower_of_histories_serves_anyone() -> None:
    config = TrainConfig(backbone="dssm", user_tower="history", items="id", width=4, history=2)
    model = build_model(config, 10, 3, None, CPU)
    vectors = model.item_vectors()
    states = model.user_states(np.array([50, 0]), csr([[7, 1, 2], [3]]), vectors)
    np.testing.assert_allclose(states, torch.stack([vectors[[1, 2]].mean(dim=0), vectors[3]]), rtol=1e-6)
