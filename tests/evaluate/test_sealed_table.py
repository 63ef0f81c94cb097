"""A Parquet file that a stage finds is taken for its result only if every byte is as it was written."""

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.caches import flip_bit
from tcf.evaluate.sealed_table import SealedTableWriter, is_sealed, read_sealed

SCHEMA = pa.schema([("user_id", pa.large_string()), ("place", pa.int32()), ("score", pa.float32())]).with_metadata(
    {"tcf.run": "abc"}
)


def written(file: Path, *parts: range, schema: pa.Schema = SCHEMA) -> Path:
    with SealedTableWriter(file, schema) as writer:
        for part in parts:
            columns = [[f"u{n}" for n in part], [*part], [n / 3 for n in part]]
            writer.write_table(pa.Table.from_arrays([*map(pa.array, columns)], names=schema.names).cast(schema))
    return file


def test_what_is_written_is_whole_and_read_as_any_parquet_file(tmp_path: Path) -> None:
    file = written(tmp_path / "a", range(100), range(100, 130))
    assert is_sealed(file, SCHEMA)
    assert pq.read_table(file)["place"].to_pylist() == [*range(130)]
    assert pq.read_schema(file).equals(SCHEMA, check_metadata=True)
    assert is_sealed(written(tmp_path / "none"), SCHEMA)
    assert file.read_bytes() == written(tmp_path / "b", range(100), range(100, 130)).read_bytes()


def test_a_flip_of_any_byte_is_found(tmp_path: Path) -> None:
    file = written(tmp_path / "a", range(20), range(20, 25))
    whole = file.read_bytes()
    for position in range(len(whole)):
        flip_bit(file, position)
        with suppress(OSError, pa.ArrowException):
            assert not is_sealed(file, SCHEMA), position
        file.write_bytes(whole)
    assert is_sealed(file, SCHEMA)


def test_rows_that_are_read_are_those_that_were_written(tmp_path: Path) -> None:
    file = written(tmp_path / "a", range(20), range(20, 25))
    whole, rows = file.read_bytes(), pq.read_table(file)
    assert read_sealed(file).equals(rows)
    for position in range(4, len(whole), 3):
        flip_bit(file, position)
        with suppress(OSError, pa.ArrowException, ValueError):
            found = read_sealed(file)
            assert found.columns == rows.columns, position  # a flip in what is not read
        file.write_bytes(whole)
    pq.write_table(rows, file)
    with pytest.raises(ValueError, match="expected the rows that were written"):
        read_sealed(file)


def test_other_metadata_other_columns_and_a_file_without_a_digest(tmp_path: Path) -> None:
    file = written(tmp_path / "a", range(3))
    assert not is_sealed(file, SCHEMA.with_metadata({"tcf.run": "abd"}))
    assert not is_sealed(file, SCHEMA.remove(2))
    pq.write_table(pq.read_table(file), tmp_path / "b")
    assert not is_sealed(tmp_path / "b", SCHEMA)
    (tmp_path / "c").write_text("csv")
    with pytest.raises(pa.ArrowInvalid):
        is_sealed(tmp_path / "c", SCHEMA)
