import math

import numpy as np
import pytest
import torch
from torch import nn

from small.train.runs import csr
from tcf.common.errors import DataError
from tcf.config.train import TrainConfig
from tcf.train.model import recommender as model_module
from tcf.train.model.build import build_model
from tcf.train.model.recommender import Recommender

CPU = torch.device("cpu")


def build(seed: int = 0, **settings: int) -> Recommender:
    config = TrainConfig(items="id", width=16, history=4, seed=seed, **settings)  # type: ignore[arg-type]
    return build_model(config, 40, 30, None, CPU)


def test_initialisation_is_xavier_normal_with_zero_biases() -> None:
    config = TrainConfig(items="id", width=64, history=50, blocks=1)
    model = build_model(config, 300, 30, None, CPU)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            fan = sum(parameter.shape)
            assert float(parameter.detach().std()) == pytest.approx(math.sqrt(2 / fan), rel=0.05), name
            assert float(parameter.detach().mean()) == pytest.approx(0, abs=0.01), name
            # Normal, not uniform: some values lie beyond two deviations.
            beyond = (parameter.abs() > 2 * math.sqrt(2 / fan)).float().mean()
            assert float(beyond) == pytest.approx(0.0455, abs=0.015), name


def test_initialisation_follows_from_the_seed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    one = build(seed=5)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    other, third = build(seed=5), build(seed=6)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert not torch.equal(one.items.all_item_vectors(), third.items.all_item_vectors())


def test_every_parameter_is_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is handed out full of NaN shows a parameter that was forgotten."""
    to_empty = nn.Module.to_empty

    def filled(self: nn.Module, *, device: str) -> nn.Module:
        to_empty(self, device=device)
        for parameter in self.parameters():
            nn.init.constant_(parameter, math.nan)
        return self

    monkeypatch.setattr(nn.Module, "to_empty", filled)
    assert all(parameter.isfinite().all() for parameter in build().parameters())


def test_user_states_do_not_depend_on_the_other_users(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 40, n).tolist() for n in rng.integers(1, 8, 23)]
    model = build()
    vectors = model.item_vectors()
    users = np.arange(23)
    together = model.user_states(users, csr(histories), vectors)
    assert together.shape == (23, 16) and together.dtype == np.float32
    for user, history in enumerate(histories):
        alone = model.user_states(users[user : user + 1], csr([history]), vectors)
        np.testing.assert_allclose(alone[0], together[user], atol=2e-6)
    monkeypatch.setattr(model_module, "_USERS_AT_ONCE", 4)
    np.testing.assert_allclose(model.user_states(users, csr(histories), vectors), together, atol=2e-6)


def test_only_the_latest_items_are_read() -> None:
    model = build()
    vectors = model.item_vectors()
    user = np.array([3])
    full = model.user_states(user, csr([[9, 8, 7, 1, 2, 3, 4]]), vectors)
    assert np.array_equal(full, model.user_states(user, csr([[1, 2, 3, 4]]), vectors))
    assert not np.allclose(full, model.user_states(user, csr([[2, 3, 4]]), vectors))


def test_states_are_without_dropout_and_the_mode_is_put_back() -> None:
    model = build(dropout=0.5)  # type: ignore[arg-type]
    model.train()
    vectors = model.item_vectors()
    users, histories = np.array([0, 1]), csr([[1, 2, 3], [4]])
    one, other = (model.user_states(users, histories, vectors) for _ in range(2))
    assert np.array_equal(one, other)
    assert model.training
    assert not vectors.requires_grad


def test_a_user_without_items_has_no_state() -> None:
    model = build()
    with pytest.raises(DataError, match=r"history 1 \(counted from 0\): expected at least one item, found none"):
        model.user_states(np.arange(3), csr([[1], [], [2]]), model.item_vectors())
