import shutil
from pathlib import Path

import numpy as np
import pytest

import tcf.data.cache.prune as module
from small.data.caches import (
    FACTS,
    add_text_map,
    content,
    flip_bit,
    new_cache,
    new_token_states,
    sequences_of,
    shard,
    states_of,
    token_shard,
)
from small.encoders.models import save_dataset
from small.launch.kills import killed_at_rename
from tcf.common.errors import CacheError, RunError
from tcf.common.files import is_published
from tcf.data import Dataset, VectorCache
from tcf.data.cache.caches import TokenStates
from tcf.data.cache.prune import PruneResult, prune

PRUNE = """
from pathlib import Path
from tcf.data.cache.prune import prune
from tcf.data.dataset import open_dataset
folder = Path(sys.argv[1])
prune(folder / "c", [open_dataset(folder / "d")], folder / "out")
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = new_cache(tmp_path / "c")
    shard(path, ["a", "b", "c"], 10)
    shard(path, ["c", "d", "e", "f"], 12)
    add_text_map(path, save_dataset(tmp_path / "all", ["a", "b", "B", "c", "d", "e", "f"]))
    return path


@pytest.fixture
def datasets(tmp_path: Path, cache: Path) -> list[Dataset]:
    """A dataset that the cache knows, and one without a text map."""
    first = save_dataset(tmp_path / "d", ["e", "B", "e", "b", "c"])
    add_text_map(cache, first)
    return [first, save_dataset(tmp_path / "e", ["c", "f", "e"])]


@pytest.mark.parametrize("rows", [1, 2, 8192])
def test_only_what_is_needed_in_the_order_of_items(
    tmp_path: Path, cache: Path, datasets: list[Dataset], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHARD_ROWS", rows)
    before = content(cache)
    assert prune(cache, datasets, tmp_path / "out") == PruneResult("vectors", kept=4, dropped=3, shards=-(-4 // rows))
    assert content(cache) == before
    pruned = VectorCache.open(tmp_path / "out")
    assert pruned.verify().strays == ()
    for dataset, expected in zip(datasets, ([14, 11, 14, 11, 12], [12, 15, 14]), strict=True):
        assert pruned.vectors_for(dataset)[:, 0].tolist() == expected
    assert {known.path: known.metadata for known in pruned.datasets} == {
        datasets[0].path: FACTS,
        datasets[1].path: {"items": 3, "texts": 3, "sequences": 3},
    }
    assert (pruned.manifest, pruned.missing) == (VectorCache.open(cache).manifest, 0)
    if rows == 8192:
        assert (pruned.keys == sequences_of(["e", "b", "c", "f"])).all()


def test_shards_are_cut_by_size_too(
    tmp_path: Path, cache: Path, datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, shards in ((1, 4), (11, 4), (12, 2), (24, 1)):
        monkeypatch.setattr(module, "_SHARD_BYTES", size)  # a vector takes 6
        assert prune(cache, datasets, tmp_path / f"{size}").shards == shards


def test_token_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD_BYTES", 5 * 6)  # five tokens
    cache = new_token_states(tmp_path / "c", storage="bfloat16")
    token_shard(cache, ["abcdefgh", "", "ij"], "bfloat16")
    token_shard(cache, ["k", "lmn", "opqr"], "bfloat16")
    dataset = save_dataset(tmp_path / "d", ["lmn", "ij", "k", "", "abcdefgh"])
    add_text_map(cache, dataset)
    assert prune(cache, [dataset], tmp_path / "out") == PruneResult("token states", kept=5, dropped=1, shards=3)
    pruned = TokenStates.open(tmp_path / "out")
    pruned.verify()
    states, _ = pruned.gather(pruned.rows_for(dataset))
    assert (states == np.concatenate([states_of(text, "bfloat16") for text in dataset.texts.to_pylist()])).all()


def test_what_is_missing_stops_it(tmp_path: Path, cache: Path, datasets: list[Dataset]) -> None:
    more = save_dataset(tmp_path / "more", ["a", "unknown"])
    with pytest.raises(CacheError, match="1 missing, the first is item i1"):
        prune(cache, [*datasets, more], tmp_path / "out")
    with pytest.raises(RunError, match="expected an unused path"):
        prune(cache, datasets, cache)
    assert not (tmp_path / "out").exists()


def test_damage_is_not_passed_on_but_damage_elsewhere_does_no_harm(
    tmp_path: Path, cache: Path, datasets: list[Dataset]
) -> None:
    unused = shard(cache, ["x"], 1)
    flip_bit(unused / "vectors.npy", -1)
    prune(cache, datasets, tmp_path / "1")
    used = shard(cache, ["a", "b", "c"], 10)
    flip_bit(used / "vectors.npy", -1)
    with pytest.raises(CacheError, match=rf"{used}/vectors\.npy: its sha256 differs"):
        prune(cache, datasets, tmp_path / "2")
    assert not (tmp_path / "2").exists()


def test_killed_at_any_rename(tmp_path: Path, cache: Path, datasets: list[Dataset]) -> None:
    prune(cache, datasets[:1], tmp_path / "undisturbed")
    expected, before = content(tmp_path / "undisturbed"), content(cache)
    shutil.rmtree(tmp_path / "undisturbed")
    number = 1
    while killed_at_rename(PRUNE, tmp_path, number):
        assert not is_published(tmp_path / "out")
        assert content(cache) == before
        number += 1
    assert number > 5
    assert content(tmp_path / "out") == expected
    assert not list(tmp_path.rglob(".*.partial-*"))
