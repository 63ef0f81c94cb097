"""If a test fails here, DuckDB has changed its words: `tcf/data/tables/duckdb_internals.py` must learn the new ones."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tcf.data.tables.duckdb_internals import is_of_other_bytes


def raised(query: str) -> duckdb.Error:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as caught:
        connection.execute(query).fetchall()
    return caught.value


def test_strings_of_other_bytes_are_known_by_the_words(tmp_path: Path) -> None:
    content = pa.array([b"x", b"\xff"], pa.large_binary()).buffers()
    pq.write_table(pa.table({"a": pa.LargeStringArray.from_buffers(2, *content[1:])}), tmp_path / "strings.parquet")
    assert is_of_other_bytes(raised(f"from read_parquet('{tmp_path / 'strings.parquet'}')"))
    assert is_of_other_bytes(raised("select decode('\\xFF'::blob)"))
    assert not is_of_other_bytes(raised("from read_parquet('nowhere.parquet')"))
