import json
import shutil
from pathlib import Path

import pytest

from small.data.caches import FACTS, IDENTITY, add_text_map, new_cache, shard
from small.encoders.models import save_dataset
from tcf.common.errors import CacheError
from tcf.common.files import MANIFEST
from tcf.common.manifest import read_manifest
from tcf.data import VectorCache
from tcf.data.cache.cache_files import CACHE
from tcf.data.dataset import Dataset, open_dataset


def extracted(cache: Path, dataset: Dataset) -> None:
    shard(cache, dataset.texts.to_pylist(), 1)
    add_text_map(cache, dataset)


def test_the_only_dataset(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    with pytest.raises(CacheError, match=r"found none; name the dataset with --data"):
        VectorCache.open(cache).only_dataset()
    first = save_dataset(tmp_path / "first", ["a"])
    add_text_map(cache, first)
    assert VectorCache.open(cache).only_dataset() == first.path
    add_text_map(cache, save_dataset(tmp_path / "second", ["b"]))
    with pytest.raises(CacheError, match=r"found 2 \(.*/first, .*/second\); name the dataset with --data"):
        VectorCache.open(cache).only_dataset()


def test_a_dataset_that_has_moved_is_found_once_extracted_again(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    first = save_dataset(tmp_path / "old", ["a", "b"])
    extracted(cache, first)
    expected = VectorCache.open(cache).vectors_for(first)
    moved = open_dataset(shutil.move(tmp_path / "old", tmp_path / "new"))
    with pytest.raises(CacheError, match=r"found nothing at .*/old; .* new path with --data"):
        VectorCache.open(cache).only_dataset()
    extracted(cache, moved)
    opened = VectorCache.open(cache)
    assert opened.only_dataset() == moved.path
    assert (opened.vectors_for(moved) == expected).all()
    assert len(opened.text_maps) == 2  # the texts of both places are the same, and held once
    described = {Path(entry["path"]).name: entry["exists"] for entry in opened.describe()["datasets"]}
    assert described == {"old": False, "new": True}


def test_a_dataset_prepared_again_in_its_place(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    extracted(cache, save_dataset(tmp_path / "d", ["a"]))
    shutil.rmtree(tmp_path / "d")
    replacement = save_dataset(tmp_path / "d", ["a", "b"])
    with pytest.raises(CacheError, match=r"found another dataset at .*/d;"):
        VectorCache.open(cache).only_dataset()
    extracted(cache, replacement)
    opened = VectorCache.open(cache)
    assert opened.only_dataset() == replacement.path
    assert [known.path for known in opened.datasets] == [replacement.path, replacement.path]
    assert len(opened.vectors_for(replacement)) == 2


@pytest.mark.parametrize("manifest", [None, "{", '{"format": "other"}'])
def test_a_dataset_that_is_damaged_is_not_there(tmp_path: Path, manifest: str | None) -> None:
    cache = new_cache(tmp_path / "c")
    dataset = save_dataset(tmp_path / "d", ["a"])
    extracted(cache, dataset)
    if manifest is None:
        (dataset.path / MANIFEST).unlink()
    else:
        (dataset.path / MANIFEST).write_text(manifest)
    with pytest.raises(CacheError, match=r"found no readable dataset at .*/d; if the dataset was moved"):
        VectorCache.open(cache).only_dataset()


def test_extracting_again_in_the_same_place_adds_nothing(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    dataset = save_dataset(tmp_path / "d", ["a"])
    add_text_map(cache, dataset)
    add_text_map(cache, dataset)
    assert len(list((cache / "datasets").iterdir())) == 1


def test_known_texts_without_vectors_are_counted(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    assert VectorCache.open(cache).missing == 0
    # Three token sequences, one of them of two texts, in two datasets.
    add_text_map(cache, save_dataset(tmp_path / "d", ["a", "B", "b", "c"]))
    add_text_map(cache, save_dataset(tmp_path / "e", ["c", "b"]))
    assert VectorCache.open(cache).missing == 3
    folder = shard(cache, ["a", "c"], 1)
    assert VectorCache.open(cache).describe()["missing"] == 1
    shard(cache, ["b"], 1)
    assert VectorCache.open(cache).missing == 0
    shutil.rmtree(folder)
    opened = VectorCache.open(cache)
    opened.verify()
    assert opened.missing == 2


def test_describe(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    dataset = save_dataset(tmp_path / "d", ["a", "b"])
    add_text_map(cache, dataset)
    described = VectorCache.open(cache).describe()
    assert json.loads(json.dumps(described)) == described
    assert (described["vectors"], described["shards"], described["bytes"], described["width"]) == (2, 1, 12, 3)
    assert described["encoder"] == {**IDENTITY, "model": "toy"}
    assert described["datasets"] == [
        {"path": str(dataset.path), "exists": True, "fingerprint": dataset.fingerprint, **FACTS}
    ]
    assert described["fingerprint"] == read_manifest(cache, CACHE).fingerprint
