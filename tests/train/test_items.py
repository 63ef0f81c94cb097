from pathlib import Path

import numpy as np
import pytest
import torch

from small_runs import make_cache, make_dataset
from tcf.data.cache import VectorCache
from tcf.errors import CacheError
from tcf.train.dtl import DTL
from tcf.train.items import IdItems, TextItems
from tcf.train.vectors import load_item_vectors

CPU = torch.device("cpu")
TEXTS = ["red", "blue", "red", "green", "blue", "grey", "red"]
DISTINCT = 4


def random_vectors(rows: int, width: int = 6, dtype: str = "float16") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_table_and_memory_map_give_the_same(dtype: str, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2], [3, 4, 5, 6]], TEXTS)
    vectors = random_vectors(DISTINCT, dtype=dtype)
    cache = make_cache(tmp_path, dataset, vectors)
    table = load_item_vectors(cache, dataset, CPU, resident=True)
    mapped = load_item_vectors(cache, dataset, CPU, resident=False)
    assert table.table_RV is not None and mapped.table_RV is None
    items = torch.tensor([6, 1, 0, 5])
    expected = torch.from_numpy(vectors[[0, 1, 0, 3]])
    assert torch.equal(table.of(items), expected)
    assert torch.equal(mapped.of(items), expected)
    assert torch.equal(torch.cat(list(table.chunks())), torch.cat(list(mapped.chunks())))
    torch.manual_seed(0)
    dtl = DTL(6, 8, 2, 0.0)
    one, other = TextItems(table, dtl), TextItems(mapped, dtl)
    assert torch.equal(one(items), other(items))
    assert torch.equal(one.all_item_vectors(), other.all_item_vectors())
    torch.testing.assert_close(one.all_item_vectors()[items], one(items))
    torch.testing.assert_close(one(items), dtl(expected))


def test_small_tables_are_put_on_the_device(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], TEXTS)
    found = load_item_vectors(make_cache(tmp_path, dataset, random_vectors(DISTINCT)), dataset, CPU)
    assert found.table_RV is not None and found.table_RV.dtype == torch.float16


def test_items_of_equal_text_have_equal_bits(tmp_path: Path) -> None:
    texts = [f"text {i % 37}" for i in range(500)]
    dataset = make_dataset(tmp_path, [[0, 1, 2]], texts)
    vectors = load_item_vectors(make_cache(tmp_path, dataset, random_vectors(37, 33, "float32")), dataset, CPU)
    torch.manual_seed(0)
    found = TextItems(vectors, DTL(33, 65, 2, 0.0)).all_item_vectors()
    assert found.shape == (500, 65)
    for item in range(500):
        assert torch.equal(found[item], found[item % 37])
    assert len(torch.unique(found, dim=0)) == 37


def test_text_vectors_are_no_parameters(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], TEXTS)
    vectors = load_item_vectors(make_cache(tmp_path, dataset, random_vectors(DISTINCT)), dataset, CPU)
    tower = TextItems(vectors, DTL(6, 8, 1, 0.0))
    assert set(tower.state_dict()) == {"dtl.layers.0.weight", "dtl.layers.0.bias"}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(resident: bool, bad: float, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], TEXTS)
    vectors = random_vectors(DISTINCT)
    vectors[2, 1] = bad
    with pytest.raises(CacheError, match=r"vector of item i3; run `tcf cache verify"):
        load_item_vectors(make_cache(tmp_path, dataset, vectors), dataset, CPU, resident=resident)


def test_a_dataset_that_is_not_in_the_cache_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], TEXTS)
    cache = make_cache(tmp_path, dataset, random_vectors(DISTINCT))
    other = make_dataset(tmp_path, [[0, 1, 2]], ["red", "violet", "green"], name="other")
    with pytest.raises(CacheError, match="1 missing, the first is item i1.*run `tcf extract"):
        load_item_vectors(cache, other, CPU)
    assert isinstance(cache, VectorCache)


def test_ids_have_an_embedding_each() -> None:
    tower = IdItems(5, 3)
    assert torch.equal(tower(torch.tensor([4, 0, 4])), tower.embedding.weight[[4, 0, 4]])
    assert torch.equal(tower.all_item_vectors(), tower.embedding.weight)
