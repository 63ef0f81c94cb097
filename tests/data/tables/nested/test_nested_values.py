"""Objects, lists and maps as text: JSON and Parquet against a plain rendering of the same values."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small.data.tables import read
from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.nested import json_text
from tcf.data.tables.parquet_table import ParquetTable

NAMES = st.sampled_from(["a", "A", "b c", "é", " x ", '"q"', "x'y", "0", "[", "{}", "key", "value", "a: b, c"])
SCALARS: tuple[tuple[pa.DataType, st.SearchStrategy[Any]], ...] = (
    (pa.string(), st.sampled_from(["", " ", "x", " y\u3000", "a, b", '"', "\\", "[1]", '{"a":1}', "true", "]", "é😀"])),
    (pa.int64(), st.integers(-(2**53), 2**53)),
    (pa.float64(), st.floats(-(2.0**52), 2.0**52)),
    (pa.bool_(), st.booleans()),
)


def plain(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case dict():
            entries = [(key.strip(), plain(each)) for key, each in value.items()]
            return ", ".join(f"{key}: {text}" if key else text for key, text in entries if text)
        case list():
            return ", ".join(text for text in map(plain, value) if text)
        case _:
            return str(value).strip()


@st.composite
def kinds_and_values(draw: st.DrawFn, depth: int = 0) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """A type, and values that have it; as JSON has them."""
    match draw(st.sampled_from(["scalar", "list", "struct", "map"])) if depth < 3 else "scalar":
        case "list":
            kind, values = draw(kinds_and_values(depth + 1))
            return pa.list_(kind), st.none() | st.lists(values, max_size=3)
        case "struct":
            names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
            fields = {name: draw(kinds_and_values(depth + 1)) for name in names}
            parts = st.tuples(*(values for _, values in fields.values()))
            whole = parts.map(lambda values: dict(zip(names, values, strict=True)))
            return pa.struct([(name, kind) for name, (kind, _) in fields.items()]), st.none() | whole
        case "map":
            kind, values = draw(kinds_and_values(depth + 1))
            return pa.map_(pa.string(), kind), st.none() | st.dictionaries(NAMES, values, max_size=3)
        case _:
            kind, values = draw(st.sampled_from(SCALARS))
            return kind, st.none() | values


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list[Any]]:
    kind, values = draw(kinds_and_values())
    return kind, draw(st.lists(values, min_size=1, max_size=6))


@settings(deadline=None, max_examples=8)
@given(columns())
@example((pa.struct([("Brand", pa.string())]), [{"Brand": "X"}, {"Brand": None}, None]))
@example((pa.map_(pa.string(), pa.list_(pa.float64())), [{"b": [1.5, None, 2.0], "a": []}, {}]))
@example((pa.list_(pa.list_(pa.list_(pa.bool_()))), [[[[True], []], None, [[False, None]]]]))
@example((pa.struct([("a", pa.int64()), ("A", pa.string())]), [{"a": 1, "A": "x"}, {"a": None, "A": " y "}]))
@example((pa.list_(pa.float64()), [[1e20, -1e16, 2.0**126]]))
@example((pa.list_(pa.struct([("", pa.int64())])), [[{"": 5}, {"": None}]]))
def test_json_and_parquet_give_the_same_texts(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, column: tuple[pa.DataType, list[Any]]
) -> None:
    (kind, values), folder = column, tmp_path_factory.getbasetemp()
    lines = [json.dumps({"other": "x", "v": value}, ensure_ascii=False) for value in values]
    (folder / "v.jsonl").write_text("\n".join(lines), encoding="utf-8", newline="")
    pq.write_table(pa.table({"v": pa.array(values, kind)}), folder / "v.parquet")
    expected = [(row, plain(value)) for row, value in enumerate(values, 1)]
    assert read(engine, JsonTable(folder / "v.jsonl"), ("v",)) == expected
    assert read(engine, ParquetTable(folder / "v.parquet"), ("v",)) == expected


def test_an_object_is_written_out(tmp_path: Path, engine: Engine) -> None:
    value = {"Brand": "X", "Colors": ["red", " ", "green"], "Rank": {"Books": 5, "Arts": None}, "Used": False, "": "y"}
    (tmp_path / "v.jsonl").write_text(json.dumps({"details": value}) + '\n{"details": "{no object"}\n')
    assert read(engine, JsonTable(tmp_path / "v.jsonl"), ("details",)) == [
        (1, "Brand: X, Colors: red, green, Rank: Books: 5, Used: false, y"),
        (2, "{no object"),
    ]


def test_json_of_any_depth(tmp_path: Path, engine: Engine) -> None:
    deep = "[" * 20_000 + '{"a": "x"}' + "]" * 20_000
    (tmp_path / "v.jsonl").write_text(f'{{"v": [1, "[", ["y"]]}}\n{{"v": {deep}}}\n')
    assert read(engine, JsonTable(tmp_path / "v.jsonl"), ("v",)) == [(1, "1, [, y"), (2, "a: x")]


def test_json_as_files_have_it(tmp_path: Path, engine: Engine) -> None:
    """Numbers are those of the file, the first value of a key counts, and what is no JSON number has no text."""
    written = (
        b'{"v":{"a":[1.50, 1e3, -0, 12345678901234567890, NaN, -Infinity, true,],"a":"again","b":"\\u00e9\\n\\"\\\\"}}'
    )
    (tmp_path / "v.jsonl").write_bytes(b'{"v":1}\n' + written)
    assert read(engine, JsonTable(tmp_path / "v.jsonl"), ("v",))[1:] == [
        (2, 'a: 1.5, 1000, 0, 12345678901234567890, true, b: é\n"\\')
    ]


def test_many_rows_with_objects_among_others(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_AT_ONCE", 100)
    values = [
        {"v": {"n": [number]}, "w": "{}"} if number % 3 else {"v": number, "w": [[number]]} for number in range(950)
    ]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    expected = [(n + 1, f"n: {n}", "{}") if n % 3 else (n + 1, str(n), str(n)) for n in range(950)]
    assert read(engine, JsonTable(tmp_path / "v.jsonl"), ("v", "w")) == expected


@pytest.mark.parametrize(("value", "reason"), [('{"x":"\\u0000"}', "nul_byte"), ('[["\\ud800"]]', "bad_utf8")])
def test_bad_texts_within_objects(tmp_path: Path, engine: Engine, value: str, reason: str) -> None:
    (tmp_path / "v.jsonl").write_text(f'{{"v":"x"}}\n{{"v":{value}}}\n')
    bad = BadRows("skip")
    assert read(engine, JsonTable(tmp_path / "v.jsonl"), ("v",), bad) == [(1, "x")]
    assert bad.skipped == {reason: 1}


def test_types_within_structs_of_parquet(tmp_path: Path, engine: Engine) -> None:
    day = pa.array([date(2020, 2, 29)])
    parts = {
        "day": day,
        "time": pa.array([1573568086007]).cast(pa.timestamp("ms", "UTC")),
        "bytes": pa.array([b"abc"]),
        "float": pa.array([float("nan")]),
        "coded": pa.array([" y "]).dictionary_encode(),
        "map": pa.array([[(1, 0.5), (2, None)]], pa.map_(pa.int8(), pa.float32())),
        "pair": pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
    }
    structs = pa.StructArray.from_arrays(list(parts.values()), list(parts))
    pq.write_table(pa.table({"v": structs}), tmp_path / "v.parquet")
    assert read(engine, ParquetTable(tmp_path / "v.parquet"), ("v",)) == [
        (1, "day: 2020-02-29, time: 2019-11-12 14:14:46.007000Z, bytes: abc, coded: y, map: 1: 0.5, pair: 1, 2")
    ]


def test_long_decimals_within_structs_are_refused(tmp_path: Path, engine: Engine) -> None:
    values = pa.array([[{"x": Decimal(10) ** 50}]], pa.list_(pa.struct([("x", pa.decimal256(60, 2))])))
    pq.write_table(pa.table({"v": values}), tmp_path / "v.parquet")
    with pytest.raises(DataError, match="expected decimals of at most 38 digits in column v, found longer ones"):
        read(engine, ParquetTable(tmp_path / "v.parquet"), ("v",))


def test_text_within_structs_that_is_no_utf8_is_refused(tmp_path: Path, engine: Engine) -> None:
    raw = pa.LargeBinaryArray.from_buffers(pa.large_string(), 2, pa.array([b"x", b"\xff"], pa.large_binary()).buffers())
    pq.write_table(pa.table({"v": pa.StructArray.from_arrays([raw], ["a"]), "w": raw}), tmp_path / "v.parquet")
    for columns in (("v",), ("v", "w")):
        with pytest.raises(DataError, match="v.parquet: expected"):
            read(engine, ParquetTable(tmp_path / "v.parquet"), columns, BadRows("skip"))
