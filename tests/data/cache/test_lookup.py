from pathlib import Path

import numpy as np
import pytest

import tcf.data.cache.lookup as module
from small.data.caches import FACTS, add_text_map, new_cache, new_token_states, sequences_of, shard, token_shard
from small.encoders.models import save_dataset
from small.manifests import reseal
from tcf.common.errors import CacheError
from tcf.data.cache.cache_files import TOKEN_STATES, VECTORS
from tcf.data.cache.lookup import finished_metadata, stored_sequences


@pytest.fixture(params=[1, 3, 2**20], autouse=True)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", request.param)


def test_the_sequences_of_a_cache(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    shard(cache, ["b", "c", "e"], 2)
    stored = stored_sequences(cache, VECTORS, "once")
    assert len(stored) == 4
    assert stored.new(sequences_of(["x", "a", "X", "e", "y"])).tolist() == [0, 4]


def test_no_cache_has_none(tmp_path: Path) -> None:
    for path in (tmp_path / "c", new_cache(tmp_path / "empty")):
        assert len(stored_sequences(path, VECTORS, "once")) == 0


def test_the_sequences_of_token_states(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c")
    token_shard(cache, ["a", "bc"])
    assert stored_sequences(cache, TOKEN_STATES, "once").contains(sequences_of(["bc", "b"])).tolist() == [True, False]
    with pytest.raises(CacheError, match="expected a cache of vectors, found one of token states"):
        stored_sequences(cache, VECTORS, "once")


def test_a_dataset_is_finished_when_every_text_has_its_row(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    dataset = save_dataset(tmp_path / "d", ["a", "B", "b", "c", "d"])
    shard(cache, ["a", "b", "c"], 1)
    assert finished_metadata(cache, dataset, stored_sequences(cache, VECTORS, "once"), "once") is None
    add_text_map(cache, dataset)
    assert finished_metadata(cache, dataset, stored_sequences(cache, VECTORS, "once"), "once") is None
    shard(cache, ["d"], 1)
    assert finished_metadata(cache, dataset, stored_sequences(cache, VECTORS, "once"), "once") == FACTS
    elsewhere = save_dataset(tmp_path / "e", ["a", "B", "b", "c", "d"])
    assert finished_metadata(cache, elsewhere, stored_sequences(cache, VECTORS, "once"), "once") is None


def test_damaged_keys(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a", "b"], 1)
    np.save(folder / "keys.npy", np.zeros((2, 2), np.float64))
    reseal(folder)
    with pytest.raises(CacheError, match=r"expected 2 x 2 uint64, found 2 x 2 float64"):
        stored_sequences(cache, VECTORS, "once")
