import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from small.train.runs import make_cache, make_dataset
from tcf.train.model import item_tower as items_module
from tcf.train.model.item_tower import DTL, DeepItems, IdItems, SummedItems, TextItems
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import ItemVectors, load_item_vectors

CPU = torch.device("cpu")
TEXTS = ["red", "blue", "red", "green", "blue", "grey", "red"]
TEXT_OF_ITEM = [0, 1, 0, 2, 1, 3, 0]
ITEMS = torch.tensor([6, 1, 0, 5, 5])


def cached(
    folder: Path, texts: list[str] = TEXTS, width: int = 6, dtype: str = "float16"
) -> tuple[npt.NDArray[Any], ItemVectors]:
    dataset = make_dataset(folder, [[0, 1, 2]], texts)
    vectors = np.random.default_rng(0).normal(size=(len(set(texts)), width)).astype(dtype)
    found = ItemSources.find([make_cache(folder, dataset, vectors)], dataset)
    return vectors, load_item_vectors(found, CPU)


def normal(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def gelu_layer(x: npt.NDArray[np.float64], layer: Any) -> npt.NDArray[np.float64]:
    x = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def test_text_items_by_hand(tmp_path: Path) -> None:
    vectors, found = cached(tmp_path)
    tower = TextItems(found, DTL(6, 8, 1, 0.0))
    normal(tower)
    expected = gelu_layer(vectors[TEXT_OF_ITEM].astype(np.float64), tower.dtl.layers[0])
    np.testing.assert_allclose(tower(ITEMS).detach(), expected[ITEMS], atol=1e-5)
    np.testing.assert_allclose(tower.all_item_vectors().detach(), expected, atol=1e-5)
    assert set(tower.state_dict()) == {"dtl.layers.0.weight", "dtl.layers.0.bias"}


def test_vectors_that_were_read_ahead_are_taken(tmp_path: Path) -> None:
    _, found = cached(tmp_path)
    tower = TextItems(found, DTL(6, 8, 1, 0.0))
    normal(tower)
    both = SummedItems(tower, IdItems(7, 8))
    ahead = torch.randn(5, 6)
    assert torch.equal(tower(ITEMS, ahead), tower.dtl(ahead))
    assert torch.equal(both(ITEMS, ahead), tower.dtl(ahead) + both.ids(ITEMS))
    deep = DeepItems(tower, DTL(8, 8, 1, 0.0))
    assert torch.equal(deep(ITEMS, ahead), deep.layers(tower.dtl(ahead)))


def test_ids_have_an_embedding_each() -> None:
    tower = IdItems(5, 3)
    assert torch.equal(tower(torch.tensor([4, 0, 4])), tower.embedding.weight[[4, 0, 4]])
    assert torch.equal(tower.all_item_vectors(), tower.embedding.weight)
    vectors, places = tower.distinct()
    assert torch.equal(vectors, tower.embedding.weight)
    assert places.tolist() == [0, 1, 2, 3, 4]


def test_text_and_id_are_added(tmp_path: Path) -> None:
    vectors, found = cached(tmp_path)
    tower = SummedItems(TextItems(found, DTL(6, 8, 1, 0.0)), IdItems(7, 8))
    normal(tower)
    expected = gelu_layer(vectors[TEXT_OF_ITEM].astype(np.float64), tower.text.dtl.layers[0])
    expected += tower.ids.embedding.weight.detach().double().numpy()
    np.testing.assert_allclose(tower(ITEMS).detach(), expected[ITEMS], atol=1e-5)
    np.testing.assert_allclose(tower.all_item_vectors().detach(), expected, atol=1e-5)
    all_ND, places = tower.distinct()
    assert torch.equal(all_ND, tower.all_item_vectors()) and places.tolist() == list(range(7))
    tower(ITEMS).sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())


def test_layers_above_a_tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's item tower of DSSM: DTL, then more layers of the same kind."""
    monkeypatch.setattr(items_module, "_ROWS_AT_ONCE", 3)
    vectors, found = cached(tmp_path)
    tower = DeepItems(TextItems(found, DTL(6, 8, 1, 0.0)), DTL(8, 8, 2, 0.0))
    normal(tower)
    expected = vectors[TEXT_OF_ITEM].astype(np.float64)
    for layer in (tower.tower.dtl.layers[0], *tower.layers.layers):  # type: ignore[union-attr,index]
        expected = gelu_layer(expected, layer)
    np.testing.assert_allclose(tower(ITEMS).detach(), expected[ITEMS], atol=1e-4)
    np.testing.assert_allclose(tower.all_item_vectors().detach(), expected, atol=1e-4)
    # Four texts, each once, three at a time: equal items are copies, so that no product can round them apart.
    rows: list[int] = []
    tower.layers.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    tower.all_item_vectors()
    assert rows == [3, 1]
    ids = DeepItems(IdItems(7, 8), DTL(8, 8, 1, 0.0))
    assert torch.allclose(ids.all_item_vectors(), ids.layers(ids.tower.embedding.weight))  # type: ignore[union-attr]


@pytest.mark.parametrize("deep", [False, True])
def test_items_of_equal_text_have_equal_bits(deep: bool, tmp_path: Path) -> None:
    """Widths that are no multiples of a vector unit, where products of equal rows may round in unequal ways."""
    _, vectors = cached(tmp_path, [f"text {i % 37}" for i in range(500)], 33, "float32")
    torch.manual_seed(0)
    text = TextItems(vectors, DTL(33, 65, 2, 0.0))
    found = (DeepItems(text, DTL(65, 65, 1, 0.0)) if deep else text).all_item_vectors()
    assert found.shape == (500, 65)
    for item in range(500):
        assert torch.equal(found[item], found[item % 37])
    assert len(torch.unique(found, dim=0)) == 37
