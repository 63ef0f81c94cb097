"""Files whose names, folders or sizes mean something to the engine that they do not mean here."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.tables import read
from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.open_table import open_table
from tcf.data.tables.parquet_table import ParquetTable
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("named", "other"), [("[e]", "e"), ("e*", "e2"), ("e?", "e2"), ("b=9", "e"), ('it\'s "e"', "e")], ids=str
)
def test_a_name_is_no_pattern_and_no_partition(
    tmp_path: Path, engine: Engine, suffix: str, named: str, other: str
) -> None:
    for name, value in ((named, "right"), (other, "wrong")):
        folder = tmp_path / name
        folder.mkdir()
        for stem in (named, other):
            write_table(folder / f"{stem}.{suffix}", value if stem == named else "wrong")
    rows = read(engine, open_table(tmp_path / named / f"{named}.{suffix}"), ("b",))
    assert [value for _, value in rows] == ["right"]


def write_table(path: Path, value: str) -> None:
    match path.suffix:
        case ".csv":
            path.write_text(f"a,b\n1,{value}\n")
        case ".jsonl":
            path.write_text(json.dumps({"a": 1, "b": value}) + "\n")
        case _:
            pq.write_table(pa.table({"a": [1], "b": [value]}), path)


@pytest.mark.parametrize("name", ["e.csv.gz", "e.csv.zst", "E.CSV.GZ"])
def test_a_suffix_does_not_pack_a_file(tmp_path: Path, engine: Engine, name: str) -> None:
    (tmp_path / name).write_text("a,b\n1,2\n")
    assert read(engine, open_table(tmp_path / name), ("b",)) == [(2, "2")]


def test_packed_files_are_known_by_what_comes_before_the_suffix(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "e.JSONL.zst").write_bytes(pa.compress(b'{"a":"x"}\n', codec="zstd", asbytes=True))
    (tmp_path / "e.tsv.zst").write_bytes(pa.compress(b"a\tb\nx\ty\n", codec="zstd", asbytes=True))
    assert read(engine, open_table(tmp_path / "e.JSONL.zst"), ("a",)) == [(1, "x")]
    assert read(engine, open_table(tmp_path / "e.tsv.zst"), ("b",)) == [(2, "y")]


def test_records_longer_than_the_buffers_of_the_engine(tmp_path: Path, engine: Engine) -> None:
    long = "x" * 33_000_000
    (tmp_path / "t.jsonl").write_text(f'{{"a":"1","b":"{long}"}}\n{{"a":"2"}}\n{{"a":"3","b":"{long}"}}\n')
    rows = read(engine, JsonTable(tmp_path / "t.jsonl"), ("a", "b"))
    assert [(line, a, len(b)) for line, a, b in rows] == [(1, "1", len(long)), (2, "2", 0), (3, "3", len(long))]


def test_floats_without_nulls_may_be_no_numbers(tmp_path: Path, engine: Engine) -> None:
    pq.write_table(pa.table({"a": pa.array([1.0, float("nan"), 2.5, float("inf")])}), tmp_path / "t.parquet")
    rows = read(engine, ParquetTable(tmp_path / "t.parquet"), ("a",))
    assert rows == [(1, "1"), (2, ""), (3, "2.5"), (4, "inf")]


def test_decimals_that_would_be_rounded_are_refused(tmp_path: Path, engine: Engine) -> None:
    pq.write_table(pa.table({"a": pa.array([None], pa.decimal256(50, 0))}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="expected decimals of at most 38 digits in column a, found longer ones"):
        read(engine, ParquetTable(tmp_path / "t.parquet"), ("a",))


def test_hundreds_of_columns_with_a_bad_byte(tmp_path: Path, engine: Engine) -> None:
    names = [f"n{at}" for at in range(200)]
    row = b",".join(b"v%d" % at for at in range(200))
    (tmp_path / "t.csv").write_bytes(b"%b\n%b\n\xff%b\n" % (",".join(names).encode(), row, row))
    bad = BadRows("skip")
    assert read(engine, TextTable(tmp_path / "t.csv", TextForm()), ("n199",), bad) == [(2, "v199")]
    assert bad.skipped == {"bad_utf8": 1}


def test_spaces_as_delimiters_beside_quotes(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "t.txt").write_text('a b c\nu  "two words"\n')
    assert read(engine, TextTable(tmp_path / "t.txt", TextForm(" ")), ("a", "b", "c")) == [(2, "u", "", "two words")]


def test_half_a_surrogate_pair_matters_only_where_it_is_asked_for(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "t.jsonl").write_text('{"a":"x","b":"cut \\ud83d"}\n{"a":"y","b":"\\ud83d\\ude00"}\n')
    bad = BadRows("skip")
    assert read(engine, JsonTable(tmp_path / "t.jsonl"), ("a",), bad) == [(1, "x"), (2, "y")]
    assert read(engine, JsonTable(tmp_path / "t.jsonl"), ("a", "b"), bad) == [(2, "y", "😀")]
    assert bad.skipped == {"bad_utf8": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a,"b"c\n1,2\n', ":1: expected a header with the names of columns, found 'a,\"b\"c'"),
        (b'a,"b\n' + b"x" * 200_000, ":1: expected a record with closed quotes"),
        (b"a,b\n1,2\n3,\xf4\x8f\xbf\xbd\n", ":3: expected text without the private characters"),
    ],
    ids=["torn", "open", "private"],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, engine: Engine, content: bytes, message: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(engine, TextTable(tmp_path / "t.csv", TextForm()), ("a",))
