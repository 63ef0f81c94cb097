import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from small_models import edit_json, save_dataset
from tcf.data import VectorCache
from tcf.data.cache import CACHE, Vectors
from tcf.data.cache_writer import check_cache, create_cache, shard_path, write_join, write_shard
from tcf.data.dataset import Dataset
from tcf.data.keys import Keys, text_keys
from tcf.errors import CacheError, RunError
from tcf.files import MANIFEST
from tcf.manifest import read_manifest

IDENTITY: dict[str, Any] = {
    "architecture": "a" * 64,
    "weights": "b" * 64,
    "pooling": "mean",
    "max_tokens": 30,
    "compute": "float32",
    "storage": "float16",
}
FACTS = {"items": 0, "texts": 0, "sequences": 0, "texts_cut": 0}


def new_cache(path: Path, width: int = 3, **changes: Any) -> Path:
    create_cache(path, identity={**IDENTITY, **changes}, model="toy", width=width)
    return path


def keys_of(texts: Sequence[str]) -> Keys:
    return text_keys(pa.array(list(texts), pa.large_string()))


def sequences_of(texts: Sequence[str]) -> Keys:
    """Token sequences of a tokenizer that knows no upper case."""
    return keys_of([f"tokens {text.lower()}" for text in texts])


def join(cache: Path, dataset: Dataset) -> None:
    texts = list(dict.fromkeys(dataset.texts.to_pylist()))
    write_join(cache, dataset, texts=keys_of(texts), sequences=sequences_of(texts), facts=FACTS)


def shard(cache: Path, texts: Sequence[str], first: float, dtype: type = np.float16, width: int = 3) -> Path:
    """A shard whose i-th vector is (first + i, first + i, ...)."""
    vectors: Vectors = np.repeat(np.arange(len(texts))[:, None] + first, width, axis=1).astype(dtype)
    write_shard(cache, sequences_of(texts), vectors)
    return shard_path(cache, sequences_of(texts))


def flip_bit(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)


def test_vectors_come_back_in_item_order(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["b", "d"], 10)
    shard(cache, ["a", "c", "e"], 20)
    dataset = save_dataset(tmp_path / "d", ["e", "b", "a", "b", "d"])
    join(cache, dataset)
    opened = VectorCache.open(cache)
    vectors = opened.vectors_for(dataset)
    assert vectors.dtype == np.float16
    assert vectors.tolist() == [[x] * 3 for x in (22, 10, 20, 10, 11)]
    assert (opened.width, opened.n_rows, opened.dtype) == (3, 5, np.dtype(np.float16))


def test_texts_with_equal_tokens_share_a_row(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["super mario"], 5)
    dataset = save_dataset(tmp_path / "d", ["Super Mario", "super mario", "SUPER MARIO"])
    join(cache, dataset)
    opened = VectorCache.open(cache)
    assert opened.rows_for(dataset).tolist() == [0, 0, 0]
    assert opened.n_rows == 1


def test_a_second_dataset_appends(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    first = save_dataset(tmp_path / "first", ["a", "b"])
    join(cache, first)
    before = VectorCache.open(cache)
    second = save_dataset(tmp_path / "second", ["c", "b"])
    with pytest.raises(CacheError, match="1 missing, the first is item i0"):
        before.rows_for(second)
    join(cache, second)
    with pytest.raises(CacheError, match="1 missing"):
        VectorCache.open(cache).rows_for(second)
    shard(cache, ["c"], 7)
    after = VectorCache.open(cache)
    assert after.vectors_for(second)[:, 0].tolist() == [7, 2]
    assert after.vectors_for(first).tolist() == before.vectors_for(first).tolist()
    assert {known.path for known in after.datasets} == {first.path, second.path}


def test_a_subset_that_the_cache_was_never_told_of(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b", "c"], 1)
    join(cache, save_dataset(tmp_path / "all", ["a", "b", "c"]))
    subset = save_dataset(tmp_path / "subset", ["c", "a"])
    assert VectorCache.open(cache).vectors_for(subset)[:, 0].tolist() == [3, 1]


def test_missing_vectors_say_how_many_and_what_to_run(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "my cache")
    shard(cache, ["a"], 1)
    dataset = save_dataset(tmp_path / "d", ["a", "b", "a", "c"])
    join(cache, dataset)
    with pytest.raises(CacheError) as caught:
        VectorCache.open(cache).vectors_for(dataset)
    message = str(caught.value)
    assert "each of the 4 items" in message
    assert "found 2 (2 missing, the first is item i1)" in message
    assert f"`tcf extract --data {dataset.path} --model toy --out '{cache}' --pooling mean --max-tokens 30" in message
    assert message.endswith("--dtype float32 --storage float16`")


def test_a_duplicate_of_another_cut_does_no_harm(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    shard(cache, ["a"], 1)
    shard(cache, ["b", "c"], 2)
    dataset = save_dataset(tmp_path / "d", ["c", "b", "a"])
    join(cache, dataset)
    assert VectorCache.open(cache).vectors_for(dataset)[:, 0].tolist() == [3, 2, 1]


def test_a_shard_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a", "b"], 1)
    before = {file: file.stat().st_ino for file in folder.iterdir()}
    assert shard(cache, ["a", "b"], 50) == folder
    assert {file: file.stat().st_ino for file in folder.iterdir()} == before
    assert sorted(path.name for path in (cache / "shards").iterdir()) == [folder.name]


def test_an_empty_cache(tmp_path: Path) -> None:
    cache = VectorCache.open(new_cache(tmp_path / "c"))
    assert cache.n_rows == 0
    assert cache.gather(np.zeros(0, np.int64)).shape == (0, 3)
    cache.verify()
    assert cache.describe()["vectors"] == 0


@pytest.mark.parametrize("rows", [[-1], [2], [0, 1, 2]])
def test_rows_that_are_not_there(tmp_path: Path, rows: list[int]) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    with pytest.raises(IndexError, match=r"rows 0\.\.1 there"):
        VectorCache.open(cache).gather(np.array(rows))


def test_gather_against_one_array(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    for number in range(9):
        shard(cache, [f"{number} {row}" for row in range(number + 1)], 100 * number)
    opened = VectorCache.open(cache)
    table = np.concatenate(opened.shards)
    rows = np.random.default_rng(0).integers(0, opened.n_rows, 200)
    assert (opened.gather(rows) == table[rows]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": "c" * 64}, "weights: bbbbbbbbbbbb... there, cccccccccccc... asked for"),
        ({"pooling": "first"}, "pooling: mean there, first asked for"),
        ({"max_tokens": 20}, "max_tokens: 30 there, 20 asked for"),
        ({"compute": "bfloat16"}, "compute: float32 there, bfloat16 asked for"),
        ({"storage": "float32"}, "storage: float16 there, float32 asked for"),
        ({"layer": "last"}, "layer: nothing there, last asked for"),
    ],
)
def test_another_encoder_or_option_is_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    cache = new_cache(tmp_path / "c")
    for call in (check_cache, lambda path, identity: create_cache(path, identity=identity, model="toy", width=3)):
        with pytest.raises(CacheError) as caught:
            call(cache, {**IDENTITY, **change})
        assert words in str(caught.value)
        assert str(caught.value).count("asked for") == 1


def test_two_differences_are_both_named(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    with pytest.raises(CacheError, match="max_tokens: 30 there, 8 asked for; pooling: mean there"):
        check_cache(cache, {**IDENTITY, "pooling": "last", "max_tokens": 8})


def test_the_models_name_is_no_part_of_its_identity(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    create_cache(cache, identity=IDENTITY, model="the same by another name", width=3)
    assert VectorCache.open(cache).describe()["encoder"]["model"] == "toy"


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    with pytest.raises(CacheError, match="expected a vector cache or nothing, found other files"):
        new_cache(foreign)
    assert [file.name for file in foreign.iterdir()] == ["letter.txt"]
    with pytest.raises(CacheError, match=r"no manifest\.json"):
        VectorCache.open(foreign)


def test_a_file_in_the_place_of_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("x")
    with pytest.raises(RunError, match="found something"):
        new_cache(tmp_path / "c")
    with pytest.raises(CacheError):
        VectorCache.open(tmp_path / "c")


def test_a_published_directory_of_another_format(tmp_path: Path) -> None:
    dataset = save_dataset(tmp_path / "d", ["a"])
    with pytest.raises(CacheError, match="found format tcf-dataset"):
        VectorCache.open(dataset.path)
    with pytest.raises(CacheError, match="found format tcf-dataset"):
        new_cache(dataset.path)


def test_an_empty_folder_becomes_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    assert VectorCache.open(new_cache(tmp_path / "c")).n_rows == 0


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    write = "import sys, os; from pathlib import Path; from tcf.files import publishing\n"
    kill = "with publishing(Path(sys.argv[1])) as staging: (staging / 'x').touch(); os._exit(9)"
    for place in (tmp_path / "c2", cache / "shards" / "s", cache / "datasets" / "d"):
        subprocess.run([sys.executable, "-c", write + kill, str(place)], check=False)
    new_cache(tmp_path / "c2")
    new_cache(cache)
    assert not list(tmp_path.rglob(".*.partial-*"))


@pytest.mark.parametrize("keep", [0, 10, 128, -1])
def test_a_truncated_file_of_vectors(tmp_path: Path, keep: int) -> None:
    cache = new_cache(tmp_path / "c")
    file = shard(cache, ["a", "b"], 1) / "vectors.npy"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CacheError, match=rf"{file}: unreadable .* remove {file.parent} and run `tcf extract` again"):
        VectorCache.open(cache)


def test_a_missing_file_of_vectors(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    (shard(cache, ["a", "b"], 1) / "vectors.npy").unlink()
    with pytest.raises(CacheError, match=r"vectors\.npy: unreadable"):
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
        (np.zeros((2, 3), np.float32), r"expected \(2, 3\) float16, found \(2, 3\) float32"),
        (np.zeros((2, 4), np.float16), r"expected \(2, 3\) float16, found \(2, 4\) float16"),
        (np.zeros((1, 3), np.float16), r"expected \(2, 3\) float16, found \(1, 3\) float16"),
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
    np.save(shard(cache, ["a", "b"], 1) / "keys.npy", table)
    with pytest.raises(CacheError, match=r"keys\.npy: expected \(2, 2\) uint64, found"):
        VectorCache.open(cache)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a"], 1)
    for name in ("keys.npy", "vectors.npy"):
        original = (folder / name).read_bytes()
        np.save(folder / name, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
        with pytest.raises(CacheError, match=rf"{name}: unreadable"):
            VectorCache.open(cache)
        (folder / name).write_bytes(original)


@pytest.mark.parametrize("name", ["vectors.npy", "keys.npy", "texts.npy"])
def test_verify_finds_a_flipped_bit_anywhere(tmp_path: Path, name: str) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    join(cache, save_dataset(tmp_path / "d", ["a", "b"]))
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
    edit_json(cache / MANIFEST, config={**content["config"], "pooling": "first"})
    with pytest.raises(CacheError, match="does not match its fingerprint"):
        VectorCache.open(cache).verify()


def test_verify_finds_a_shard_listed_but_gone(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a"], 1)
    opened = VectorCache.open(cache)
    (folder / "keys.npy").unlink()
    with pytest.raises(CacheError, match=r"keys\.npy: listed in .*, but missing"):
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


def test_an_unfinished_shard_does_not_exist(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    folder = shard(cache, ["a"], 1)
    (folder / MANIFEST).unlink()
    assert VectorCache.open(cache).n_rows == 0


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    edit_json(cache / MANIFEST, version=2)
    with pytest.raises(CacheError, match="expected version 1 of tcf-cache, found 2"):
        VectorCache.open(cache)


def test_the_only_dataset(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    with pytest.raises(CacheError, match=r"found 0 \(none\); add --data"):
        VectorCache.open(cache).only_dataset()
    first = save_dataset(tmp_path / "first", ["a"])
    join(cache, first)
    assert VectorCache.open(cache).only_dataset() == first.path
    join(cache, save_dataset(tmp_path / "second", ["b"]))
    with pytest.raises(CacheError, match=r"found 2 \(.*first.*second.*|found 2 \(.*second.*first.*"):
        VectorCache.open(cache).only_dataset()


def test_describe(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    dataset = save_dataset(tmp_path / "d", ["a", "b"])
    join(cache, dataset)
    described = VectorCache.open(cache).describe()
    assert json.loads(json.dumps(described)) == described
    assert (described["vectors"], described["shards"], described["bytes"], described["width"]) == (2, 1, 12, 3)
    assert described["encoder"] == {**IDENTITY, "model": "toy"}
    assert described["datasets"] == [{"path": str(dataset.path), "fingerprint": dataset.fingerprint, **FACTS}]
    assert described["fingerprint"] == read_manifest(cache, CACHE).fingerprint


def test_more_shards_than_file_descriptors(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    for number in range(200):
        shard(cache, [str(number)], number)
    limited = (
        "import resource, sys, numpy\n"
        "from tcf.data import VectorCache\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\n"
        "cache = VectorCache.open(sys.argv[1])\n"
        "cache.verify()\n"
        "print(int(cache.gather(numpy.arange(200))[:, 0].astype(int).sum()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, str(cache)], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(sum(range(200))), "")
