"""If a test fails here, DuckDB has changed its words: `tcf/data/tables/duckdb_internals.py` must learn the new ones."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tcf.data.tables.duckdb_internals import is_about_scratch, is_of_other_bytes


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


def test_a_full_scratch_folder_is_told_from_too_little_memory(tmp_path: Path) -> None:
    many = "create temp table t as select md5(i::varchar) || md5((i + 1)::varchar) as a from range(3000000) r(i)"
    limits = f"set memory_limit = '64MiB'; set threads = 1; set temp_directory = '{tmp_path}'; "
    full = raised(f"{limits}set max_temp_directory_size = '16MiB'; {many}")
    assert isinstance(full, duckdb.OutOfMemoryException)
    assert is_about_scratch(full)
    assert not is_about_scratch(raised("set memory_limit = '8MiB'; set temp_directory = ''; " + many))
