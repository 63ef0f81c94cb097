"""Manifests of a cache that are valid JSON with damaged content, and what to do about damaged shards."""

import json
from pathlib import Path
from typing import Any

import pytest

from small.data.caches import add_text_map, new_cache, shard
from small.encoders.models import save_dataset
from small.manifests import reseal
from tcf.common.errors import CacheError, DataError
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import open_dataset


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = new_cache(tmp_path / "c")
    shard(path, ["a", "b"], 1)
    add_text_map(path, save_dataset(tmp_path / "d", ["a", "b"]))
    return path


def test_a_folder_of_caches_names_them(tmp_path: Path) -> None:
    for name in ("layer0", "layer-1"):
        new_cache(tmp_path / "games-minilm" / name)
    (tmp_path / "games-minilm" / "notes.txt").write_text("layers")
    (tmp_path / "games-minilm" / "unfinished").mkdir()
    expected = r"a folder that holds 2 of them; name one of {0}/games-minilm/layer-1, {0}/games-minilm/layer0$"
    with pytest.raises(CacheError, match=expected.format(tmp_path)):
        VectorCache.open(tmp_path / "games-minilm")


def test_a_folder_of_other_directories_names_their_formats(tmp_path: Path) -> None:
    new_cache(tmp_path / "above" / "c")
    with pytest.raises(DataError, match=r"of other formats: c \(tcf-cache\); name the right directory$"):
        open_dataset(tmp_path / "above")
    with pytest.raises(DataError, match=r"found a file; name its folder$"):
        open_dataset(tmp_path / "above" / "c" / "manifest.json")


def damage(folder: Path, section: str, value: Any, key: str | None = None) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    reseal(folder, **{section: value if key is None else {**content[section], key: value}})


def part(cache: Path, name: str) -> Path:
    """The only shard or dataset of a cache."""
    [folder] = (cache / name).iterdir()
    return folder


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("facts", None, [], r"expected facts, a mapping, found \[\]"),
        ("facts", None, {}, "expected facts.width, a whole number, found nothing"),
        ("facts", "width", "3", "expected facts.width, a whole number, found '3'"),
        ("config", "storage", "foo", "expected config.storage float16 or float32, found 'foo'"),
        ("config", "storage", "int32", "expected config.storage float16 or float32, found 'int32'"),
        ("config", "storage", None, "expected config.storage, a string, found nothing"),
        ("config", "model", None, "expected config.model, a string, found nothing"),
        ("inputs", None, None, "expected inputs, a mapping, found nothing"),
    ],
)
def test_a_damaged_manifest_of_a_cache(cache: Path, section: str, key: str | None, value: Any, message: str) -> None:
    damage(cache, section, value, key)
    with pytest.raises(
        CacheError, match=rf"{cache}/manifest\.json: {message}; the origin .* or remove {cache} and run"
    ):
        VectorCache.open(cache)


@pytest.mark.parametrize(
    ("name", "section", "message"),
    [
        ("shards", "facts", "expected facts.rows, a whole number"),
        ("datasets", "inputs", "expected inputs.dataset, a string"),
        ("datasets", "config", "expected config.path, a string"),
    ],
)
def test_a_damaged_manifest_within_a_cache(cache: Path, name: str, section: str, message: str) -> None:
    folder = part(cache, name)
    damage(folder, section, {})
    with pytest.raises(
        CacheError,
        match=rf"{message}, found nothing; .*run .* --repair, which makes {folder} anew",
    ):
        VectorCache.open(cache)


@pytest.mark.parametrize(("name", "file"), [("shards", "vectors.npy"), ("datasets", "texts.npy")])
def test_verifying_says_what_to_remove(cache: Path, name: str, file: str) -> None:
    opened = VectorCache.open(cache)
    opened.verify()
    folder = part(cache, name)
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(CacheError, match=rf"its sha256 differs .*; run .* --repair, which makes {folder} anew"):
        opened.verify()
