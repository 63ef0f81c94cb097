import math
from typing import Any

import numpy as np
import pytest
import torch

from small_runs import csr, walks
from tcf.config import TrainConfig
from tcf.data.dataset import Histories
from tcf.train import loop
from tcf.train.batches import TrainingData, batches, user_order
from tcf.train.model import build_model
from tcf.train.validation import Validation


def test_validation_by_hand() -> None:
    """Twelve items score by their index alone; target 1 of user 0 ranks 8th, target 0 of user 1 ranks 10th."""

    class Constant:
        def item_vectors(self) -> torch.Tensor:
            return torch.arange(12.0)[:, None]

        def user_states(self, histories: Any, vectors: torch.Tensor) -> Any:
            assert [histories.of(u).tolist() for u in range(2)] == [[10, 11], [5, 6]]
            return np.ones((2, 1), np.float32)

    histories = Histories(np.array([0, 5, 9]), np.array([9, 10, 11, 1, 3, 5, 6, 0, 1], np.int32))
    metrics = Validation.build(histories, 2).measure(Constant(), "cpu")  # type: ignore[arg-type]
    # User 0 has seen 9, 10 and 11; 2 to 8 are above target 1. User 1 has seen 5 and 6; nine others are above target 0.
    assert metrics.hr == pytest.approx(1.0)
    assert metrics.ndcg == pytest.approx((1 / math.log2(9) + 1 / math.log2(11)) / 2)


def test_one_step_of_adamw_by_hand() -> None:
    """After one step from zero state, a parameter p with gradient g is p (1 - lr wd) - lr g / (|g| + eps)."""
    config = TrainConfig(items="id", width=8, learning_rate=0.01, weight_decay=0.5, dropout=0.0, device="cpu")
    device = torch.device("cpu")
    data = TrainingData.build(csr(walks()), 30, 20)
    model = build_model(config, 30, None, device)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = loop.Trainer(model, data, config, device)
    trainer.step(next(batches(data, np.arange(16), 16, device)))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        expected = before[name] * (1 - 0.005) - 0.01 * parameter.grad / (parameter.grad.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_an_epoch_is_a_mean_over_targets() -> None:
    """With a learning rate of 0 nothing moves, so every batch can be asked again; the last one is smaller."""
    config = TrainConfig(items="id", width=8, learning_rate=0.0, dropout=0.0, batch_users=25, device="cpu")
    device = torch.device("cpu")
    data = TrainingData.build(csr(walks()), 30, 20)
    trainer = loop.Trainer(build_model(config, 30, None, device), data, config, device)
    done = trainer.run_epoch(3)
    parts = list(batches(data, user_order(len(data.sequences), config.seed, 3), 25, device))
    counts = [len(batch.targets_P) for batch in parts]
    assert done.targets == sum(counts) == int((data.sequences.lengths - 1).sum())
    losses = [trainer.step(batch).item() for batch in parts]
    assert done.loss == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    assert done.loss != pytest.approx(np.mean(losses), rel=1e-6)
