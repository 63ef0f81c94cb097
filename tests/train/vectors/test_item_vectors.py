import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
import torch

from small.train.runs import make_cache, make_dataset, walks
from tcf.common import memory as memory_module
from tcf.common.errors import CacheError, ConfigError
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.train.inputs import Inputs
from tcf.train.model.item_tower import DTL, TextItems
from tcf.train.stage import train
from tcf.train.vectors import cache_rows as sources_module
from tcf.train.vectors import item_vectors as vectors_module
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import ItemVectors, load_item_vectors
from tcf.train.vectors.projection import Projection, Transform

CPU = torch.device("cpu")
TEXTS = ["red", "blue", "red", "green", "blue", "grey", "red"]
TEXT_OF_ITEM = [0, 1, 0, 2, 1, 3, 0]
Table = Literal["auto", "device", "cache"]


def random_vectors(rows: int = 4, width: int = 6, dtype: str = "float16", seed: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(dtype)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    found: Dataset = make_dataset(tmp_path, [[0, 1, 2], [3, 4, 5, 6]], TEXTS)
    return found


def load(caches: list[VectorCache], dataset: Dataset, table: Table = "auto", **more: Any) -> ItemVectors:
    return load_item_vectors(ItemSources.find(caches, dataset), CPU, table=table, **more)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_table_and_memory_map_give_the_same(dtype: str, dataset: Dataset, tmp_path: Path) -> None:
    vectors = random_vectors(dtype=dtype)
    cache = make_cache(tmp_path, dataset, vectors)
    table, mapped = load([cache], dataset, "device"), load([cache], dataset, "cache")
    assert (table.on_device, mapped.on_device) == (True, False)
    assert table.dtype == mapped.dtype == getattr(torch, dtype)
    assert table.width == mapped.width == 6
    items = torch.tensor([6, 1, 0, 5])
    expected = torch.from_numpy(vectors[[0, 1, 0, 3]])
    assert torch.equal(table.of(items), expected)
    assert torch.equal(mapped.of(items), expected)
    assert torch.equal(mapped.read_items(items.numpy()), expected)
    assert torch.equal(torch.cat(list(table.chunks())), torch.cat(list(mapped.chunks())))
    torch.manual_seed(0)
    dtl = DTL(6, 8, 2, 0.0)
    one, other = TextItems(table, dtl), TextItems(mapped, dtl)
    assert torch.equal(one(items), other(items))
    assert torch.equal(one.all_item_vectors(), other.all_item_vectors())
    assert torch.equal(one(items, mapped.of(items)), one(items))


@pytest.mark.parametrize("table", ["device", "cache"])
def test_vectors_of_several_caches_stand_side_by_side(table: Table, dataset: Dataset, tmp_path: Path) -> None:
    """The second encoder reads every text; the first one took green and grey for the same tokens."""
    one, other = random_vectors(), random_vectors(4, 3, "float32", seed=1)
    caches = [make_cache(tmp_path, dataset, one), make_cache(tmp_path, dataset, other, "second", pooling="first")]
    found = load(caches, dataset, table)
    assert (found.width, found.dtype, found.size) == (9, torch.float32, 4 * 9 * 4)
    expected = np.concatenate([one[TEXT_OF_ITEM].astype(np.float32), other[TEXT_OF_ITEM]], axis=1)
    assert np.array_equal(found.of(torch.arange(7)).numpy(), expected)
    assert np.array_equal(torch.cat(list(found.chunks()))[found.rows_N].numpy(), expected)
    swapped = load(caches[::-1], dataset, table)
    assert np.array_equal(swapped.of(torch.tensor([3])).numpy()[0], np.concatenate([other[2], one[2]]))


def test_items_are_one_only_where_all_caches_say_so(tmp_path: Path) -> None:
    """Two caches whose rows coincide for different items; an item is told by its pair of rows."""
    dataset = make_dataset(tmp_path, [[0, 1, 2]], ["a", "b", "c", "d"])
    caches = [make_cache(tmp_path, dataset, random_vectors()) for _ in range(1)]
    found = ItemSources.find(caches * 2, dataset)
    assert found.n_distinct == 4

    class Coarse(VectorCache):
        def rows_for(self, dataset: object) -> npt.NDArray[np.int64]:
            return np.array([2, 2, 0, 2])

    coarse = Coarse(**{name: getattr(caches[0], name) for name in VectorCache.__dataclass_fields__ if name != "kind"})
    assert ItemSources.find([coarse], dataset).rows_N.tolist() == [1, 1, 0, 1]
    both = ItemSources.find([coarse, caches[0]], dataset)
    assert both.n_distinct == 4
    for source, rows in zip(both.sources, (coarse.rows_for(dataset), caches[0].rows_for(dataset)), strict=True):
        assert source.rows_R[both.rows_N].tolist() == rows.tolist()


@pytest.mark.parametrize("table", ["device", "cache"])
def test_each_cache_is_transformed_on_its_own(table: Table, dataset: Dataset, tmp_path: Path) -> None:
    one, other = random_vectors(), random_vectors(4, 3, "float16", seed=1)
    caches = [make_cache(tmp_path, dataset, one), make_cache(tmp_path, dataset, other, "second", pooling="first")]
    projection = Projection(torch.ones(6, dtype=torch.float64), torch.eye(6)[:, :2] * 3)
    found = load(caches, dataset, table, transforms=[Transform(projection, False), Transform(None, True)])
    assert (found.width, found.dtype) == (5, torch.float32)
    right = other.astype(np.float64) / np.linalg.norm(other.astype(np.float64), axis=1, keepdims=True)
    expected = np.concatenate([(one[:, :2].astype(np.float64) - 1) * 3, right], axis=1)[TEXT_OF_ITEM]
    np.testing.assert_allclose(found.of(torch.arange(7)), expected, atol=1e-6)
    np.testing.assert_allclose(torch.cat(list(found.chunks()))[found.rows_N], expected, atol=1e-6)


@pytest.mark.parametrize("table", ["device", "cache"])
def test_parts_change_nothing(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(700)])
    cache = make_cache(tmp_path, dataset, random_vectors(700))
    whole = load([cache], dataset, table, transforms=[Transform(None, True)])
    monkeypatch.setattr(sources_module, "_NUMBERS_AT_ONCE", 1)
    parts = load([cache], dataset, table, transforms=[Transform(None, True)])
    assert [len(chunk) for chunk in parts.chunks()] == [256, 256, 188]
    assert torch.equal(torch.cat(list(parts.chunks())), torch.cat(list(whole.chunks())))
    assert torch.equal(parts.of(torch.arange(700)), whole.of(torch.arange(700)))


def test_where_the_vectors_are(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take 4 * 6 * 2 = 48 bytes as stored, a quarter of 192; projected to 8 numbers of 4 bytes, 128."""
    cache = make_cache(tmp_path, dataset, random_vectors())
    for memory, there in ((192, True), (191, False)):
        monkeypatch.setattr(vectors_module, "installed_memory", lambda memory=memory: memory)
        assert load([cache], dataset).on_device is there
    wide = Transform(Projection(torch.zeros(6, dtype=torch.float64), torch.zeros(6, 8)), False)
    monkeypatch.setattr(vectors_module, "installed_memory", lambda: 128)
    assert not load([cache], dataset, transforms=[wide]).on_device
    assert load([cache], dataset, "device", transforms=[wide]).on_device
    monkeypatch.setattr(vectors_module, "installed_memory", lambda: 127)
    with pytest.raises(ConfigError, match="--table device: expected .* at most 0 MiB, the memory of cpu"):
        load([cache], dataset, "device", transforms=[wide])


@pytest.mark.parametrize(("limit", "there"), [(192, True), (191, False)])
def test_a_container_has_less_than_its_machine(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, there: bool
) -> None:
    """The same 48 bytes, where a control group above this process's has the tightest limit."""
    cache = make_cache(tmp_path, dataset, random_vectors())
    monkeypatch.setattr(memory_module, "_group_limits", lambda: [(2**40, 2**40), (limit, 0), (2**50, 0)])
    assert load([cache], dataset).on_device is there


def test_rows_are_requested_where_they_outgrow_memory(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = random_vectors()
    cache = make_cache(tmp_path, dataset, vectors)
    requests: list[bool] = []
    gather = VectorCache.gather

    def spy(self: VectorCache, rows: npt.NDArray[np.int64], *, request: bool = False) -> npt.NDArray[Any]:
        requests.append(request)
        return gather(self, rows, request=request)

    monkeypatch.setattr(VectorCache, "gather", spy)
    for memory, expected in ((96, False), (95, True)):
        requests.clear()
        monkeypatch.setattr(sources_module, "installed_memory", lambda memory=memory: memory)
        found = load([cache], dataset, "cache").of(torch.tensor([5, 0, 3]))
        assert torch.equal(found, torch.from_numpy(vectors[[3, 0, 2]]))
        assert set(requests) == {expected}


@pytest.mark.parametrize("table", ["device", "cache"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_vector_that_is_not_finite_is_refused(
    table: Table, bad: float, which: int, dataset: Dataset, tmp_path: Path
) -> None:
    both = [random_vectors(), random_vectors(seed=1)]
    both[which][2, 1] = bad
    names = ["first", "second"]
    caches = [make_cache(tmp_path, dataset, both[i], names[i], pooling=names[i]) for i in range(2)]
    with pytest.raises(
        CacheError,
        match=rf"{names[which]}: expected finite .* vector of item i3; run `tcf extract` again with --repair",
    ):
        load(caches, dataset, table)


def test_a_dataset_that_is_not_in_the_cache_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    cache = make_cache(tmp_path, dataset, random_vectors())
    other = make_dataset(tmp_path, [[0, 1, 2]], ["red", "violet", "green"], name="other")
    with pytest.raises(CacheError, match="1 missing, the first is item i1.*run `tcf extract"):
        ItemSources.find([cache], other)


def test_a_cache_named_twice_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    cache = make_cache(tmp_path, dataset, random_vectors())
    copy = make_cache(tmp_path, dataset, random_vectors(), name="copy")
    for paths in ([cache.path, cache.path], [cache.path, copy.path]):
        with pytest.raises(
            ConfigError, match=f"--cache: .* {paths[0]} and {paths[1]}, which hold the same vectors; leave one out"
        ):
            Inputs.open("text", dataset.path, paths)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A dataset to train on, with two caches."""
    dataset = make_dataset(tmp_path, walks(), [f"text {i // 2}" for i in range(30)])
    make_cache(tmp_path, dataset, random_vectors(15, 12))
    make_cache(tmp_path, dataset, random_vectors(15, 5, seed=1) * 100, name="second", pooling="first")
    return tmp_path


SETTINGS: tuple[dict[str, Any], ...] = (
    {"loss": "in-batch"},
    {"loss": "sampled", "negatives": 20, "whiten": 4},
    {"backbone": "dssm", "user_tower": "history", "pca": 5, "normalise": True},
    {"items": "text+id", "loss": "bce", "dropout": 0.3},
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_training_from_the_files_equals_training_from_the_device(settings: dict[str, Any], prepared: Path) -> None:
    """To the bit on a CPU: the same numbers reach the same products; but a projection of other rows rounds anew."""
    caches, models, losses = [prepared / "cache", prepared / "second"], [], []
    for table in ("device", "cache"):
        config = TrainConfig(
            **{"width": 8, "batch_size": 16, "epochs": 2, "devices": "cpu", "table": table, **settings}
        )
        run = train(data=prepared / "data", caches=caches, out=prepared / f"on-{table}", config=config).path
        models.append(safetensors.numpy.load_file(run / "model.safetensors"))
        losses.append([json.loads(line)["loss"] for line in (run / "epochs.jsonl").read_text().splitlines()])
    rounding = 1e-4 if "whiten" in settings or "pca" in settings else 0
    np.testing.assert_allclose(losses[0], losses[1], rtol=rounding)
    for name, values in models[0].items():
        np.testing.assert_allclose(values, models[1][name], atol=10 * rounding, rtol=0, err_msg=name)


def test_a_loss_over_all_items_wants_the_vectors_on_the_device(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--table cache: expected another loss, because --loss full reads every"):
        TrainConfig(loss="full", table="cache")
    monkeypatch.setattr(vectors_module, "installed_memory", lambda: 1)
    config = TrainConfig(loss="full", width=8, devices="cpu")
    with pytest.raises(ConfigError, match="--loss full: expected cached vectors that fit on cpu.* use --loss in-batch"):
        train(data=prepared / "data", caches=[prepared / "cache"], out=prepared / "run", config=config)
    assert not (prepared / "run").exists()


@pytest.mark.parametrize("table", ["device", "cache"])
def test_a_number_that_is_not_finite_is_named_in_any_part(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "_NUMBERS_AT_ONCE", 1)
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(700)])
    vectors = random_vectors(700)
    vectors[600, 5] = np.inf
    cache = make_cache(tmp_path, dataset, vectors)
    place = int(cache.rows_for(dataset)[600])
    assert place >= 256
    with pytest.raises(CacheError, match="in the vector of item i600; "):
        load([cache], dataset, table)
