import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from small.data.caches import IDENTITY, add_text_map, new_cache, shard
from small.encoders.models import save_dataset
from tcf.common.errors import CacheError
from tcf.data import VectorCache
from tcf.data.cache.writer import create_cache


def test_vectors_come_back_in_item_order(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["b", "d"], 10)
    shard(cache, ["a", "c", "e"], 20)
    dataset = save_dataset(tmp_path / "d", ["e", "b", "a", "b", "d"])
    add_text_map(cache, dataset)
    opened = VectorCache.open(cache)
    vectors = opened.vectors_for(dataset)
    assert vectors.dtype == np.float16
    assert vectors.tolist() == [[x] * 3 for x in (22, 10, 20, 10, 11)]
    assert (opened.width, opened.n_rows, opened.dtype) == (3, 5, np.dtype(np.float16))


def test_texts_with_equal_tokens_share_a_row(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["super mario"], 5)
    dataset = save_dataset(tmp_path / "d", ["Super Mario", "super mario", "SUPER MARIO"])
    add_text_map(cache, dataset)
    opened = VectorCache.open(cache)
    assert opened.rows_for(dataset).tolist() == [0, 0, 0]
    assert opened.n_rows == 1


def test_a_second_dataset_appends(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    first = save_dataset(tmp_path / "first", ["a", "b"])
    add_text_map(cache, first)
    before = VectorCache.open(cache)
    second = save_dataset(tmp_path / "second", ["c", "b"])
    with pytest.raises(CacheError, match="1 missing, the first is item i0"):
        before.rows_for(second)
    add_text_map(cache, second)
    with pytest.raises(CacheError, match="1 missing"):
        VectorCache.open(cache).rows_for(second)
    shard(cache, ["c"], 7)
    after = VectorCache.open(cache)
    assert after.vectors_for(second)[:, 0].tolist() == [7, 2]
    assert after.vectors_for(first).tolist() == before.vectors_for(first).tolist()
    assert {known.path for known in after.datasets} == {first.path, second.path}


def test_a_subset_without_a_text_map(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b", "c"], 1)
    add_text_map(cache, save_dataset(tmp_path / "all", ["a", "b", "c"]))
    subset = save_dataset(tmp_path / "subset", ["c", "a"])
    assert VectorCache.open(cache).vectors_for(subset)[:, 0].tolist() == [3, 1]


def test_missing_vectors_say_how_many_and_what_to_run(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "my cache")
    shard(cache, ["a"], 1)
    dataset = save_dataset(tmp_path / "d", ["a", "b", "a", "c"])
    add_text_map(cache, dataset)
    with pytest.raises(CacheError) as caught:
        VectorCache.open(cache).vectors_for(dataset)
    message = str(caught.value)
    assert "each of the 4 items" in message
    assert "found 2 (2 missing, the first is item i1)" in message
    assert f"`tcf extract --data {dataset.path} --model toy --out '{cache}' --pooling mean --max-tokens 30" in message
    assert message.endswith("--dtype float32 --storage float16`")


def test_several_poolings_are_not_named_in_the_command(tmp_path: Path) -> None:
    # They are those of the model's folder, which `tcf extract` takes without --pooling.
    cache = new_cache(tmp_path / "c", pooling="mean,max")
    dataset = save_dataset(tmp_path / "d", ["a"])
    with pytest.raises(CacheError, match=f"--out {cache} --max-tokens 30"):
        VectorCache.open(cache).vectors_for(dataset)


def test_a_duplicate_of_another_cut_does_no_harm(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    shard(cache, ["a"], 1)
    shard(cache, ["b", "c"], 2)
    dataset = save_dataset(tmp_path / "d", ["c", "b", "a"])
    add_text_map(cache, dataset)
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


def test_a_model_whose_name_does_not_say_all(tmp_path: Path) -> None:
    create_cache(tmp_path / "c", identity=IDENTITY, model="smollm2-135m", width=3)
    cache, label = VectorCache.open(tmp_path / "c"), "smollm2-135m (SmolLM2-135M-Instruct, 4-bit GGUF)"
    assert cache.describe()["model"] == label
    assert repr(cache).endswith(f", by {label})")
    assert cache.describe()["encoder"]["model"] == "smollm2-135m"  # as it is given to --model again


@pytest.mark.parametrize("rows", [[-1], [2], [0, 1, 2]])
def test_rows_that_are_not_there(tmp_path: Path, rows: list[int]) -> None:
    cache = new_cache(tmp_path / "c")
    shard(cache, ["a", "b"], 1)
    with pytest.raises(IndexError, match=r"expected rows 0\.\.1, found"):
        VectorCache.open(cache).gather(np.array(rows))


def test_gather_against_one_array(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    for number in range(9):
        shard(cache, [f"{number} {row}" for row in range(number + 1)], 100 * number)
    opened = VectorCache.open(cache)
    table = np.concatenate(opened.shards)
    rows = np.random.default_rng(0).integers(0, opened.n_rows, 200)
    assert (opened.gather(rows) == table[rows]).all()


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
