import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from small.data.caches import FACTS, add_text_map, content, keys_of, new_cache, sequences_of
from small.encoders.models import save_dataset
from tcf.common.errors import CacheError, RunError
from tcf.common.files import is_published
from tcf.data import Dataset, VectorCache
from tcf.data.cache.text_maps import TextMapWriter, text_map_path

TEXTS = ["a", "B", "b", "c", "d"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)


def add(writer: TextMapWriter, texts: list[str]) -> None:
    writer.add(keys_of(texts), sequences_of(texts))


def test_chunk_by_chunk_gives_the_bytes_of_all_at_once(tmp_path: Path, dataset: Dataset) -> None:
    at_once, streamed = new_cache(tmp_path / "1"), new_cache(tmp_path / "2")
    add_text_map(at_once, dataset)
    with TextMapWriter(streamed, dataset) as writer:
        for part in (TEXTS[:2], [], TEXTS[2:]):
            add(writer, part)
        writer.publish(FACTS)
    assert content(streamed) == content(at_once)
    table = np.concatenate([keys_of(TEXTS), sequences_of(TEXTS)], axis=1)
    assert (np.load(text_map_path(streamed, dataset) / "texts.npy") == table).all()


def test_the_cache_may_be_made_meanwhile(tmp_path: Path, dataset: Dataset) -> None:
    cache = tmp_path / "new folder" / "c"
    with TextMapWriter(cache, dataset) as writer:
        add(writer, TEXTS)
        assert not cache.exists()
        new_cache(cache)
        writer.publish({**FACTS, "unknown_words": 7})
    assert [known.metadata for known in VectorCache.open(cache).datasets] == [{**FACTS, "unknown_words": 7}]
    assert [path.name for path in cache.parent.iterdir()] == ["c"]
    VectorCache.open(cache).verify()


def test_without_a_cache_nothing_is_published(tmp_path: Path, dataset: Dataset) -> None:
    with (
        pytest.raises(CacheError, match="expected a cache to write into, found none"),
        TextMapWriter(tmp_path / "c", dataset) as writer,
    ):
        add(writer, TEXTS)
        writer.publish(FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("there", [False, True])
def test_what_is_not_published_is_discarded(tmp_path: Path, dataset: Dataset, there: bool) -> None:
    if there:
        new_cache(tmp_path / "c")
    before = content(tmp_path)
    with pytest.raises(KeyboardInterrupt), TextMapWriter(tmp_path / "c", dataset) as writer:
        add(writer, TEXTS)
        raise KeyboardInterrupt
    with TextMapWriter(tmp_path / "c", dataset) as writer:
        add(writer, TEXTS)
    assert content(tmp_path) == before


def test_a_join_that_is_there_is_not_written_again(tmp_path: Path, dataset: Dataset) -> None:
    cache = new_cache(tmp_path / "c")
    add_text_map(cache, dataset)
    before = content(cache)
    with TextMapWriter(cache, dataset) as writer:
        assert writer.there
        add(writer, ["other"])
        writer.publish({})
    assert content(cache) == before


def test_two_writers_of_one_join(tmp_path: Path, dataset: Dataset) -> None:
    cache = new_cache(tmp_path / "c")
    with TextMapWriter(cache, dataset) as first, TextMapWriter(cache, dataset) as second:
        for writer in (first, second):
            add(writer, TEXTS)
        first.publish(FACTS)
        second.publish(FACTS)
    assert [path.name for path in (cache / "datasets").iterdir()] == [text_map_path(cache, dataset).name]
    VectorCache.open(cache).verify()


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_writer_left_is_not_believed_and_soon_gone(tmp_path: Path, dataset: Dataset, there: bool) -> None:
    cache = tmp_path / "c"
    if there:
        new_cache(cache)
    killed = (
        "import os, sys, numpy; from pathlib import Path\n"
        "from tcf.data.cache.text_maps import TextMapWriter; from tcf.data.dataset import open_dataset\n"
        "with TextMapWriter(Path(sys.argv[1]), open_dataset(sys.argv[2])) as writer:\n"
        "    writer.add(*[numpy.zeros((9, 2), 'u8')] * 2)\n"
        "    os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(cache), str(dataset.path)], check=False)
    assert len(list(tmp_path.rglob(".*.partial-*"))) == 1
    assert is_published(cache) == there
    new_cache(cache)
    assert not list(tmp_path.rglob(".*.partial-*"))
    assert VectorCache.open(cache).datasets == []


def test_a_place_that_cannot_be_written(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"), TextMapWriter(tmp_path / "file" / "c", dataset):
        pass
