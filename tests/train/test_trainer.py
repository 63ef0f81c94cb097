import math
from typing import Any

import numpy as np
import pytest
import torch

from small.train.runs import csr, walks
from tcf.config.train import TrainConfig
from tcf.data.dataset import Histories
from tcf.data.split import leave_one_out
from tcf.train import trainer
from tcf.train.assemble import batch_rows, feed_of
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.losses import build_loss
from tcf.train.model.build import build_model
from tcf.train.validation import Validation

DEVICE = torch.device("cpu")


def trainer_of(**settings: Any) -> trainer.Trainer:
    """A trainer of the walks by ids."""
    usual: dict[str, Any] = {"items": "id", "width": 8, "dropout": 0.0, "devices": "cpu"}
    config = TrainConfig(**(usual | settings))
    data = TrainingData.build(leave_one_out(csr(walks())), 30, config.history)
    rows = batch_rows(config, data)
    loss = build_loss(config, data, rows, DEVICE)
    model = build_model(config, 30, 60, None, DEVICE)
    return trainer.Trainer(model, loss, feed_of(config, rows, None, loss, DEVICE), config, DEVICE)


def test_validation_by_hand() -> None:
    """Twelve items score by their index alone; target 1 of user 0 ranks 8th, target 0 of user 1 ranks 10th."""

    class Constant:
        def item_vectors(self) -> torch.Tensor:
            return torch.arange(12.0)[:, None]

        def user_states(self, users: Any, histories: Any, vectors: torch.Tensor) -> Any:
            assert users.tolist() == [0, 1]
            assert [histories.of(u).tolist() for u in range(2)] == [[10, 11], [5, 6]]
            return np.ones((2, 1), np.float32)

    histories = Histories(np.array([0, 5, 9]), np.array([9, 10, 11, 1, 3, 5, 6, 0, 1], np.int32))
    metrics = Validation.build(leave_one_out(histories), 2).measure(Constant(), "cpu")  # type: ignore[arg-type]
    # User 0 has seen 9, 10 and 11; 2 to 8 are above target 1. User 1 has seen 5 and 6; nine others are above target 0.
    assert metrics["hr@10"] == pytest.approx(1.0)
    assert metrics["ndcg@10"] == pytest.approx((1 / math.log2(9) + 1 / math.log2(11)) / 2)


def test_a_sample_of_the_validation_users() -> None:
    whole = Validation.build(leave_one_out(csr(walks())), 5)
    some = whole.sample(7, seed=3)
    assert len(some.users) == len(some.targets) == 7
    assert some.users.tolist() == sorted({*some.users.tolist()})
    for place, user in enumerate(some.users):
        assert some.targets.of(place).tolist() == whole.targets.of(user).tolist() == walks()[user][-2:-1]
        assert some.seen.of(place).tolist() == walks()[user][:-2]
        assert some.inputs.of(place).tolist() == walks()[user][:-2][-5:]
    assert np.array_equal(whole.sample(7, seed=3).users, some.users)
    assert not np.array_equal(whole.sample(7, seed=4).users, some.users)
    assert whole.sample(60, seed=3) is whole


def test_the_loss_of_an_epoch_is_a_mean_over_targets() -> None:
    """With a learning rate of 0 nothing moves, so every batch can be asked again; the last one is smaller."""
    trainer = trainer_of(learning_rate=0.0, batch_size=25)
    done = trainer.run_epoch(3)
    parts = [fed.batch for fed in trainer.feed.epoch(3)]
    counts = [batch.n_targets for batch in parts]
    assert len(parts) == 3
    assert done.targets == done.measured == sum(counts) == trainer.feed.rows.n_targets
    losses = [trainer.step(batch).item() for batch in parts]
    assert done.loss == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    assert done.loss != pytest.approx(np.mean(losses), rel=1e-6)


def test_a_pass_is_taken_up_in_the_middle() -> None:
    """The same parameters and the same loss to the bit, dropout included, whatever was drawn meanwhile."""
    whole, parts = (trainer_of(dropout=0.3, batch_size=8) for _ in range(2))

    class Enough(Exception):
        pass

    def stop(meter: Any) -> None:
        if meter.steps + len(meter._waiting) == 3:
            meter.look()
            stood.append(meter)
            raise Enough

    stood: list[Any] = []
    with pytest.raises(Enough):
        parts.run_epoch(1, after=stop)
    torch.manual_seed(99)
    rest = parts.run_epoch(1, stood[0])
    done = whole.run_epoch(1)
    assert (rest.loss, rest.targets) == (done.loss, done.targets)
    assert rest.measured < rest.targets
    for mine, other in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_dropout_follows_from_seed_and_step() -> None:
    """With a learning rate of 0, only dropout tells one pass over the same batch from another."""
    trainer = trainer_of(dropout=0.5, learning_rate=0.0)
    batch = next(trainer.feed.epoch(1)).batch
    losses = [trainer.step(batch, None, number).item() for number in (0, 1, 2, 0, 1, 2)]
    assert losses[:3] == losses[3:]
    assert len(set(losses)) == 3
    other = trainer_of(dropout=0.5, learning_rate=0.0, seed=1)
    other.model.load_state_dict(trainer.model.state_dict())
    assert other.step(batch, None, 0).item() != losses[0]


def test_each_step_is_told() -> None:
    trainer = trainer_of(batch_size=25)
    places = []
    trainer.run_epoch(1, after=lambda meter: places.append(meter.steps + len(meter._waiting)))
    assert places == [1, 2, 3]


def test_the_precision_is_that_of_the_settings() -> None:
    """In bfloat16 the loss is another one, nearly the same."""
    losses = []
    for precision in ("auto", "float32", "bfloat16"):
        trainer = trainer_of(precision=precision)
        losses.append(trainer.step(next(trainer.feed.epoch(1)).batch).item())
    assert losses[0] == losses[1] != losses[2]
    assert losses[2] == pytest.approx(losses[1], rel=0.05)
