"""What becomes of texts: prefixes, word vectors, counts, Parquet, and item tables that are read in several chunks."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from small.data.caches import content
from small.encoders.models import save_dataset, vectors_one_by_one
from small.extract.extractions import TEXTS, extracted, token_rows, vectors
from small.manifests import reseal
from tcf.commands.app import app
from tcf.common.errors import CacheError, DataError, RunError
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.data import Dataset, VectorCache
from tcf.extract import inputs as inputs_module
from tcf.extract import shards as texts_module
from tcf.extract.outputs import Output
from tcf.extract.result import Extraction
from tcf.extract.worker import ShardWorker

WORDS = "super 1 0\nmario 0 1\nworld 2 2\n"

COMPUTE = ShardWorker.compute


@pytest.fixture
def words(tmp_path: Path) -> Path:
    file = tmp_path / "words.txt"
    file.write_text(WORDS)
    return file


def test_a_prefix_is_read_before_every_text(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c", prefix="query: ")
    own = vectors_one_by_one(opt, [f"query: {text}" for text in TEXTS], pooling="mean")
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)
    assert VectorCache.open(tmp_path / "c").describe()["encoder"]["prefix"] == "query: "
    written = save_dataset(tmp_path / "written", [f"query: {text}" for text in TEXTS])
    extracted(written, opt, tmp_path / "plain")
    assert (vectors(tmp_path / "plain", written) == vectors(tmp_path / "c", dataset)).all()
    for other in ("", "query:", "passage: "):
        with pytest.raises(CacheError, match=f"prefix: query:  found, {other or repr(other)} requested"):
            extracted(dataset, opt, tmp_path / "c", prefix=other)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_a_parquet_file_beside_each_cache_of_vectors(tmp_path: Path, dataset: Dataset, opt: Path, storage: str) -> None:
    done = extracted(
        dataset, opt, tmp_path / "c", layers=(0, -1), token_states=1, parquet=True, storage=storage, shard_rows=9
    )
    assert done.parquet == (tmp_path / "c" / "layer0.parquet", tmp_path / "c" / "layer-1.parquet")
    for file in done.parquet:
        table = pq.read_table(file)
        assert table["item_id"].to_pylist() == [f"i{row}" for row in range(len(TEXTS))]
        cached = vectors(file.with_suffix(""), dataset)
        assert cached.dtype == storage
        column = table["vector"].combine_chunks()
        assert (column.flatten().to_numpy().reshape(-1, 32) == cached).all()
    assert f"parquet: {done.parquet[1]}" in done.summary()


def test_a_parquet_file_of_vectors_that_were_there(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c.v1")
    subset = save_dataset(tmp_path / "subset", TEXTS[5:9])
    done = extracted(subset, opt, tmp_path / "c.v1", parquet=True)
    assert (done.computed, done.parquet) == (0, (tmp_path / "c.v1.parquet",))
    assert pq.read_table(tmp_path / "c.v1.parquet")["item_id"].to_pylist() == ["i0", "i1", "i2", "i3"]


@pytest.mark.parametrize("chunk", [3, 1000])
def test_word_vectors_by_hand(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(texts_module, "_CHUNK", chunk)
    long = "mario " * 30 + "super zelda " * 5
    titles = ["Super Mario", "Zelda", "", "super zelda", "Zelda", "MARIO super", long, "the world"]
    dataset = save_dataset(tmp_path / "d", titles)
    done = extracted(dataset, words, tmp_path / "c")
    assert vectors(tmp_path / "c", dataset).tolist() == [
        [0.5, 0.5], [0, 0], [0, 0], [1, 0], [0, 0], [0.5, 0.5], [0, 1], [2, 2],
    ]  # fmt: skip
    # Every distinct text counts once; "super mario" and "mario super" are two sequences.
    assert done == Extraction(
        caches=(tmp_path / "c",), parquet=(), items=8, texts=7, sequences=6, computed=6, cut=1,
        unknown_words=1 + 1 + 5 + 1, without_tokens=2, only_prompt=0, max_tokens=30,
    )  # fmt: skip
    assert "8 words without a vector left out, 2 texts without tokens given the zero vector" in (done.summary())
    known = VectorCache.open(tmp_path / "c").describe()["datasets"][0]
    assert (known["unknown_words"], known["texts_without_tokens"]) == (8, 2)
    again = extracted(dataset, words, tmp_path / "c")
    assert (again.computed, again.unknown_words, again.without_tokens) == (0, 8, 2)


def test_states_of_words(tmp_path: Path, words: Path) -> None:
    dataset = save_dataset(tmp_path / "d", ["zelda", "super mario", "", "world"])
    extracted(dataset, words, tmp_path / "c", token_states=0)
    assert [states.tolist() for states in token_rows(tmp_path / "c", dataset)] == [[], [[1, 0], [0, 1]], [], [[2, 2]]]


@pytest.mark.parametrize("content", [WORDS, "mario 1 2\n"])
def test_the_command_on_a_file_of_words_tells_all_counts(
    tmp_path: Path, own_home: None, words: Path, content: str
) -> None:
    """With the trial of how much to read at once, which a single word must not disturb."""
    words.write_text(content)
    save_dataset(tmp_path / "d", ["super mario", "a mario", "mario " * 31])
    line = ["extract", "--data", str(tmp_path / "d"), "--model", str(words), "--out", str(tmp_path / "c")]
    done = CliRunner().invoke(app, [*line, "--devices", "cpu"])
    assert done.exit_code == 0, done.output
    unknown = 1 if content == WORDS else 2
    assert done.stdout == (
        f"3 items, 3 distinct texts, {counted(4 - unknown, 'distinct token sequence')}, {4 - unknown} computed now\n"
        "1 text (33.33%) cut at 30 tokens\n"
        f"{counted(unknown, 'word')} without a vector left out, 0 texts without tokens given the zero vector\n"
        f"cache: {tmp_path / 'c'}\n"
    )


def test_chunks_of_items_change_not_a_byte(
    tmp_path: Path, opt: Path, monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    """Chunks of 5 items, shards of 7 rows that span them, and texts that come again in other chunks."""
    order = np.random.default_rng(2).integers(0, len(TEXTS), 90)
    dataset = save_dataset(tmp_path / "d", [TEXTS[row] for row in order])
    extracted(dataset, opt, tmp_path / "at once", layers=(1, -1), token_states=0, shard_rows=7)
    monkeypatch.setattr(texts_module, "_CHUNK", 5)
    done = extracted(dataset, opt, tmp_path / "c", layers=(1, -1), token_states=0, shard_rows=7)
    assert content(tmp_path / "c") == content(tmp_path / "at once")
    np.testing.assert_allclose(vectors(tmp_path / "c" / "layer-1", dataset), expected[order], rtol=0, atol=1e-5)
    assert len(VectorCache.open(tmp_path / "c" / "layer1").shards) == -(-done.sequences // 7)


@pytest.mark.parametrize(("at", "version"), [(1, 2), (3, 2), (3, 1)])
def test_an_interruption_leaves_whole_shards_no_join_and_the_same_cuts(
    tmp_path: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch, at: int, version: int
) -> None:
    """Also where it was an earlier version that was interrupted, which cut shards in the order of the items."""
    with monkeypatch.context() as patch:
        patch.setattr(inputs_module, "CUT", version)
        extracted(dataset, opt, tmp_path / "undisturbed", shard_rows=7)
    calls = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt
        return COMPUTE(*arguments)

    monkeypatch.setattr(texts_module, "_CHUNK", 10)
    with monkeypatch.context() as patch:
        patch.setattr(inputs_module, "CUT", version)
        patch.setattr(ShardWorker, "compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extracted(dataset, opt, tmp_path / "c", shard_rows=7)
    assert VectorCache.open(tmp_path / "c").n_rows == 7 * at
    assert VectorCache.open(tmp_path / "c").datasets == []
    assert not list(tmp_path.rglob("*.partial-*"))
    done = extracted(dataset, opt, tmp_path / "c", shard_rows=7)
    assert done.computed == done.sequences - 7 * at
    assert content(tmp_path / "c") == content(tmp_path / "undisturbed")
    assert {manifest.facts["cut"] for manifest in VectorCache.open(tmp_path / "c").manifests} == {version}


def test_an_error_in_saving_stops_the_work(
    tmp_path: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Output.write
    computed: list[int] = []
    written: list[int] = []

    def computing(*arguments: Any) -> Any:
        computed.append(1)
        return COMPUTE(*arguments)

    def writing(*arguments: Any) -> None:
        written.append(1)
        if len(written) == 2:
            raise RunError("the disk is full")
        write(*arguments)

    monkeypatch.setattr(ShardWorker, "compute", computing)
    monkeypatch.setattr(Output, "write", writing)
    with pytest.raises(RunError, match="the disk is full"):
        extracted(dataset, opt, tmp_path / "c", shard_rows=3)
    assert (len(computed), len(written)) == (3, 2)
    assert VectorCache.open(tmp_path / "c").n_rows == 3
    assert not list(tmp_path.rglob("*.partial-*"))


def test_a_damaged_item_table_is_an_error_of_the_data(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    pq.write_table(pq.read_table(dataset.path / "items.parquet").slice(0, 3).set_column(
        1, "text", [["a", None, "b"]]), dataset.path / "items.parquet")  # fmt: skip
    reseal(dataset.path)
    with pytest.raises(DataError, match="expected a text for every item, found nulls"):
        extracted(dataset, opt, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_no_items(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    pq.write_table(pq.read_table(dataset.path / "items.parquet").slice(0, 0), dataset.path / "items.parquet")
    reseal(dataset.path)
    done = extracted(dataset, opt, tmp_path / "c")
    assert (done.items, done.texts, done.computed) == (0, 0, 0)
    assert "0 texts (0.00%) cut" in done.summary()
    assert VectorCache.open(tmp_path / "c").describe()["datasets"][0]["items"] == 0


@pytest.mark.parametrize("rows", [7, 1000])
def test_the_progress_ends_at_the_number_of_items(
    tmp_path: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    counted: list[float] = []
    monkeypatch.setattr(texts_module, "_CHUNK", 5)

    def advance(self: Progress, n: float, note: str = "", **effort: float) -> None:
        counted.append(n)

    monkeypatch.setattr(Progress, "advance", advance)
    subset = save_dataset(tmp_path / "subset", TEXTS[:20])
    extracted(subset, opt, tmp_path / "c", shard_rows=rows)
    counted.clear()
    extracted(dataset, opt, tmp_path / "c", shard_rows=rows)
    assert sum(counted) == len(TEXTS)
    assert min(counted) >= 0
