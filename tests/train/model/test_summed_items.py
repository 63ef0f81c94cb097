"""Ids beside texts: how they start, how their gate weighs them, and how whole ids are left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from small.train.runs import make_cache, make_dataset
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig, unread_settings
from tcf.train.model.build import build_model
from tcf.train.model.item_tower import DeepItems, IdItems, SummedItems
from tcf.train.model.recommender import Recommender
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import ItemVectors, load_item_vectors

CPU = torch.device("cpu")
COUNTS = np.array([0, 1, 3, 0, 12, 7, 2])
ITEMS = torch.tensor([4, 0, 2, 3, 4])
N, D = 7, 8


@pytest.fixture
def vectors(tmp_path: Path) -> ItemVectors:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(N)])
    cache = make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32))
    return load_item_vectors(ItemSources.find([cache], dataset), CPU)


def built(vectors: ItemVectors | None, first: Tensor | None = None, **settings: Any) -> Recommender:
    config = TrainConfig(**{"items": "text+id", "width": D, "dropout": 0.0, **settings})
    return build_model(config, N, 5, vectors, CPU, counts_N=COUNTS, first_ids_NK=first)


def tower_of(model: Recommender) -> SummedItems:
    tower = model.items.tower if isinstance(model.items, DeepItems) else model.items
    assert isinstance(tower, SummedItems)
    return tower


@pytest.mark.parametrize("constant", [0.0, 4.0])
@pytest.mark.parametrize("deep", [{}, {"backbone": "dssm", "mlp_layers": 1}])
def test_the_gate_by_hand(vectors: ItemVectors, constant: float, deep: dict[str, Any]) -> None:
    """Cold items rest on their texts to the bit, with any constant."""
    tower = tower_of(built(vectors, id_gate=constant, **deep))
    gate = [0 if n == 0 else n / (n + constant) for n in COUNTS.tolist()]
    assert tower.gate_N is not None
    np.testing.assert_allclose(tower.gate_N, gate, rtol=1e-7)
    text, ids = tower.text.all_item_vectors(), tower.ids.embedding.weight.detach().double().numpy()
    expected = text.detach().double().numpy() + np.array(gate)[:, None] * ids
    np.testing.assert_allclose(tower.all_item_vectors().detach(), expected, atol=1e-6)
    np.testing.assert_allclose(tower(ITEMS).detach(), expected[ITEMS], atol=1e-6)
    assert torch.equal(tower.all_item_vectors()[[0, 3]], text[[0, 3]])
    assert torch.equal(tower(ITEMS)[[1, 3]], tower.text(ITEMS)[[1, 3]])
    tower(ITEMS).sum().backward()
    moved = tower.ids.embedding.weight.grad
    assert moved is not None
    np.testing.assert_allclose(moved[:, 0], [0, 0, gate[2], 0, 2 * gate[4], 0, 0], rtol=1e-6)


def test_a_gate_is_saved_and_no_parameter(vectors: ItemVectors) -> None:
    with_gate, without = built(vectors, id_gate=4.0), built(vectors)
    assert set(with_gate.state_dict()) - set(without.state_dict()) == {"items.gate_N"}
    assert dict(with_gate.named_parameters()).keys() == dict(without.named_parameters()).keys()
    for (name, one), (_, other) in zip(with_gate.named_parameters(), without.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    with pytest.raises(ValueError, match="a gate expects how often each item occurs"):
        build_model(TrainConfig(items="text+id", width=D, id_gate=1.0), N, 5, vectors, CPU)


def test_ids_that_start_at_zero_change_nothing_but_themselves(vectors: ItemVectors) -> None:
    model, usual = built(vectors, id_init="zero"), built(vectors)
    tower = tower_of(model)
    assert torch.equal(tower.all_item_vectors(), tower.text.all_item_vectors())
    for (name, one), (_, other) in zip(model.named_parameters(), usual.named_parameters(), strict=True):
        assert torch.equal(one, other) == ("ids" not in name), name
    tower(ITEMS).square().sum().backward()
    assert tower.ids.embedding.weight.grad is not None and tower.ids.embedding.weight.grad[4].all()


@pytest.mark.parametrize("deep", [{}, {"backbone": "dssm", "mlp_layers": 1}])
def test_first_values_take_the_first_numbers_of_each_id(deep: dict[str, Any]) -> None:
    first = torch.arange(3.0 * N).reshape(N, 3)
    model, usual = (built(None, given, items="id", id_init="text", **deep) for given in (first, None))
    [found], [random] = (
        [p for name, p in m.named_parameters() if name.startswith("items") and "embedding" in name]
        for m in (model, usual)
    )
    assert torch.equal(found[:, :3], first) and torch.equal(found[:, 3:], random[:, 3:])


def test_whole_ids_are_left_out_at_the_rate(vectors: ItemVectors) -> None:
    """4,000 draws of a rate of 0.3: three standard deviations are 0.022. What is kept is as it was."""
    tower = tower_of(built(vectors, id_dropout=0.3))
    items = torch.tensor([4, 2] * 2000)
    text, whole = tower.text(items), tower.text(items) + tower.ids(items)
    tower.train()
    torch.manual_seed(0)
    found = tower(items)
    kept, dropped = (found == whole).all(1), (found == text).all(1)
    assert (kept ^ dropped).all()
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.022)
    gradients = torch.autograd.grad(found.sum(), tower.ids.embedding.weight)[0]
    assert gradients[4, 0] == kept[::2].sum() and gradients[2, 0] == kept[1::2].sum()
    tower.eval()
    assert torch.equal(tower(items), whole)


def test_without_dropout_of_ids_nothing_is_drawn(vectors: ItemVectors) -> None:
    tower = tower_of(built(vectors)).train()
    torch.manual_seed(5)
    tower(ITEMS)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id_init": "text"}, "--id-init: expected --items id or text[+]id, found --items text; leave --id-init out"),
        ({"items": "text+id", "id_init": "text"}, r"--id-init text: expected --items id, found --items text\+id"),
        ({"items": "id", "id_init": "zero"}, r"--id-init zero: expected --items text\+id, found --items id; leave"),
        (
            {"items": "text+id", "id_init": "zero", "id_learning_rate": 0.0},
            "--id-init zero: expected ids that learn, found --id-learning-rate 0, with which they stay zero; change",
        ),
        ({"items": "text+id", "id_init": "zero", "item_learning_rate": 0.0}, "found --item-learning-rate 0, with"),
        ({"items": "text+id", "id_init": "zero", "learning_rate": 0.0}, "found --learning-rate 0, with which"),
        ({"items": "id", "id_gate": 3.0}, r"--id-gate: expected --items text\+id, found --items id"),
        ({"items": "id", "id_learning_rate": 3.0}, r"--id-learning-rate: expected --items text\+id"),
        ({"items": "id", "id_weight_decay": 0.0}, r"--id-weight-decay: expected --items text\+id"),
        ({"id_dropout": 0.3}, r"--id-dropout: expected --items text\+id, found --items text"),
        ({"items": "text+id", "id_dropout": 1.0}, "--id-dropout: expected at least 0 and less than 1, found 1.0"),
        ({"items": "text+id", "id_gate": -1.0}, "--id-gate: expected at least 0, found -1.0"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_zeros_may_learn_where_texts_do_not() -> None:
    config = TrainConfig(items="text+id", id_init="zero", item_learning_rate=0.0, id_learning_rate=0.01)
    assert config.id_learning_rate == 0.01


def test_what_nothing_reads_beside_other_items() -> None:
    of_sums = {"id_learning_rate": 0.1, "id_weight_decay": 0.0, "id_gate": 2.0, "id_dropout": 0.1}
    for items, unread in (("text", {*of_sums, "id_init"}), ("id", {*of_sums}), ("text+id", set[str]())):
        assert unread_settings({"items": items, "id_init": "zero", **of_sums}) == unread


def test_ids_need_a_cache_only_to_start_from_it() -> None:
    assert TrainConfig(items="id", id_init="text").needs_cache and not TrainConfig(items="id").needs_cache
    assert TrainConfig().needs_cache and not TrainConfig(items="id", id_init="text").reads_text
    assert isinstance(built(None, items="id").items, IdItems)
