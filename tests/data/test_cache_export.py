import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tcf.data.cache_export as module
from small_models import save_dataset
from tcf.data import Dataset, VectorCache
from tcf.data.cache_export import export
from tcf.data.cache_writer import create_cache, write_join, write_shard
from tcf.data.keys import text_keys
from tcf.errors import CacheError

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
    write_join(path, dataset, texts=keys, sequences=keys, facts={})
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
    export(cache, dataset, format="npy", out=tmp_path / "v.npy")
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
    export(cache, dataset, format="parquet", out=tmp_path / "v.parquet")
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


def test_parquet_read_by_pandas(tmp_path: Path, dataset: Dataset, storage: Any) -> None:
    cache = cache_of(tmp_path / "c", dataset, storage)
    export(cache, dataset, format="parquet", out=tmp_path / "v.parquet")
    frame = pd.read_parquet(tmp_path / "v.parquet")
    assert frame["item_id"].tolist() == ["i0", "i1", "i2", "i3", "i4"]
    vectors = np.stack(frame["vector"].tolist())
    assert vectors.dtype == storage
    assert (vectors == cache.vectors_for(dataset)).all()


def test_an_export_replaces_an_older_one(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    out = tmp_path / "new folder" / "v.npy"
    export(cache, dataset, format="parquet", out=out)
    export(cache, dataset, format="npy", out=out)
    assert np.load(out).shape == (5, WIDTH)
    assert [file.name for file in out.parent.iterdir()] == ["v.npy"]


def test_missing_vectors_leave_the_older_export(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    export(cache, dataset, format="npy", out=tmp_path / "v.npy")
    more = save_dataset(tmp_path / "more", [*TEXTS, "unknown"])
    with pytest.raises(CacheError, match="1 missing"):
        export(cache, more, format="npy", out=tmp_path / "v.npy")
    assert np.load(tmp_path / "v.npy").shape == (5, WIDTH)


def test_a_killed_export_leaves_nothing_for_long(tmp_path: Path, dataset: Dataset) -> None:
    cache = cache_of(tmp_path / "c", dataset, "float16")
    killed = (
        "import os, sys; from pathlib import Path; from tcf.files import publishing_file\n"
        "with publishing_file(Path(sys.argv[1])) as staging: staging.write_bytes(b'half'); os._exit(9)"
    )
    out = tmp_path / "out" / "v.npy"
    subprocess.run([sys.executable, "-c", killed, str(out)], check=False)
    assert not out.exists()
    assert len(list(out.parent.iterdir())) == 1
    export(cache, dataset, format="npy", out=out)
    assert [file.name for file in out.parent.iterdir()] == ["v.npy"]
