"""Parquet as blocks of columns of strings: numbers and dates as a text file would have them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tcf.common.errors import ConfigError, DataError
from tcf.common.ragged import offsets_from
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.source_file import Source, read_error_words, stamp_of
from tcf.data.tables.table import TableBlock, Unit, lacks_column

__all__ = ["ParquetTable"]

_BATCH_ROWS = 1 << 18
_HASH_BYTES = 1 << 22
_EXACT = 2.0**53  # whole numbers below it are exact in float64


class ParquetTable:
    """A Parquet file. Unusable rows are rejected as `nul_byte` or `bad_utf8`.

    Args:
        path: the file.

    Raises:
        DataError: the file cannot be read or is damaged.
    """

    unit: Unit = "row"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = stamp_of(path)
        with self._opened() as file:
            self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)
        self._sha256: str | None = None

    @property
    def sha256(self) -> str:
        """Sha256 of the file on disk, in hexadecimal, available once all blocks have been read."""
        if self._sha256 is None:
            raise ValueError(f"{self.path}: the checksum is available once all blocks have been read")
        return self._sha256

    def blocks(self, columns: Sequence[str], bad: BadRows) -> Iterator[TableBlock]:
        """Yield the rows in blocks; see `TableFile`."""
        self._check_columns(columns)
        first = 1
        for batch in self._batches(columns):
            arrays = {name: _as_strings(batch.column(name), name, self.path) for name in columns}
            block = TableBlock(self.path, "row", np.arange(first, first + len(batch)), arrays)
            first += len(batch)
            yield _trimmed(self._screened(block, bad))
        if first == 1:
            raise DataError(f"{self.path}: expected rows, found none; check its source")
        self._sha256 = self._checksum()

    def _check_columns(self, columns: Sequence[str]) -> None:
        for name in columns:
            if self.columns.count(name) == 0:
                raise ConfigError(lacks_column(self.path, name, self.columns))
            if self.columns.count(name) > 1:
                raise DataError(f"{self.path}: expected one column {name}, found several; rename one")

    def _opened(self) -> pq.ParquetFile:
        try:
            # Buffered, so that a row group is never in memory as a whole.
            return pq.ParquetFile(self.path, buffer_size=1 << 20)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from None

    def _batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        with self._opened() as file:
            try:
                yield from file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=True)
            except (OSError, pa.ArrowException) as error:
                raise self._damaged(error) from None

    def _checksum(self) -> str:
        with Source(self.path, self._stamp) as source:
            while source.read(_HASH_BYTES):
                pass
            return source.finish()

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path}: expected a complete Parquet file, found a damaged or truncated one "
            f"({read_error_words(error)[:200]}); download it again"
        )

    @staticmethod
    def _screened(block: TableBlock, bad: BadRows) -> TableBlock:
        if all(_is_clean(values) for values in block.columns.values()):
            return block
        block = block.without(_rows_with(block.columns, _has_nul), "nul_byte", "text", bad)
        return block.without(_rows_with(block.columns, _is_not_utf8), "bad_utf8", "UTF-8", bad)


def _trimmed(block: TableBlock) -> TableBlock:
    return replace(block, columns={name: pc.utf8_trim_whitespace(values) for name, values in block.columns.items()})


def _as_strings(values: "pa.Array", name: str, path: Path) -> "pa.LargeStringArray":
    """Convert a column to strings: nulls and NaN become empty, whole numbers have no decimal point, lists are joined.

    Null elements of lists are left out.

    Raises:
        DataError: its type, such as a structure, cannot be converted to strings.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _as_strings(values.dictionary_decode(), name, path)
    if pa.types.is_floating(kind):
        return _numbers_as_strings(np.asarray(values.cast(pa.float64()).fill_null(float("nan"))))
    try:
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            values = _joined(values.cast(pa.list_(pa.string())))
        return pc.fill_null(values.cast(pa.large_string()), "")
    except pa.ArrowException:
        raise DataError(
            f"{path}: expected strings, numbers, dates or lists of strings in column {name}, found {kind}; convert it"
        ) from None


def _joined(lists: "pa.ListArray") -> "pa.StringArray":
    flat = lists.flatten()
    if flat.null_count:
        there = np.asarray(flat.is_valid())
        owners = np.asarray(pc.list_parent_indices(lists))[there]
        offsets = offsets_from(np.bincount(owners, minlength=len(lists)))
        lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), flat.drop_null())
    return pc.binary_join(lists, " ")


def _numbers_as_strings(numbers: npt.NDArray[np.float64]) -> "pa.LargeStringArray":
    whole = (np.abs(numbers) < _EXACT) & (numbers == np.floor(numbers))
    integers = pc.cast(pa.array(np.where(whole, numbers, 0).astype(np.int64)), pa.large_string())
    others = pc.cast(pa.array(numbers), pa.large_string())
    strings = pc.if_else(pa.array(whole), integers, others)
    return pc.if_else(pa.array(np.isnan(numbers)), pa.scalar("", pa.large_string()), strings)


def _is_clean(values: "pa.LargeStringArray") -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    data = values.buffers()[2]
    return data is None or bool(np.frombuffer(data, np.uint8).all())


def _rows_with(columns: "Mapping[str, pa.LargeStringArray]", wrong: Any) -> npt.NDArray[np.bool_]:
    parts = [[wrong(value) for value in values.cast(pa.large_binary()).to_pylist()] for values in columns.values()]
    found = np.zeros(len(parts[0]), bool)
    for part in parts:
        found |= np.array(part, bool)
    return found


def _has_nul(value: bytes) -> bool:
    return b"\0" in value


def _is_not_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False
