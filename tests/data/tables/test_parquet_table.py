"""Parquet as a table of strings: types, damage, and bytes that are not text."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.tables import read
from tcf.common.errors import ConfigError, DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.parquet_table import ParquetTable


def written(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def texts_of(engine: Engine, path: Path) -> dict[str, list[str]]:
    table = ParquetTable(path)
    rows = [row[1:] for row in read(engine, table, table.columns)]
    return dict(zip(table.columns, map(list, zip(*rows, strict=True)), strict=True))


def test_types_as_text_would_have_them(tmp_path: Path, engine: Engine) -> None:
    columns = {
        "whole": [17850.0, float("nan"), -3.0, None],
        "fraction": [0.5, 1e20, 12345678901.0, 2.0],
        "integer": pa.array([1, None, -5, 2**60], pa.int64()),
        "coded": pa.array([" x ", "y", None, "x"]).dictionary_encode(),
        "listed": [["p", None, "q"], [], None, [None, "r"]],
        "day": [date(2019, 11, 12), None, date(1970, 1, 1), date(2020, 2, 29)],
        "moment": [datetime(2019, 11, 12, 14, 14, 46), None, datetime(1970, 1, 1), datetime(2020, 1, 1)],
    }
    assert texts_of(engine, written(tmp_path, columns)) == {
        "whole": ["17850", "", "-3", ""],
        "fraction": ["0.5", "100000000000000000000", "12345678901", "2"],
        "integer": ["1", "", "-5", str(2**60)],
        "coded": ["x", "y", "", "x"],
        "listed": ["p, q", "", "", "r"],
        "day": ["2019-11-12", "", "1970-01-01", "2020-02-29"],
        "moment": ["2019-11-12 14:14:46.000000", "", "1970-01-01 00:00:00.000000", "2020-01-01 00:00:00.000000"],
    }


def test_times_of_every_unit_and_zone(tmp_path: Path, engine: Engine) -> None:
    moment, east = datetime(2019, 11, 12, 14, 14, 46, 5), timezone(timedelta(hours=2))
    columns = {
        "s": pa.array([1573568086, None], pa.timestamp("s")),
        "ms": pa.array([1573568086007, None], pa.timestamp("ms")),
        "ns": pa.array([1573568086000000009, None], pa.timestamp("ns")),
        "utc": pa.array([moment.replace(tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "east": pa.array([moment.replace(tzinfo=east), None], pa.timestamp("us", "+02:00")),
        "ns utc": pa.array([1573568086000000009, None], pa.timestamp("ns", "UTC")),
        "early": pa.array([datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999999)], pa.timestamp("us")),
        "day": pa.array([date(1, 1, 1), date(9999, 12, 31)], pa.date32()),
        "clock": pa.array([time(14, 14, 46), None], pa.time64("us")),
    }
    assert texts_of(engine, written(tmp_path, columns)) == {
        "s": ["2019-11-12 14:14:46.000000", ""],
        "ms": ["2019-11-12 14:14:46.007000", ""],
        "ns": ["2019-11-12 14:14:46.000000009", ""],
        "utc": ["2019-11-12 14:14:46.000005Z", ""],
        "east": ["2019-11-12 12:14:46.000005Z", ""],
        "ns utc": ["2019-11-12 14:14:46.000000009Z", ""],
        "early": ["0001-01-01 00:00:00.000000", "1969-12-31 23:59:59.999999"],
        "day": ["0001-01-01", "9999-12-31"],
        "clock": ["14:14:46", ""],
    }


def test_numbers_of_every_type(tmp_path: Path, engine: Engine) -> None:
    columns = {
        "decimal": pa.array([Decimal("12.30"), Decimal("-0.05")], pa.decimal128(10, 2)),
        "wide": pa.array([Decimal(10**30), None], pa.decimal128(38, 0)),
        "unsigned": pa.array([2**64 - 1, 0], pa.uint64()),
        "least": pa.array([-(2**63), None], pa.int64()),
        "small": pa.array([-128, 127], pa.int8()),
        "single": pa.array([0.1, 16777216.0], pa.float32()),
        "large": [2.0**53, -(2.0**53) + 1],
        "infinite": [float("inf"), float("-inf")],
        "tiny": [5e-324, 1e-7],
        "truth": [True, False],
        "nothing": pa.array([None, None], pa.null()),
    }
    assert texts_of(engine, written(tmp_path, columns)) == {
        "decimal": ["12.30", "-0.05"],
        "wide": [str(10**30), ""],
        "unsigned": [str(2**64 - 1), "0"],
        "least": [str(-(2**63)), ""],
        "small": ["-128", "127"],
        "single": ["0.10000000149011612", "16777216"],
        "large": ["9007199254740992", "-9007199254740991"],
        "infinite": ["inf", "-inf"],
        "tiny": ["5e-324", "1e-07"],
        "truth": ["true", "false"],
        "nothing": ["", ""],
    }


def test_texts_of_every_type(tmp_path: Path, engine: Engine) -> None:
    columns = {
        "bytes": pa.array([b"abc", "é".encode()], pa.binary()),
        "fixed": pa.array([b"abc", b"xyz"], pa.binary(3)),
        "large": pa.array(["000123", "NaN"], pa.large_string()),
        "view": pa.array(["None", "\tnull\u3000"], pa.string_view()),
        "numbers": pa.array([[1, None, 2], []], pa.list_(pa.int32())),
        "a \"b\", 'c'": ["x", "y"],
        "LARGE": ["X", "Y"],
    }
    assert texts_of(engine, written(tmp_path, columns)) == {
        "bytes": ["abc", "é"],
        "fixed": ["abc", "xyz"],
        "large": ["000123", "NaN"],
        "view": ["None", "null"],
        "numbers": ["1, 2", ""],
        "a \"b\", 'c'": ["x", "y"],
        "LARGE": ["X", "Y"],
    }


def test_rows_are_numbered_as_rows(tmp_path: Path, engine: Engine) -> None:
    path, bad = written(tmp_path, {"a": ["x", "y\0", "z", "\0"]}), BadRows("skip")
    assert read(engine, ParquetTable(path), ("a",), bad) == [(1, "x"), (3, "z")]
    assert bad.skipped == {"nul_byte": 2}
    with pytest.raises(DataError, match=r"t.parquet, row 2: expected text, .* \(nul_byte\) in all, on rows 2, 4;"):
        read(engine, ParquetTable(path), ("a",))


def test_many_row_groups_keep_their_order(tmp_path: Path, engine: Engine) -> None:
    numbers = [str(number) for number in range(20_000)]
    pq.write_table(pa.table({"a": numbers}), tmp_path / "t.parquet", row_group_size=700)
    rows = read(engine, ParquetTable(tmp_path / "t.parquet"), ("a",))
    assert rows == list(enumerate(numbers, 1))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.large_binary()], ids=str)
def test_text_that_is_no_utf8_is_refused(tmp_path: Path, engine: Engine, kind: pa.DataType) -> None:
    raw = pa.LargeBinaryArray.from_buffers(kind, 3, pa.array([b"x", b"\xff", b"y"], pa.large_binary()).buffers())
    path, bad = written(tmp_path, {"n": [1, 2, 3], "a": raw}), BadRows("skip")
    assert read(engine, ParquetTable(path), ("n", "a"), bad) == [(1, "1", "x"), (3, "3", "y")]
    assert bad.skipped == {"bad_utf8": 1}


@pytest.mark.parametrize("cut", [0, 4, 60, -5])
def test_damaged_files(tmp_path: Path, engine: Engine, cut: int) -> None:
    path = written(tmp_path, {"a": [str(number) for number in range(1000)]})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="expected a complete Parquet file, found a damaged or truncated one"):
        read(engine, ParquetTable(path), ("a",))


def test_files_damaged_amid_the_rows(tmp_path: Path, engine: Engine) -> None:
    """Whatever the engine says of damage is an error of this program, without a line break."""
    path = written(tmp_path, {"a": [str(number * 7919) for number in range(5000)]})
    whole = path.read_bytes()
    for at in range(4, len(whole) - 8, len(whole) // 40):
        path.write_bytes(whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 4]) + whole[at + 4 :])
        try:
            read(engine, ParquetTable(path), ("a",), BadRows("skip"))
        except DataError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)


def test_no_rows_and_no_such_column(tmp_path: Path, engine: Engine) -> None:
    structs = pa.array([], pa.struct([("x", pa.int64())]))
    path = written(tmp_path, {"a": pa.array([], pa.string()), "s": structs})
    with pytest.raises(DataError, match="expected rows, found none"):
        read(engine, ParquetTable(path), ("a",))
    with pytest.raises(ConfigError, match=r"expected one of its columns \(a, s\), found b"):
        read(engine, ParquetTable(path), ("b",))


def test_a_type_without_text(tmp_path: Path, engine: Engine) -> None:
    engine.run(f"copy (select 1::variant as v) to '{tmp_path / 't.parquet'}'")
    with pytest.raises(DataError, match="expected strings, numbers, dates, or .* in column v, found (VARIANT|VARCHAR)"):
        read(engine, ParquetTable(tmp_path / "t.parquet"), ("v",))


def test_a_file_that_changes_is_refused(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, {"a": ["x"]})
    table = ParquetTable(path)
    written(tmp_path, {"a": ["x", "y"]})
    with pytest.raises(DataError, match="another process is writing it"):
        read(engine, table, ("a",))
