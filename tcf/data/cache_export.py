"""Vectors of a dataset as one file for other programs: NumPy or Parquet, rows in item order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tcf.data.cache import VectorCache
from tcf.data.cache_files import Vectors
from tcf.data.dataset import Dataset
from tcf.files import publishing_file

__all__ = ["export"]

_CHUNK = 16_384


def export(cache: VectorCache, dataset: Dataset, *, format: Literal["npy", "parquet"], out: Path) -> None:
    """Write every item's vector, in item order, in the cache's storage type; memory stays flat.

    Args:
        cache: holds a vector for every item of the dataset.
        dataset: gives the order, and for Parquet the ids.
        format: `npy`, an array (n_items, width); `parquet`, columns `item_id` and `vector`
            (FixedSizeList of width elements that are never null).
        out: the file; replaced if it exists, complete or not there at all.

    Raises:
        CacheError: some items have no vector.
    """
    rows = cache.rows_for(dataset)
    with publishing_file(out) as staging:
        match format:
            case "npy":
                _write_npy(cache, rows, staging)
            case "parquet":
                _write_parquet(cache, dataset, rows, staging)


def _chunks(cache: VectorCache, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, len(rows), _CHUNK):
        yield start, cache.gather(rows[start : start + _CHUNK])


def _write_npy(cache: VectorCache, rows: npt.NDArray[np.int64], file: Path) -> None:
    shape = (len(rows), cache.width)
    header = {"descr": np.lib.format.dtype_to_descr(cache.dtype), "fortran_order": False, "shape": shape}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for _, vectors in _chunks(cache, rows):
            stream.write(vectors.tobytes())


def _write_parquet(cache: VectorCache, dataset: Dataset, rows: npt.NDArray[np.int64], file: Path) -> None:
    element = pa.field("element", pa.from_numpy_dtype(cache.dtype), nullable=False)
    vector = pa.list_(element, cache.width)
    schema = pa.schema(
        [pa.field("item_id", pa.large_string(), nullable=False), pa.field("vector", vector, nullable=False)]
    )
    with pq.ParquetWriter(file, schema) as writer:
        for start, vectors in _chunks(cache, rows):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=vector)
            ids = dataset.item_ids.slice(start, len(vectors))
            writer.write_table(pa.Table.from_arrays([ids, lists], schema=schema))
