"""What verifying a cache finds beyond damaged arrays: manifests, names, and files that do not belong there."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import tcf.data.cache.verify as module
from small.data.caches import (
    add_text_map,
    flip_bit,
    keys_of,
    new_cache,
    new_token_states,
    sequences_of,
    shard,
    token_shard,
)
from small.encoders.models import edit_json, save_dataset
from tcf.common.errors import CacheError
from tcf.common.files import MANIFEST
from tcf.data import VectorCache
from tcf.data.cache.caches import open_cache
from tcf.data.cache.shard_leases import lease
from tcf.data.cache.writer import shard_path, write_shard


@pytest.fixture(params=["vectors", "token states"])
def cache(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == "vectors":
        path = new_cache(tmp_path / "c")
        shard(path, ["a", "b"], 1)
        shard(path, ["c"], 1)
    else:
        path = new_token_states(tmp_path / "c")
        token_shard(path, ["a", "b"])
        token_shard(path, ["c"])
    add_text_map(path, save_dataset(tmp_path / "d", ["a", "b"]))
    return path


def test_what_was_looked_at(cache: Path) -> None:
    verified = open_cache(cache).verify()
    size = sum(file.stat().st_size for file in cache.rglob("*.npy"))
    assert (verified.shards, verified.rows, verified.bytes, verified.strays) == (2, 3, size, ())


@pytest.mark.parametrize("which", [MANIFEST, "shards/*/manifest.json", "datasets/*/manifest.json"])
def test_a_flipped_bit_anywhere_in_a_manifest(cache: Path, which: str) -> None:
    file = sorted(cache.glob(which))[0]
    original = file.read_bytes()
    for position in range(0, len(original), 29):
        flip_bit(file, position)
        with pytest.raises(CacheError):
            open_cache(cache).verify()
        file.write_bytes(original)
    open_cache(cache).verify()


@pytest.mark.parametrize(
    ("which", "entries"),
    [
        (MANIFEST, {"facts": {"width": 3, "note": "x"}}),
        (MANIFEST, {"versions": {}}),
        ("shards/*/manifest.json", {"versions": {}}),
        ("datasets/*/manifest.json", {"config": {"path": "/elsewhere"}}),
    ],
)
def test_an_edited_manifest(cache: Path, which: str, entries: dict[str, object]) -> None:
    file = sorted(cache.glob(which))[0]
    edit_json(file, **entries)
    with pytest.raises(CacheError, match=rf"{file}: changed since it was written; "):
        open_cache(cache).verify()


def test_a_shard_under_another_name(cache: Path) -> None:
    folder = sorted((cache / "shards").iterdir())[0]
    folder.rename(folder.with_name("another"))
    with pytest.raises(
        CacheError,
        match=f"another: expected the folder name {folder.name}, .* found another; run .*--repair",
    ):
        open_cache(cache).verify()


def test_files_that_no_manifest_names(cache: Path) -> None:
    folder = sorted((cache / "shards").iterdir())[0]
    strays = [cache / "notes.txt", folder / "vectors.npy.bak", cache / "shards" / "half" / "keys.npy"]
    strays += [cache / "datasets" / "sub" / "deep" / "x", cache / ".hidden"]
    for file in strays:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert open_cache(cache).verify().strays == tuple(sorted(strays))


def test_what_workers_are_writing_is_no_stray(cache: Path) -> None:
    assert lease(shard_path(cache, keys_of(["z"])))
    half = cache / "shards" / ".name.partial-aaaaaaaaaaaa-1-bbbbbbbb"
    shutil.copytree(sorted((cache / "shards").glob("[!.]*"))[0], half)
    assert open_cache(cache).verify().strays == ()


@pytest.mark.parametrize("numbers", [1, 2, 4])
def test_every_number_of_a_large_shard_is_looked_at(
    tmp_path: Path, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NUMBERS", numbers)
    for place in range(6):
        cache = new_cache(tmp_path / f"{place}")
        vectors = np.zeros((2, 3), np.float16)
        vectors.flat[place] = np.nan
        write_shard(cache, sequences_of(["a", "b"]), vectors)
        with pytest.raises(CacheError, match="not finite"):
            VectorCache.open(cache).verify()


def test_progress_is_shown_for_large_caches_only(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_cache(cache).verify()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "_LARGE", 1)
    open_cache(cache).verify()
    assert capsys.readouterr().err.startswith("verify: 0/0 MB")
