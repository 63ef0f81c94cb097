import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.train.runs import make_cache, make_dataset
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.train.model.build import build_model
from tcf.train.model.recommender import Recommender
from tcf.train.optimizer import Optimizer, rate_factor
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import ItemVectors, load_item_vectors

Floats = npt.NDArray[np.float64]
STEPS = 10


def small(**settings: Any) -> tuple[Recommender, Optimizer]:
    config = TrainConfig(items="id", width=4, blocks=1, dropout=0.0, **settings)
    model = build_model(config, 6, 5, None, torch.device("cpu"))
    return model, Optimizer(model, config, STEPS)


def gradients(model: Recommender, step: int) -> dict[str, Floats]:
    """Set made-up gradients and give them back."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return {name: p.grad.double().numpy() for name, p in model.named_parameters() if p.grad is not None}


def adamw(values: Floats, seen: list[Floats], rates: list[float], decay: float) -> Floats:
    """Loshchilov and Hutter 2019, algorithm 2, with torch's constants."""
    first, second = np.zeros_like(values), np.zeros_like(values)
    for step, (gradient, rate) in enumerate(zip(seen, rates, strict=True), start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        values = values - rate * decay * values
        values = values - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return values


def test_adamw_with_a_group_for_items_by_hand() -> None:
    """Items and the rest have rates and decays of their own; the rates rise over two steps and fall after the epoch."""
    model, optimizer = small(
        learning_rate=0.01, weight_decay=0.5, item_learning_rate=0.03, item_weight_decay=0.0,
        warmup_steps=2, step_factor=0.5,
    )  # fmt: skip
    before = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    seen: dict[str, list[Floats]] = {name: [] for name in before}
    for number in range(14):
        for name, gradient in gradients(model, number).items():
            seen[name].append(gradient)
        optimizer.step(number)
        assert all(parameter.grad is None for parameter in model.parameters())
    # Warm-up takes steps 0 and 1, the first of the schedule's epochs steps 2 to 11.
    factors = [0.5, 1.0, *[1.0] * 10, 0.5, 0.5]
    for name, parameter in model.named_parameters():
        rate, decay = (0.03, 0.0) if name.startswith("items.") else (0.01, 0.5)
        expected = adamw(before[name], seen[name], [rate * factor for factor in factors], decay)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=2e-5, atol=2e-6)


def test_every_parameter_is_in_one_group() -> None:
    model, optimizer = small(item_learning_rate=0.5)
    items, rest = optimizer.adamw.param_groups
    assert [id(p) for p in items["params"]] == [id(p) for p in model.items.parameters()]  # type: ignore[attr-defined]
    everything = sorted(id(p) for group in (items, rest) for p in group["params"])
    assert everything == sorted(id(p) for p in model.parameters())


def test_a_part_without_parameters_has_no_group() -> None:
    config = TrainConfig(items="id", width=4, backbone="dssm", user_tower="history")
    model = build_model(config, 6, 5, None, torch.device("cpu"))
    (group,) = Optimizer(model, config, STEPS).adamw.param_groups
    assert len(group["params"]) == 1


@pytest.mark.parametrize(("most", "scale"), [(2.5, 0.5), (10.0, 1.0), (None, 1.0)])
def test_gradients_are_clipped_together(most: float | None, scale: float) -> None:
    """Their norm over all parameters is 5; AdamW's first moment after one step is a tenth of what it was given."""
    model, optimizer = small(clip_norm=most)
    given = gradients(model, 0)
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in given.values()))
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad *= 5 / norm
    optimizer.step(0)
    for name, parameter in model.named_parameters():
        found = optimizer.adamw.state[parameter]["exp_avg"].numpy()
        np.testing.assert_allclose(found, 0.1 * scale * given[name] * 5 / norm, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {0: 1.0, 1999: 1.0}),
        ({"warmup_steps": 4}, {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0, 4: 1.0, 50: 1.0}),
        ({"step_factor": 0.1}, {0: 1.0, 9: 1.0, 10: 0.1, 19: 0.1, 20: 0.01}),
        ({"step_factor": 0.1, "step_epochs": 3}, {29: 1.0, 30: 0.1, 59: 0.1, 60: 0.01}),
        ({"warmup_steps": 5, "step_factor": 0.5}, {0: 0.2, 4: 1.0, 14: 1.0, 15: 0.5}),
        # Ten epochs of ten steps: half way down at step 50, at a quarter of the way (2 + sqrt 2) / 4.
        ({"schedule": "cosine", "epochs": 10}, {0: 1.0, 25: (2 + 2**0.5) / 4, 50: 0.5, 100: 0.0, 101: 0.0}),
        ({"schedule": "cosine", "epochs": 10, "warmup_steps": 20}, {9: 0.5, 19: 1.0, 20: 1.0, 60: 0.5, 100: 0.0}),
        ({"schedule": "cosine", "epochs": 1, "warmup_steps": 50}, {9: 0.2}),
    ],
)
def test_schedules_by_hand(settings: dict[str, Any], expected: dict[int, float]) -> None:
    config = TrainConfig(**settings)
    assert {step: rate_factor(config, step, STEPS) for step in expected} == pytest.approx(expected, abs=1e-12)


def test_a_warm_up_that_never_ends_is_refused() -> None:
    small(warmup_steps=19, epochs=2)
    with pytest.raises(ConfigError, match=r"--warmup-steps: expected fewer than the 20 steps of --epochs 2, found 20"):
        small(warmup_steps=20, epochs=2)


@pytest.fixture
def vectors(tmp_path: Path) -> ItemVectors:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(6)])
    cache = make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
    return load_item_vectors(ItemSources.find([cache], dataset), torch.device("cpu"))


@pytest.mark.parametrize(
    ("own", "of_ids"),
    [
        ({"id_learning_rate": 0.2, "id_weight_decay": 0.0}, (0.2, 0.0)),
        ({"id_learning_rate": 0.2}, (0.2, 0.3)),  # the rest is that of the item tower
        ({"id_weight_decay": 0.7}, (0.05, 0.7)),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_ids_beside_texts_have_a_rate_and_a_decay_of_their_own(
    vectors: ItemVectors, own: dict[str, Any], of_ids: tuple[float, float], deep: bool
) -> None:
    tower = {"backbone": "dssm", "mlp_layers": 1} if deep else {"blocks": 1}
    shared = {"items": "text+id", "width": 4, "dropout": 0.0, "item_learning_rate": 0.05, "item_weight_decay": 0.3}
    config = TrainConfig(**shared, **tower, **own)  # type: ignore[arg-type]
    model = build_model(config, 6, 5, vectors, torch.device("cpu"))
    optimizer = Optimizer(model, config, STEPS)
    items, rest, ids = optimizer.adamw.param_groups
    assert [p.shape for p in ids["params"]] == [(6, 4)]
    assert len({id(p) for group in (items, rest, ids) for p in group["params"]}) == len([*model.parameters()])
    before = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    seen = gradients(model, 0)
    optimizer.step(0)
    for name, parameter in model.named_parameters():
        usual = (0.05, 0.3) if name.startswith("items.") else (0.001, 0.1)
        rate, decay = of_ids if "ids." in name else usual
        expected = adamw(before[name], [seen[name]], [rate], decay)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=2e-5, atol=2e-6)


def test_ids_beside_texts_without_own_settings_are_of_the_item_tower(vectors: ItemVectors) -> None:
    config = TrainConfig(items="text+id", width=4, id_gate=1.0)
    model = build_model(config, 6, 5, vectors, torch.device("cpu"), counts_N=np.ones(6, np.int64))
    items, rest = Optimizer(model, config, STEPS).adamw.param_groups
    assert [id(p) for p in items["params"]] == [id(p) for p in model.items.parameters()]  # type: ignore[attr-defined]
    assert rest["params"]
