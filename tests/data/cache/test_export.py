import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tcf.data.cache.export as module
from small.data.caches import IDENTITY, new_token_states
from small.encoders.models import save_dataset
from tcf.commands.app import app
from tcf.common.errors import CacheError, ConfigError
from tcf.data import Dataset, VectorCache
from tcf.data.cache.export import export
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.keys import text_keys

TEXTS = ["c", "a", "é", "a", "b"]
WIDTH = 4


def cache_of(path: Path, dataset: Dataset, storage: Literal["float16", "float32"]) -> VectorCache:
    """A cache of two shards; a text's vector is made of its code point."""
    identity = {"pooling": "mean", "max_tokens": 30, "compute": "float32", "storage": storage}
    create_cache(path, identity=identity, model="toy", width=WIDTH)
    texts = ["a", "b", "c", "é"]
    keys = text_keys(pa.array(texts, pa.large_string()))
    for part in (slice(0, 1), slice(1, 4)):
        write_shard(path, keys[part], np.stack([vector(text) for text in texts[part]]).astype(storage))
    write_text_map(path, dataset, texts=keys, sequences=keys, metadata={})
    return VectorCache.open(path)


def vector(text: str) -> np.ndarray[Any, Any]:
    return ord(text) / 7 + np.arange(WIDTH)


@pytest.fixture(params=["float16", "float32"])
def storage(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)


@pytest.mark.parametrize("chunk", [2, 16_384])
def test_npy(tmp_path: Path, dataset: Dataset, storage: Any, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    cache = cache_of(tmp_path / "c", dataset, storage)
    export(cache, dataset, out=tmp_path / "v.npy")
    for mode in (None, "r"):
        vectors = np.load(tmp_path / "v.npy", mmap_mode=mode, allow_pickle=False)
        assert vectors.dtype == storage
        assert vectors.shape == (5, WIDTH)
        assert (vectors == np.stack([vector(text) for text in TEXTS]).astype(storage)).all()


@pytest.mark.parametrize("chunk", [2, 16_384])
def test_parquet_read_by_pyarrow(
    tmp_path: Path, dataset: Dataset, storage: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    cache = cache_of(tmp_path / "c", dataset, storage)
    export(cache, dataset, out=tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    kind = table.schema.field("vector").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.list_size == WIDTH
    assert kind.value_type == pa.from_numpy_dtype(np.dtype(storage))
    assert not kind.value_field.nullable
    assert not table.schema.field("vector").nullable
    assert table["item_id"].to_pylist() == ["i0", "i1", "i2", "i3", "i4"]
    flat = table["vector"].combine_chunks().flatten().to_numpy()
    assert (flat.reshape(5, WIDTH) == cache.vectors_for(dataset)).all()
    assert table["vector"].null_count == 0


@pytest.fixture
def extremes(tmp_path: Path, storage: Any) -> tuple[VectorCache, Dataset, np.ndarray[Any, Any]]:
    """Vectors of every kind of number that a type has: largest, smallest, below normal, both zeros, odd last bits."""
    info = np.finfo(storage)
    numbers = [
        info.max,
        info.min,
        info.tiny,
        info.smallest_subnormal,
        -info.smallest_subnormal,
        0.0,
        -0.0,
        1 + info.eps,
    ]
    draw = np.random.default_rng(0).standard_normal(100 * WIDTH - len(numbers))
    vectors = np.concatenate([np.array(numbers, storage), draw.astype(storage)]).reshape(100, WIDTH)
    texts = [str(n) for n in range(100)]
    dataset = save_dataset(tmp_path / "extremes", texts)
    create_cache(tmp_path / "x", identity={**IDENTITY, "storage": storage}, model="toy", width=WIDTH)
    keys = text_keys(pa.array(texts, pa.large_string()))
    write_shard(tmp_path / "x", keys, vectors)
    write_text_map(tmp_path / "x", dataset, texts=keys, sequences=keys, metadata={})
    return VectorCache.open(tmp_path / "x"), dataset, vectors


@pytest.mark.parametrize("type", [None, "float32"])
def test_parquet_read_by_four_programs(tmp_path: Path, extremes: Any, storage: Any, type: Any) -> None:
    cache, dataset, vectors = extremes
    out = tmp_path / "v.parquet"
    assert export(cache, dataset, out=out, type=type) == np.dtype(type or storage)
    written = np.dtype(type or storage)
    expected = vectors.astype(written)
    ids = [f"i{n}" for n in range(100)]

    table = pq.read_table(out)
    by_arrow = table["vector"].combine_chunks().flatten().to_numpy().reshape(100, WIDTH)
    assert table["item_id"].to_pylist() == ids

    frame = pd.read_parquet(out)
    by_pandas = np.stack(frame["vector"].tolist())
    assert frame["item_id"].tolist() == ids

    polars_frame = polars.read_parquet(out)
    by_polars = polars_frame["vector"].to_numpy()
    inner = polars.Float16 if written == np.float16 else polars.Float32
    assert polars_frame.schema["vector"] == polars.Array(inner, WIDTH)
    assert polars_frame["item_id"].to_list() == ids

    rows = duckdb.connect().execute(f"SELECT item_id, vector, typeof(vector) FROM '{out}'").fetchall()
    by_duckdb = np.array([vector for _, vector, _ in rows], np.float64)
    assert [item for item, _, _ in rows] == ids
    # DuckDB has no 16-bit type; FLOAT holds every number of float16.
    assert {kind for _, _, kind in rows} == {"FLOAT[]"}

    for read in (by_arrow, by_pandas, by_polars):
        assert read.dtype == written
        assert read.tobytes() == expected.tobytes()
    assert by_duckdb.tobytes() == expected.astype(np.float64).tobytes()


def test_csv_read_by_three_programs(tmp_path: Path, extremes: Any, storage: Any) -> None:
    cache, dataset, vectors = extremes
    out, names = tmp_path / "v.csv", [f"v{n}" for n in range(WIDTH)]
    assert export(cache, dataset, out=out) == storage
    frame = pd.read_csv(out)
    polars_frame = polars.read_csv(out)
    rows = duckdb.connect().execute(f"SELECT * FROM '{out}'").fetchall()
    assert [*frame.columns] == polars_frame.columns == ["item_id", *names]
    ids = [f"i{n}" for n in range(100)]
    assert frame["item_id"].to_list() == polars_frame["item_id"].to_list() == [row[0] for row in rows] == ids
    by_duckdb = np.array([row[1:] for row in rows], np.float64)
    for read in (frame[names].to_numpy(), polars_frame[names].to_numpy(), by_duckdb):
        assert (read.astype(storage) == vectors).all()


def test_the_suffix_says_the_format(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    export(cache, dataset, out=tmp_path / "V.NPY")
    assert np.load(tmp_path / "V.NPY").shape == (5, WIDTH)
    for name in ("v", "v.npz", "npy", "v.csv.gz"):
        with pytest.raises(
            ConfigError, match=r"--out: expected a file name that ends in .npy, .parquet or .csv, found"
        ):
            export(cache, dataset, out=tmp_path / name)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["V.NPY", "c", "d"]


def test_another_type(tmp_path: Path, dataset: Dataset, storage: Any) -> None:
    cache = cache_of(tmp_path / "c", dataset, storage)
    for type in ("float16", "float32"):
        assert export(cache, dataset, out=tmp_path / "v.npy", type=type) == type
        vectors = np.load(tmp_path / "v.npy")
        assert vectors.dtype == type
        assert (vectors == cache.vectors_for(dataset).astype(type)).all()


def test_a_number_that_the_type_cannot_hold(tmp_path: Path) -> None:
    dataset = save_dataset(tmp_path / "d", ["a", "b", "c"])
    create_cache(tmp_path / "c", identity={**IDENTITY, "storage": "float32"}, model="toy", width=2)
    keys = text_keys(dataset.texts)
    write_shard(tmp_path / "c", keys, np.array([[65504, 0], [0, -65536], [1e9, 0]], np.float32))
    write_text_map(tmp_path / "c", dataset, texts=keys, sequences=keys, metadata={})
    cache = VectorCache.open(tmp_path / "c")
    with pytest.raises(CacheError, match=r"at most 65504, which float16 .* of item i1; export with --type float32"):
        export(cache, dataset, out=tmp_path / "v.npy", type="float16")
    assert not (tmp_path / "v.npy").exists()
    export(cache, dataset, out=tmp_path / "v.npy", type="float32")


def test_token_states_are_not_exported(tmp_path: Path, dataset: Dataset) -> None:
    new_token_states(tmp_path / "s")
    done = CliRunner().invoke(app, ["cache", "export", str(tmp_path / "s"), "--out", str(tmp_path / "v.npy")])
    assert isinstance(done.exception, CacheError)
    assert "expected a cache of vectors, found one of token states" in str(done.exception)


def test_an_export_replaces_an_older_one(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    out = tmp_path / "new folder" / "v.npy"
    export(cache, dataset, out=out)
    export(cache, dataset, out=out)
    assert np.load(out).shape == (5, WIDTH)
    assert [file.name for file in out.parent.iterdir()] == ["v.npy"]


def test_missing_vectors_leave_the_older_export(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    export(cache, dataset, out=tmp_path / "v.npy")
    more = save_dataset(tmp_path / "more", [*TEXTS, "unknown"])
    with pytest.raises(CacheError, match="1 missing"):
        export(cache, more, out=tmp_path / "v.npy")
    assert np.load(tmp_path / "v.npy").shape == (5, WIDTH)


def test_a_killed_export_leaves_nothing_for_long(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    killed = (
        "import os, sys; from pathlib import Path; from tcf.common.files import publishing_file\n"
        "with publishing_file(Path(sys.argv[1])) as staging: staging.write_bytes(b'half'); os._exit(9)"
    )
    out = tmp_path / "out" / "v.npy"
    subprocess.run([sys.executable, "-c", killed, str(out)], check=False)
    assert not out.exists()
    assert len(list(out.parent.iterdir())) == 1
    export(cache, dataset, out=out)
    assert [file.name for file in out.parent.iterdir()] == ["v.npy"]
