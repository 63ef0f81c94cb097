"""Shards are compared with their manifests when they are first read: each once, and only those that are read."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.data.caches import (
    FACTS,
    add_text_map,
    flip_bit,
    new_cache,
    new_token_states,
    sequences_of,
    shard,
    token_shard,
)
from small.encoders.models import save_dataset
from tcf.common.errors import CacheError
from tcf.common.files import MANIFEST
from tcf.common.integrity import checksums as checksums_module
from tcf.common.integrity.checksums import SMALL, memory
from tcf.common.integrity.sealed_json import sealed_json, unsealed_json
from tcf.data.cache import shard_checks as module
from tcf.data.cache.cache_files import VECTORS
from tcf.data.cache.caches import TokenStates, VectorCache
from tcf.data.cache.lookup import finished_metadata, stored_sequences, verify_stored
from tcf.data.cache.text_maps import write_text_map


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small shards that have just been written count as large, old ones, and their checksums are kept."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(checksums_module, "_FRESH", -1e9)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read for their checksums."""
    files: list[Path] = []
    plain = checksums_module._Reader._sha256

    def reading(self: Any, number: int) -> str:
        files.append(self._files[number])
        return plain(self, number)

    monkeypatch.setattr(checksums_module._Reader, "_sha256", reading)
    return files


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = new_cache(tmp_path / "c")
    for number, texts in enumerate((["a", "b"], ["c"], ["d", "e"])):
        shard(path, texts, number)
    return path


def remembered_of(file: Path) -> str:
    """The checksum that this machine remembers of a file."""
    return str(unsealed_json(checksums_module._Mark.of(file).place(memory()).read_bytes())["sha256"])


def remember(file: Path, checksum: str) -> None:
    """Let this machine remember a checksum of a file as it is now."""
    mark = checksums_module._Mark.of(file)
    mark.place(memory()).write_text(sealed_json({**mark.as_json(), "sha256": checksum}))


def test_a_flip_is_named_when_a_row_of_its_shard_is_read_and_not_before(cache: Path) -> None:
    opened = VectorCache.open(cache)
    damaged = opened.folders[1] / "vectors.npy"
    flip_bit(damaged, damaged.stat().st_size - 1)
    rows = np.arange(opened.n_rows)
    inside = opened.shards_of(rows).index(1)
    whole = np.delete(rows, np.arange(opened.starts[inside], opened.starts[inside + 1]))
    reopened = VectorCache.open(cache)
    reopened.gather(whole)
    words = rf"{damaged}: its sha256 differs .*; run `tcf extract` again with --repair, which makes {damaged.parent}"
    for reading in (lambda: reopened.gather(rows), lambda: reopened.verify_rows(rows)):
        with pytest.raises(CacheError, match=words):
            reading()


def test_a_flip_in_token_states_and_their_offsets(tmp_path: Path) -> None:
    folder = token_shard(new_token_states(tmp_path / "c"), ["abc", "de"])
    states = folder / "states.npy"
    flip_bit(states, states.stat().st_size - 1)
    with pytest.raises(CacheError, match=rf"{states}: its sha256 differs"):
        TokenStates.open(tmp_path / "c").gather(np.array([1]))
    flip_bit(states, states.stat().st_size - 1)
    flip_bit(folder / "offsets.npy", 20)  # in the header, where NumPy would not notice it
    with pytest.raises(CacheError, match=r"offsets\.npy: its sha256 differs"):
        TokenStates.open(tmp_path / "c")


@pytest.mark.parametrize(("name", "opened"), [("keys.npy", "keys"), ("texts.npy", "text_maps")])
def test_a_flip_in_keys(cache: Path, tmp_path: Path, name: str, opened: str) -> None:
    add_text_map(cache, save_dataset(tmp_path / "d", ["a", "b"]))
    file = sorted(cache.rglob(name))[0]
    flip_bit(file, file.stat().st_size - 1)
    with pytest.raises(CacheError, match=rf"{file}: its sha256 differs"):
        getattr(VectorCache.open(cache), opened)


@pytest.mark.usefixtures("remembered")
def test_a_shard_is_read_once_by_each_machine(cache: Path, read: list[Path]) -> None:
    for _ in range(2):
        opened = VectorCache.open(cache)
        for _ in range(2):
            opened.gather(np.arange(2))
            opened.gather(np.arange(opened.n_rows))
    assert sorted(read) == [folder / "vectors.npy" for folder in opened.folders]
    VectorCache.open(cache, verify="always").gather(np.arange(2))
    touched = opened.shards_of(np.arange(2))
    assert sorted(read[3:]) == [opened.folders[number] / "vectors.npy" for number in touched]


@pytest.mark.usefixtures("remembered")
def test_a_flip_that_leaves_all_times_is_found_by_always_alone(cache: Path) -> None:
    """Programs cannot set the time of a change, so what this machine remembers is set instead."""
    opened = VectorCache.open(cache)
    rows = np.arange(opened.n_rows)
    opened.verify_rows(rows)
    damaged = opened.folders[0] / "vectors.npy"
    before = remembered_of(damaged)
    flip_bit(damaged, damaged.stat().st_size - 1)
    with pytest.raises(CacheError, match="its sha256 differs"):
        VectorCache.open(cache).verify_rows(rows)
    remember(damaged, before)
    VectorCache.open(cache, verify="once").verify_rows(rows)  # the known limit
    with pytest.raises(CacheError, match=rf"{damaged}: its sha256 differs"):
        VectorCache.open(cache, verify="always").verify_rows(rows)


@pytest.mark.usefixtures("remembered")
def test_such_a_flip_in_a_large_text_map_is_found_by_an_extraction_that_finds_all_there(
    cache: Path, tmp_path: Path
) -> None:
    texts = np.arange(SMALL // 16, dtype=np.uint64).reshape(-1, 2)  # 16 bytes for a text, as many for its tokens
    dataset = save_dataset(tmp_path / "d", ["a"])
    write_text_map(cache, dataset, texts=texts, sequences=sequences_of(["a"]).repeat(len(texts), 0), metadata=FACTS)
    verify_stored(cache, dataset, VECTORS, "always")
    [damaged] = cache.rglob("texts.npy")
    before = remembered_of(damaged)
    flip_bit(damaged, damaged.stat().st_size - 32)
    remember(damaged, before)
    stored = stored_sequences(cache, VECTORS, "always")
    assert finished_metadata(cache, dataset, stored, "once") == FACTS  # the known limit
    verify_stored(cache, dataset, VECTORS, "once")
    with pytest.raises(CacheError, match=rf"{damaged}: its sha256 differs"):
        finished_metadata(cache, dataset, stored, "always")
    with pytest.raises(CacheError, match=rf"{damaged}: its sha256 differs"):
        verify_stored(cache, dataset, VECTORS, "always")


def test_threads_that_touch_the_same_shard_read_it_once(cache: Path, read: list[Path]) -> None:
    opened = VectorCache.open(cache)
    with ThreadPoolExecutor(8) as pool:
        [*pool.map(lambda _: opened.gather(np.arange(opened.n_rows)), range(16))]
    assert sorted(read) == [folder / "vectors.npy" for folder in opened.folders]


@pytest.mark.parametrize("name", ["shards", "datasets"])
def test_a_part_that_lost_its_manifest_is_damage(cache: Path, tmp_path: Path, name: str) -> None:
    add_text_map(cache, save_dataset(tmp_path / "d", ["a", "b"]))
    folder = sorted((cache / name).iterdir())[0]
    (folder / MANIFEST).unlink()
    with pytest.raises(CacheError, match=rf"{folder}/manifest\.json: expected a file, found none; run .* --repair"):
        VectorCache.open(cache)
