"""Parquet, read by DuckDB as columns of strings: numbers and dates as a text file would have them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import DataError
from tcf.common.manifest import sha256_file
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.duckdb_internals import is_of_other_bytes
from tcf.data.tables.engine import Engine, file_literal
from tcf.data.tables.nested.parquet_text import ColumnText, holds_long_decimals
from tcf.data.tables.source_file import NoRowsError, check_unchanged, read_error_words, stamp_of
from tcf.data.tables.table import RawTable, check_columns, trimmed
from tcf.data.tables.text_form import BAD_UTF8, escaped_bytes

__all__ = ["ParquetTable"]

_TEXT_KINDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


class ParquetTable:
    """A Parquet file. Unusable rows are rejected as `nul_byte` or `bad_utf8`.

    Structs, maps and lists are written out (see `nested`); nulls and NaN become empty strings.

    Args:
        path: the file.

    Raises:
        DataError: the file cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = stamp_of(path)
        try:
            with pq.ParquetFile(path) as file:
                self._schema = file.schema_arrow
                self.columns: tuple[str, ...] = tuple(self._schema.names)
                self._n_rows = file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from None

    def load(self, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        """Read the rows; see `TableFile`."""
        check_columns(self.path, columns, self.columns)
        if self._n_rows == 0:
            raise NoRowsError(f"{self.path}: expected rows, found none; check its source")
        name, has_bad_bytes = engine.name("rows"), False
        try:
            try:
                with engine.reading(self.path):
                    self._refuse_long_decimals(columns)
                    self._create(
                        engine,
                        name,
                        columns,
                        f"read_parquet({file_literal(self.path)}, hive_partitioning = false)",
                        self.columns,
                    )
            except duckdb.Error as error:
                has_bad_bytes = is_of_other_bytes(error)
                if not has_bad_bytes:
                    raise
                self._create_escaped(engine, name, columns)
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            raise self._damaged(error) from None
        check_unchanged(self.path, self._stamp)
        if engine.number(f"select count(*) from {name}") != self._n_rows:
            raise DataError(
                f"{self.path}: expected {self._n_rows} rows, found others; report this file as a defect of tcf"
            )
        sha256 = sha256_file(self.path)
        check_unchanged(self.path, self._stamp)
        names = {column: f"c{at}" for at, column in enumerate(columns)}
        rows = RawTable.of_file(engine, name, self.path, "row", names, lambda row: row + 1, sha256)
        rows.reject_values(lambda text: f"contains({text}, chr(0))", "nul_byte", "text", bad)
        if has_bad_bytes:
            rows.reject_values(lambda text: f"regexp_matches({text}, '{BAD_UTF8}')", "bad_utf8", "UTF-8", bad)
        return rows

    def _create(self, engine: Engine, name: str, columns: Sequence[str], source: str, there: Sequence[str]) -> None:
        """Read columns of a source that has those of `there`; the engine does not distinguish case in names."""
        named = f"{source} there({', '.join(f'p{at}' for at in range(len(there)))})"
        wanted = [f"p{there.index(column)}" for column in columns]

        def type_of(value: str) -> str:
            return str(engine.rows(f"describe select {value} from {named}")[0][1])

        texts = [
            ColumnText(self.path, column, type_of).of(value, self._schema.field(column).type)
            for column, value in zip(columns, wanted, strict=True)
        ]
        values = ", ".join(f"{text} as c{at}" for at, text in enumerate(texts))
        final = ", ".join(f"coalesce({trimmed(f'c{at}')}, '') as c{at}" for at in range(len(texts)))
        engine.run(f"create temp table {name} as select {final} from (select {values} from {named})")

    def _create_escaped(self, engine: Engine, name: str, columns: Sequence[str]) -> None:
        """Read a file whose strings are not all UTF-8, which the engine refuses as a whole."""
        with pq.ParquetFile(self.path) as file:
            fields = [file.schema_arrow.field(column) for column in columns]
            schema = pa.schema([field.with_type(pa.large_string()) if _is_text(field) else field for field in fields])
            reader = pa.RecordBatchReader.from_batches(schema, _escaped(file, schema, fields))
            engine.read_from(reader, lambda source: self._create(engine, name, columns, source, columns))

    def _refuse_long_decimals(self, columns: Sequence[str]) -> None:
        for column in columns:
            if holds_long_decimals(self._schema.field(column).type):
                raise DataError(
                    f"{self.path}: expected decimals of at most 38 digits in column {column}, found longer ones, which "
                    "would be rounded; convert them to strings"
                )

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path}: expected a complete Parquet file, found a damaged or truncated one "
            f"({read_error_words(error)[:200]}); download it again"
        )


def _is_text(field: pa.Field) -> bool:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return any(is_kind(kind) for is_kind in _TEXT_KINDS)


def _escaped(file: pq.ParquetFile, schema: pa.Schema, fields: Sequence[pa.Field]) -> "Iterator[pa.RecordBatch]":
    for batch in file.iter_batches(columns=schema.names):
        arrays = [batch.column(field.name) for field in fields]
        texts = [escaped_bytes(a) if _is_text(field) else a for a, field in zip(arrays, fields, strict=True)]
        yield pa.record_batch(texts, schema=schema)
