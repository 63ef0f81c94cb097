"""Raw files by their names: text, Parquet and JSON lines give the same columns of strings."""

import gzip
import json
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tcf.common.errors import ConfigError, DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.open_table import open_table
from tcf.data.tables.records import TextForm
from tcf.data.tables.table import TableBlock, joined_blocks


def read(path: Path, *columns: str, bad: BadRows | None = None) -> TableBlock:
    return joined_blocks(open_table(path).blocks(columns, bad or BadRows("error")))


def rows_of(block: TableBlock) -> list[tuple[object, ...]]:
    values = (column.to_pylist() for column in block.columns.values())
    return list(zip(block.lines.tolist(), *values, strict=True))


def test_the_name_says_what_a_file_is(tmp_path: Path) -> None:
    table = pa.table({"id": ["000123", "NaN"], "n": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("id,n\n000123,1\nNaN,2\n")
    (tmp_path / "t.tsv").write_text("id\tn\n000123\t1\nNaN\t2\n")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    lines = [json.dumps({"id": "000123", "n": 1}), json.dumps({"n": 2, "id": "NaN"})]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "t.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("t.parquet", "t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.json.gz"):
        block = read(tmp_path / name, "id", "n")
        first = {"t.parquet": 1, "t.jsonl": 1, "t.json.gz": 1}.get(name, 2)
        assert rows_of(block) == [(first, "000123", "1"), (first + 1, "NaN", "2")], name
        assert block.unit == ("row" if name == "t.parquet" else "line")
        assert open_table(tmp_path / name).columns == ("id", "n")


def test_a_form_says_more_than_a_name(tmp_path: Path) -> None:
    (tmp_path / "u.json").write_text("1|2\n")
    table = open_table(tmp_path / "u.json", TextForm("|", header=("a", "b")))
    assert rows_of(joined_blocks(table.blocks(("b",), BadRows("error")))) == [(1, "2")]


def test_parquet_types_as_text_would_have_them(tmp_path: Path) -> None:
    table = pa.table(
        {
            "whole": [17850.0, float("nan"), -3.0, None],
            "fraction": [0.5, 1e20, 12345678901.0, 2.0],
            "integer": pa.array([1, None, -5, 2**60], pa.int64()),
            "coded": pa.array([" x ", "y", None, "x"]).dictionary_encode(),
            "listed": [["p", None, "q"], [], None, [None, "r"]],
            "day": [date(2019, 11, 12), None, date(1970, 1, 1), date(2020, 2, 29)],
            "moment": [datetime(2019, 11, 12, 14, 14, 46), None, datetime(1970, 1, 1), datetime(2020, 1, 1)],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    columns = {
        name: values.to_pylist() for name, values in read(tmp_path / "t.parquet", *table.column_names).columns.items()
    }
    assert columns == {
        "whole": ["17850", "", "-3", ""],
        "fraction": ["0.5", "1e+20", "12345678901", "2"],
        "integer": ["1", "", "-5", str(2**60)],
        "coded": ["x", "y", "", "x"],
        "listed": ["p q", "", "", "r"],
        "day": ["2019-11-12", "", "1970-01-01", "2020-02-29"],
        "moment": ["2019-11-12 14:14:46.000000", "", "1970-01-01 00:00:00.000000", "2020-01-01 00:00:00.000000"],
    }


def test_parquet_rows_are_numbered_as_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x", "y\0", "z", "\0"]}), tmp_path / "t.parquet")
    bad = BadRows("skip")
    assert rows_of(read(tmp_path / "t.parquet", "a", bad=bad)) == [(1, "x"), (3, "z")]
    assert bad.skipped == {"nul_byte": 2}
    with pytest.raises(DataError, match=r"t.parquet, row 2: expected text, .* \(nul_byte\) so far, on rows 2, 4;"):
        read(tmp_path / "t.parquet", "a")


def test_parquet_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    raw = pa.LargeStringArray.from_buffers(2, *pa.array([b"x", b"\xff"], pa.large_binary()).buffers()[1:])
    pq.write_table(pa.table({"a": raw}), tmp_path / "t.parquet")
    bad = BadRows("skip")
    assert rows_of(read(tmp_path / "t.parquet", "a", bad=bad)) == [(1, "x")]
    assert bad.skipped == {"bad_utf8": 1}


@pytest.mark.parametrize("cut", [0, 4, 60, -5])
def test_damaged_parquet(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [str(number) for number in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="expected a complete Parquet file, found a damaged or truncated one"):
        read(path, "a")


def test_parquet_without_rows_and_without_the_column(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.string()), "s": pa.array([], pa.struct([("x", pa.int64())]))}), path)
    with pytest.raises(DataError, match="expected rows, found none"):
        read(path, "a")
    with pytest.raises(ConfigError, match=r"expected one of its columns \(a, s\), found b"):
        read(path, "b")


def test_parquet_of_a_type_without_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"s": [{"x": 1}]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="expected strings, numbers, dates or lists of strings in column s"):
        read(tmp_path / "t.parquet", "s")


def test_parquet_that_changes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": ["x"]}), path)
    table = open_table(path)
    pq.write_table(pa.table({"a": ["x", "y"]}), path)
    with pytest.raises(DataError, match="another process is writing it"):
        list(table.blocks(("a",), BadRows("error")))


JSON = (
    b'{"id":"a","n":1,"list":["p"," q "],"more":{"x":1}}\n'  # line 1
    b'{"id":" b ","n":2.0}\n'
    b"\n"
    b'{"id":5,"n":null}\n'
    b'{"id":"c"}{"id":"d"}\n'
    b'["a"]\n'
    b'{"id":"e","n":"7"}\n'
    b'{"id":"\\u0000"}\n'
    b'{"id":"\\ud800"}\n'
    b'{"id":"\xff"}\n'
    b'{"id":"f","n":1e3}\n'
    b"\n\n"
)


@pytest.mark.parametrize("size", [8, 60, 1 << 20])
def test_json_lines_of_every_kind(tmp_path: Path, size: int) -> None:
    (tmp_path / "t.jsonl").write_bytes(JSON)
    bad = BadRows("skip")
    table = JsonTable(tmp_path / "t.jsonl", frozenset(["n"]), size)
    assert rows_of(joined_blocks(table.blocks(("id", "n", "list"), bad))) == [
        (1, "a", "1", "p q"),
        (2, "b", "2", ""),
        (4, "5", "", ""),
        (7, "e", "7", ""),
        (11, "f", "1000", ""),
    ]
    assert bad.skipped == {"bad_json": 3, "nul_byte": 1, "bad_utf8": 2}


def test_json_is_read_alike_by_both_ways(tmp_path: Path) -> None:
    """The second file has one line that Arrow refuses."""
    lines = [json.dumps({"id": f"é{number} ", "n": number, "other": [number]}) for number in range(50)]
    (tmp_path / "fast.jsonl").write_text("\n".join(lines))
    (tmp_path / "slow.jsonl").write_text("\n".join([*lines, '{"id": 1.5}']))
    blocks = [
        joined_blocks(JsonTable(tmp_path / name, frozenset(["n"])).blocks(("id", "n"), BadRows("error")))
        for name in ("fast.jsonl", "slow.jsonl")
    ]
    assert rows_of(blocks[1])[:-1] == rows_of(blocks[0])
    assert rows_of(blocks[0])[3] == (4, "é3", "3")
    assert rows_of(blocks[1])[-1] == (51, "1.5", "")


def test_json_stops_at_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"id":"a"}\n{"id":\n{"id":"b"}\n')
    with pytest.raises(DataError, match=r't.jsonl:2: expected one JSON object a line, found .*\{"id":.* on line 2'):
        read(tmp_path / "t.jsonl", "id")


@pytest.mark.parametrize(("content", "found"), [(b"[\n", r"'\['"), (b"", "an empty file"), (b"id,n\n", "'id,n'")])
def test_files_that_are_no_json_lines(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=f"found {found}"):
        open_table(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("t.csv", "a,b\n1\n2,3,4\n", "wrong_columns"), ("t.jsonl", '{"a":"\\u0000"}\n' * 2, "nul_byte")],
)
def test_one_empty_block_where_all_rows_are_refused(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    bad = BadRows("skip")
    assert len(read(tmp_path / name, "a", bad=bad)) == 0
    assert bad.skipped == {reason: 2}


def test_checksums_wait_for_the_end(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match="once all blocks have been read"):
        _ = open_table(tmp_path / "t.csv").sha256


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"t.csv: expected one of its columns \(a, b.*, found c"):
        read(tmp_path / "t.csv", "c")
