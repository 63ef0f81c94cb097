"""Parquet files that state a digest of their rows, so that a file found there is known to be as it was written."""

import hashlib
import io
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["SealedTableWriter", "is_sealed", "read_sealed"]

_SEAL = b"tcf.rows"  # entry of the file's metadata


class SealedTableWriter:
    """Writes tables to a Parquet file, also as a context manager; on exit, the digest of all rows is added.

    Args:
        file: the file, or a stream that is not closed.
        schema: the columns: texts and numbers without nulls; and metadata.
    """

    def __init__(self, file: Path | io.RawIOBase, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema)
        self._rows = _RowsDigest(len(schema))

    def __enter__(self) -> Self:
        """Return the writer, whose file is already open."""
        return self

    @property
    def digest(self) -> str:
        """The digest of the rows so far, however they are divided into tables."""
        return self._rows.hexdigest()

    def write_table(self, table: pa.Table) -> None:
        """Append a table with these columns."""
        self._rows.add(table)
        self._writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Add the digest and close the file."""
        self._writer.add_key_value_metadata({_SEAL: self.digest})
        self._writer.close()


def is_sealed(file: Path, schema: pa.Schema) -> bool:
    """Whether a file has these columns and metadata, and is as `SealedTableWriter` wrote it, byte for byte.

    The digest covers the rows; what else the file holds is compared with what would be written for them.

    Raises:
        OSError: the file cannot be read.
        ArrowException: it is no Parquet file, or is damaged.
    """
    again = _Hashed()
    with pq.ParquetFile(file) as opened, SealedTableWriter(again, schema) as writer:
        if not opened.schema_arrow.equals(schema, check_metadata=True):
            return False
        for group in range(opened.num_row_groups):
            writer.write_table(opened.read_row_group(group))
        stated = _stated(opened)
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return stated == writer.digest and found == again.content.hexdigest()


def read_sealed(file: Path) -> pa.Table:
    """Read all rows of a file that `SealedTableWriter` wrote.

    Raises:
        OSError: the file cannot be read.
        ArrowException: it is no Parquet file, or is damaged.
        ValueError: the rows are not those that were written.
    """
    with pq.ParquetFile(file) as opened:
        table: pa.Table = opened.read()
        stated = _stated(opened)
    found = _RowsDigest(table.num_columns)
    found.add(table)
    if found.hexdigest() != stated:
        raise ValueError("expected the rows that were written, found others")
    return table


class _RowsDigest:
    """The digest of the rows of tables, however they are divided into tables."""

    def __init__(self, n_columns: int) -> None:
        self._columns = [hashlib.sha256() for _ in range(n_columns)]

    def add(self, table: pa.Table) -> None:
        """Continue with the rows of a table."""
        for digest, column in zip(self._columns, table.columns, strict=True):
            for chunk in column.chunks:
                digest.update(_content(chunk))

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return hashlib.sha256(b"".join(column.digest() for column in self._columns)).hexdigest()


def _stated(file: pq.ParquetFile) -> str:
    """The digest that a file states; empty if it states none."""
    return str((file.metadata.metadata or {}).get(_SEAL, b"").decode(errors="replace"))


def _content(chunk: pa.Array) -> bytes:
    """The values as bytes, which neither the division into chunks nor what lies beside them in memory changes."""
    if pa.types.is_large_string(chunk.type):
        return b"".join(len(text).to_bytes(8, "little") + text for text in chunk.cast(pa.large_binary()).to_pylist())
    return np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False)).tobytes()


class _Hashed(io.RawIOBase):
    """A stream that keeps nothing of what is written but its sha256."""

    def __init__(self) -> None:
        self.content = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, piece: Any) -> int:
        """Add bytes to the digest."""
        self.content.update(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._size
