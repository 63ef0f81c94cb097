"""Export of a dataset's vectors to one file for other programs: NumPy, Parquet or CSV, rows in item order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tcf.common.errors import CacheError
from tcf.common.files import format_by_suffix, publishing_file
from tcf.common.progress import Progress
from tcf.data.cache.cache_base import RowIndices
from tcf.data.cache.cache_files import Vectors
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.data.npy_files import ArrayFile

__all__ = ["FORMATS", "export"]

FORMATS = ("npy", "parquet", "csv")
_CHUNK = 16_384


def export(
    cache: VectorCache,
    dataset: Dataset,
    *,
    out: Path,
    type: Literal["float16", "float32"] | None = None,
) -> np.dtype[Any]:
    """Write every item's vector, in item order, with constant memory.

    Args:
        cache: a cache with a vector for every item of the dataset.
        dataset: the dataset, for the item order and, in Parquet and CSV, the item ids.
        out: file to write atomically, replaced if it exists. Its suffix chooses the format: `.npy`, an array
            (n_items, width); `.parquet`, columns `item_id` and `vector` (FixedSizeList of width elements that are
            never null); `.csv`, columns `item_id`, `v0`, `v1`, ..., with a header line.
        type: type of the numbers; None for the type in the cache.

    Returns:
        The type of the written numbers.

    Raises:
        ConfigError: the suffix is none of these.
        CacheError: some items have no vector, a shard is damaged, or a number does not fit the type.
    """
    format = format_by_suffix(out, FORMATS)
    rows = cache.rows_for(dataset)
    cache.verify_rows(rows)
    dtype = np.dtype(type or cache.dtype)
    with publishing_file(out) as staging:
        match format:
            case "npy":
                _write_npy(cache, dataset, rows, dtype, staging)
            case "parquet":
                _write_parquet(cache, dataset, rows, dtype, staging)
            case _:
                _write_csv(cache, dataset, rows, dtype, staging)
    return dtype


def _chunks(
    cache: VectorCache, dataset: Dataset, rows: RowIndices, dtype: "np.dtype[Any]"
) -> Iterator[tuple[slice, Vectors]]:
    """Yield slices of items, and their vectors in the given type."""
    with Progress("export", len(rows), "items") as progress:
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            vectors = cache.gather(rows[part])
            if dtype.itemsize < vectors.itemsize:
                _check_fit(vectors, cache, dataset, start)
            yield part, vectors.astype(dtype)
            progress.advance(len(vectors))


def _check_fit(vectors: Vectors, cache: VectorCache, dataset: Dataset, start: int) -> None:
    """Check that float16 can represent the vectors of the items from `start` on."""
    limit = float(np.finfo(np.float16).max)
    large = (np.abs(vectors) > limit).any(axis=1)
    if large.any():
        item = dataset.item_ids[start + int(large.argmax())].as_py()
        raise CacheError(
            f"{cache.path}: expected numbers of at most {limit:.0f}, which float16 can hold, found a larger one in "
            f"the vector of item {item}; export with --type float32"
        )


def _write_npy(cache: VectorCache, dataset: Dataset, rows: RowIndices, dtype: "np.dtype[Any]", file: Path) -> None:
    with ArrayFile(file, (cache.width,), dtype) as array:
        for _, vectors in _chunks(cache, dataset, rows, dtype):
            array.append(vectors)


def _write_parquet(cache: VectorCache, dataset: Dataset, rows: RowIndices, dtype: "np.dtype[Any]", file: Path) -> None:
    element = pa.field("element", pa.from_numpy_dtype(dtype), nullable=False)
    vector = pa.list_(element, cache.width)
    schema = pa.schema(
        [pa.field("item_id", pa.large_string(), nullable=False), pa.field("vector", vector, nullable=False)]
    )
    with pq.ParquetWriter(file, schema) as writer:
        for part, vectors in _chunks(cache, dataset, rows, dtype):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=vector)
            writer.write_table(pa.Table.from_arrays([dataset.item_ids[part], lists], schema=schema))


def _write_csv(cache: VectorCache, dataset: Dataset, rows: RowIndices, dtype: "np.dtype[Any]", file: Path) -> None:
    names = [f"v{number}" for number in range(cache.width)]
    schema = pa.schema([("item_id", pa.large_string()), *((name, pa.from_numpy_dtype(dtype)) for name in names)])
    with pyarrow.csv.CSVWriter(file, schema) as writer:
        for part, vectors in _chunks(cache, dataset, rows, dtype):
            columns = [pa.array(np.ascontiguousarray(column)) for column in vectors.T]
            writer.write_table(pa.Table.from_arrays([dataset.item_ids[part], *columns], schema=schema))
