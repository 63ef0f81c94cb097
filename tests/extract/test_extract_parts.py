"""One part of the shards at a time: together they fill the cache, whatever the order and whatever was there before."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.data.caches import content, keys_of
from small.encoders.models import made_up_texts, save_dataset, token_ids
from small.extract.extractions import TEXTS, extracted, no_model, token_rows, vectors
from tcf.common.errors import CacheError
from tcf.common.units import counted
from tcf.data import Dataset, VectorCache, open_dataset
from tcf.data.key_set import KeySet
from tcf.encoders.tokenize import TokenSequences
from tcf.extract import stage
from tcf.extract.result import Extraction
from tcf.extract.shards import Shard, one_part
from tcf.extract.stage import plan_stage

ROWS = 4  # sequences in a shard
N = len(set(TEXTS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, opt: Path) -> Path:
    """A dataset `d`, and its cache `c` as one extraction makes it."""
    folder = tmp_path_factory.mktemp("whole")
    done = extracted(save_dataset(folder / "d", TEXTS), opt, folder / "c", shard_rows=ROWS)
    assert (done.sequences, done.part, done.elsewhere) == (N, None, 0)
    return folder


@pytest.fixture
def dataset(whole: Path) -> Dataset:
    return open_dataset(whole / "d")


def sizes(part: int, parts: int, n: int = N, rows: int = ROWS) -> int:
    """Sequences in every n-th shard, counted one by one."""
    return sum(1 for sequence in range(n) if sequence // rows % parts == part)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_one_after_the_other_make_the_bytes_of_the_whole(
    tmp_path: Path, whole: Path, dataset: Dataset, opt: Path, order: tuple[int, ...]
) -> None:
    left = N
    for part in order:
        done = extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards=f"{part}/3")
        left -= sizes(part, 3)
        assert (done.computed, done.elsewhere, done.sequences) == (sizes(part, 3), left, N)
        assert (
            f"shards {part}/3: done; {counted(left, 'sequence')} of other parts still missing"
            in done.summary().splitlines()
        )
    assert left == 0
    assert content(tmp_path / "c") == content(whole / "c")
    with no_model():
        assert extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="1/3").elsewhere == 0


@pytest.mark.parametrize("version", [1, 2])
def test_as_long_as_parts_are_missing_the_work_is_not_done(
    tmp_path: Path, whole: Path, dataset: Dataset, opt: Path, version: int
) -> None:
    """A new cache; and one that an earlier version began, which cut shards in the order of the items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tcf.extract.inputs.CUT", version)
        extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="1/2")
    with no_model():
        again = extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="1/2")
    assert (again.computed, again.elsewhere) == (0, sizes(0, 2))
    texts = list(dict.fromkeys(TEXTS))
    cut = texts if version == 1 else sorted(texts, key=lambda text: token_ids(opt, text, 30))
    there = [text for number, text in enumerate(cut) if number // ROWS % 2 == 1]
    missing = [f"i{number}" for number, text in enumerate(TEXTS) if text not in there]
    said = rf"\({len(missing)} missing, the first is item {missing[0]}\D.*run `tcf extract --data "
    with pytest.raises(CacheError, match=said):
        VectorCache.open(tmp_path / "c").rows_for(dataset)
    done = extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS)
    assert done.computed == sizes(0, 2)
    if version == 2:
        assert content(tmp_path / "c") == content(whole / "c")
    else:
        assert {manifest.facts["cut"] for manifest in VectorCache.open(tmp_path / "c").manifests} == {1}
        np.testing.assert_allclose(vectors(tmp_path / "c", dataset), vectors(whole / "c", dataset), rtol=0, atol=1e-5)


def test_an_interrupted_part_goes_on(tmp_path: Path, whole: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="0/2")
    first, *_, last = sorted((tmp_path / "c" / "shards").iterdir())
    for shard in (first, last):
        shutil.rmtree(shard)
    done = extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="0/2")
    assert 0 < done.computed < sizes(0, 2)
    extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="1/2")
    assert content(tmp_path / "c") == content(whole / "c")


def test_parts_of_a_cache_that_has_some_sequences_already(
    tmp_path: Path, dataset: Dataset, opt: Path, expected: Any
) -> None:
    """Some of nearly every shard, and more of them by the time that the second part begins."""
    before = save_dataset(tmp_path / "before", TEXTS[1::3])
    between = save_dataset(tmp_path / "between", [*TEXTS[2::5], *made_up_texts(5, seed=9)])
    extracted(before, opt, tmp_path / "c")
    first = extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="1/2")
    extracted(between, opt, tmp_path / "c")
    second = extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="0/2")
    assert 0 < first.computed < sizes(1, 2)
    assert 0 < second.computed < sizes(0, 2)
    assert second.elsewhere == 0
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)


def test_parts_of_several_caches(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    settings: dict[str, Any] = {"layers": (1, -1), "token_states": 0, "token_storage": "float32", "shard_rows": ROWS}
    extracted(dataset, opt, tmp_path / "whole", **settings)
    one = extracted(dataset, opt, tmp_path / "parts", shards="1/2", **settings)
    assert (one.computed, one.elsewhere) == (sizes(1, 2), sizes(0, 2))
    # What one of the caches has lost is missing, too.
    for name in ("layer1", "tokens0"):
        shutil.rmtree(next((tmp_path / "parts" / name / "shards").iterdir()))
    two = extracted(dataset, opt, tmp_path / "parts", shards="0/2", **settings)
    assert 0 < two.elsewhere <= 2 * ROWS
    assert extracted(dataset, opt, tmp_path / "parts", shards="1/2", **settings).elsewhere == 0
    for name in ("layer1", "layer-1"):
        assert np.array_equal(*(vectors(tmp_path / out / name, dataset) for out in ("whole", "parts")))
    both = zip(*(token_rows(tmp_path / out / "tokens0", dataset) for out in ("whole", "parts")), strict=True)
    assert all(np.array_equal(own, other) for own, other in both)


def test_a_part_without_shards(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    with no_model():
        done = extracted(dataset, opt, tmp_path / "c", shard_rows=N, shards="1/2")
    assert (done.computed, done.elsewhere) == (0, N)
    done = extracted(dataset, opt, tmp_path / "c", shard_rows=N, shards="0/2")
    assert (done.computed, done.elsewhere) == (N, 0)


def test_parts_that_do_not_fit_together_say_what_is_missing(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards="0/2")
    done = extracted(dataset, opt, tmp_path / "c", shard_rows=2 * ROWS, shards="1/2")
    there = {n for n in range(N) if n // ROWS % 2 == 0} | {n for n in range(N) if n // (2 * ROWS) % 2 == 1}
    assert done.elsewhere == N - len(there) > 0


def test_two_parts_at_once(tmp_path: Path, whole: Path, dataset: Dataset, opt: Path) -> None:
    """Each has seen the empty cache before the other writes to it."""
    both = threading.Barrier(2, timeout=60)

    def extract(part: int) -> Extraction:
        return extracted(dataset, opt, tmp_path / "c", shard_rows=ROWS, shards=f"{part}/2")

    def plan_together(*arguments: Any, **named: Any) -> Any:
        both.wait()
        return plan_stage(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(stage, "plan_stage", plan_together)
        done = list(pool.map(extract, (0, 1)))
    assert [one.computed for one in done] == [sizes(0, 2), sizes(1, 2)]
    assert min(one.elsewhere for one in done) == 0
    assert content(tmp_path / "c") == content(whole / "c")
    assert not [*tmp_path.rglob(".*.partial-*"), *tmp_path.rglob(".*.claim")]


def test_what_belongs_to_other_parts_is_passed_over_and_counted() -> None:
    """Five shards of two; `b`, `f` and `g` are in both caches, `e` in one."""
    names = "abcdefghij"
    shards = [
        Shard(keys_of(list(names[n : n + 2])), lengths([n, n + 1]), np.array([n, n + 1]), span=n + 1)
        for n in range(0, 10, 2)
    ]
    stored = [KeySet(keys_of(list("bfg"))), KeySet(keys_of(list("befg")))]
    found = list(one_part(iter(shards), 0, 2, stored))
    assert [shard.keys.tolist() for shard in found] == [
        keys_of(list(part)).tolist() for part in ("a", "", "e", "", "ij")
    ]
    assert [shard.items.tolist() for shard in found] == [[0], [], [4], [], [8, 9]]
    assert [shard.sequences.lengths.tolist() for shard in found] == [[0], [], [4], [], [8, 9]]
    assert [shard.span for shard in found] == [1, 3, 5, 7, 9]
    assert [len(shard.keys) for shard in one_part(iter(shards), 1, 2, stored)] == [0, 2, 0, 1, 0]


def lengths(wanted: list[int]) -> TokenSequences:
    """Sequences of so many tokens."""
    offsets = np.cumsum([0, *wanted])
    return TokenSequences(np.zeros(offsets[-1], np.int32), offsets, cut=0)
