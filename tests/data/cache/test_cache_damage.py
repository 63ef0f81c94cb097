import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.data.caches import add_text_map, flip_bit, new_cache, sequences_of, shard
from small.encoders.models import edit_json, save_dataset
from small.manifests import reseal
from tcf.common.errors import CacheError
from tcf.common.files import MANIFEST
from tcf.data import VectorCache
from tcf.data.cache.writer import write_shard


@pytest.mark.parametrize("keep", [0, 10, 128, -1])
def test_a_truncated_file_of_vectors(tmp_path: Path, keep: int) -> None:
    cache = new_cache(tmp_path / "c")
    file = shard(cache, ["a", "b"], 1) / "vectors.npy"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        CacheError,
        match=rf"{file}: expected a readable .* run .* --repair, which makes {file.parent} anew",
    ):
        VectorCache.open(cache)


def test_a_missing_file_of_vectors(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    (shard(cache, ["a", "b"], 1) / "vectors.npy").unlink()
    with pytest.raises(CacheError, match=r"vectors\.npy: expected a readable"):
        VectorCache.open(cache)


def test_bytes_after_the_vectors_are_found_by_verify(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    file = shard(cache, ["a", "b"], 1) / "vectors.npy"
    file.write_bytes(file.read_bytes() + b"xyz")
    with pytest.raises(CacheError, match=r"expected 140 bytes, found 143"):
        VectorCache.open(cache).verify()


@pytest.mark.parametrize(
    ("vectors", "found"),
    [
        (np.zeros((2, 3), np.float32), r"expected 2 x 3 float16, found 2 x 3 float32"),
        (np.zeros((2, 4), np.float16), r"expected 2 x 3 float16, found 2 x 4 float16"),
        (np.zeros((1, 3), np.float16), r"expected 2 x 3 float16, found 1 x 3 float16"),
    ],
)
def test_vectors_of_another_form(tmp_path: Path, vectors: np.ndarray[Any, Any], found: str) -> None:
    cache = new_cache(tmp_path / "c")
    np.save(shard(cache, ["a", "b"], 1) / "vectors.npy", vectors)
    with pytest.raises(CacheError, match=found):
        VectorCache.open(cache)


@pytest.mark.parametrize("table", [np.zeros((3, 2), np.uint64), np.zeros((2, 2), np.int64), np.zeros(2, np.uint64)])
def test_keys_of_another_form(tmp_path: Path, table: np.ndarray[Any, Any]) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a", "b"], 1)
    np.save(folder / "keys.npy", table)
    reseal(folder)
    with pytest.raises(CacheError, match=r"keys\.npy: expected 2 x 2 uint64, found"):
        _ = VectorCache.open(cache).keys


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a"], 1)
    for name in ("keys.npy", "vectors.npy"):
        original = (folder / name).read_bytes()
        np.save(folder / name, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
        reseal(folder)
        with pytest.raises(CacheError, match=rf"{name}: expected a readable"):
            _ = VectorCache.open(cache).keys
        (folder / name).write_bytes(original)


@pytest.mark.parametrize("name", ["vectors.npy", "keys.npy", "texts.npy"])
def test_verify_finds_a_flipped_bit_anywhere(tmp_path: Path, name: str) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    add_text_map(cache, save_dataset(tmp_path / "d", ["a", "b"]))
    VectorCache.open(cache).verify()
    (file,) = cache.rglob(name)
    original = file.read_bytes()
    for position in range(len(original)):
        flip_bit(file, position)
        with pytest.raises(CacheError):
            VectorCache.open(cache).verify()
        file.write_bytes(original)
    VectorCache.open(cache).verify()


def test_verify_finds_settings_that_were_edited(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    content = json.loads((cache / MANIFEST).read_text())
    reseal(cache, config={**content["config"], "pooling": "first"})
    with pytest.raises(CacheError, match="does not match its fingerprint"):
        VectorCache.open(cache).verify()


def test_verify_finds_a_shard_listed_but_gone(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a"], 1)
    opened = VectorCache.open(cache)
    (folder / "keys.npy").unlink()
    with pytest.raises(CacheError, match=r"keys\.npy: expected a file, as .* lists it, found none"):
        opened.verify()


def test_verify_finds_numbers_that_are_not_finite(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    write_shard(cache, sequences_of(["a"]), np.array([[1, np.inf, 2]], np.float16))
    with pytest.raises(CacheError, match="not finite"):
        VectorCache.open(cache).verify()


def test_verify_while_shards_are_still_coming(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a"], 1)
    opened = VectorCache.open(cache)
    shard(cache, ["b"], 1)
    opened.verify()


def test_a_shard_of_another_encoder_is_refused(tmp_path: Path) -> None:
    cache, other = new_cache(tmp_path / "c"), new_cache(tmp_path / "other", pooling="first")
    moved = shard(other, ["a"], 1)
    moved.rename(cache / "shards" / moved.name)
    with pytest.raises(CacheError, match="found one of another encoder"):
        VectorCache.open(cache)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    edit_json(cache / MANIFEST, version=2)
    with pytest.raises(CacheError, match="expected version 1 of tcf-cache, found 2"):
        VectorCache.open(cache)
