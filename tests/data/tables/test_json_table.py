"""JSON lines as a table, against Python's own reading of the same lines."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small.data.tables import read, rows_of
from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows, Place
from tcf.data.tables.engine import Engine
from tcf.data.tables.json_table import JsonTable

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


def written(folder: Path, content: bytes) -> Path:
    (folder / "t.jsonl").write_bytes(content)
    return folder / "t.jsonl"


@pytest.mark.parametrize("packed", [False, True])
def test_lines_of_every_kind(tmp_path: Path, engine: Engine, packed: bool) -> None:
    path, bad = written(tmp_path, gzip.compress(JSON) if packed else JSON), BadRows("skip")
    table = JsonTable(path).load(engine, ("id", "n", "list"), bad)
    assert rows_of(table) == [
        (1, "a", "1", "p, q"),
        (2, "b", "2", ""),
        (4, "5", "", ""),
        (7, "e", "7", ""),
        (11, "f", "1000", ""),
    ]
    assert bad.skipped == {"bad_json": 3, "nul_byte": 1, "bad_utf8": 2}
    assert table.place_of(0) == Place(path, 1)


def plain_text(value: Any) -> str:
    match value:
        case str():
            return value.strip()
        case None:
            return ""
        case bool():
            return str(value).lower()
        case dict():
            named = ((key.strip(), plain_text(each)) for key, each in value.items())
            return ", ".join(f"{key}: {text}" if key else text for key, text in named if text)
        case float() if value.is_integer() and abs(value) < 2**127:
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            return ", ".join(text for text in map(plain_text, value) if text)


texts = st.text(st.characters(exclude_categories=["Cs", "Co"], exclude_characters="\0"), max_size=6)
scalars = st.one_of(
    texts,
    st.sampled_from(["", " ", "NaN", "null", "007", '"', "\\", "[1]", "\u3000x", "😀", ",]", '",}']),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
lists = st.lists(st.one_of(scalars, st.lists(texts, max_size=2)), max_size=3)
values = st.one_of(scalars, lists, st.dictionaries(texts, scalars, max_size=2))
keys = st.sampled_from(["id", "ID", "a b", "x/y", "x~y", "é", '"', "$.id", "0", "list[0]", ""])


@settings(deadline=None, max_examples=8)
@given(st.lists(st.dictionaries(keys, values, max_size=5), min_size=1, max_size=8), st.booleans())
@example([{"id": 2**63}, {"id": -(2**63)}, {"id": 10**15}, {"id": 123456789.125}], True)
@example([{"id": 1e300}, {"id": 5e-324}, {"id": 0.1}, {"id": -0.0}, {"id": 1e22}, {"id": 1e16}], True)
@example([{"id": [["0\r", "\t", 2.0, None, True], ["0"]]}], False)
@example([{"id": ["a", ["b", "c"], {"d": 1}, None, True, 2.0, [" e "]]}, {"id": [[]]}, {"id": {"x": ["y"]}}], False)
def test_values_equal_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, objects: list[dict[str, Any]], as_ascii: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "t.jsonl"
    lines = [json.dumps(each, ensure_ascii=as_ascii) for each in objects]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    table = JsonTable(path)
    assert table.columns == tuple(dict.fromkeys(key for each in objects for key in each))
    columns = (*table.columns, "absent")
    expected = [(line, *(plain_text(each.get(name)) for name in columns)) for line, each in enumerate(objects, 1)]
    assert read(engine, table, columns) == expected


def test_numbers_are_those_of_the_file(tmp_path: Path, engine: Engine) -> None:
    written_as = ["0", "-1", "12345678901234567890", "1.50", "1e3", "-0.0", "1E-2", "1.0", "3.0e2", "123456789012.5"]
    path = written(tmp_path, b"".join(b'{"n": %b}\n' % number.encode() for number in written_as))
    assert [row[1] for row in read(engine, JsonTable(path), ("n",))] == [
        "0", "-1", "12345678901234567890", "1.5", "1000", "0", "0.01", "1", "300", "123456789012.5",
    ]  # fmt: skip


def test_a_comma_after_the_last_value_does_no_harm(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b'{"id":"a"}\n{"id":"b",}\n{"id":["c", ]}\n')
    assert read(engine, JsonTable(path), ("id",)) == [(1, "a"), (2, "b"), (3, "c")]


def test_columns_are_the_keys_of_all_the_first_objects(tmp_path: Path, engine: Engine) -> None:
    lines = [json.dumps({"id": str(number), "text": "long " * 60}) for number in range(1999)]
    path = written(tmp_path, "\n".join([*lines, '{"late": 1}', '{"too late": 2}']).encode())
    table = JsonTable(path)
    assert table.columns == ("id", "text", "late")
    assert read(engine, table, ("late", "too late"))[-2:] == [(2000, "1", ""), (2001, "", "2")]


def test_keys_that_only_later_objects_have_are_looked_for(tmp_path: Path, engine: Engine) -> None:
    """A key may be written with escapes; a value or a key within one is no column."""
    lines = [json.dumps({"id": "late", "sub": {"inner": 1}}) for _ in range(3000)]
    path = written(tmp_path, "\n".join([*lines, '{"late": 2, "\\u00e9": 3}', '{"x\\/y": 4, "z/é": 5}']).encode())
    table = JsonTable(path)
    table.look_for(["id", "late", "é", "x/y", "z/é", "inner", "nowhere"])
    assert table.columns == ("id", "sub", "late", "é", "x/y", "z/é")
    rows = read(engine, table, ("late", "é", "x/y", "z/é"))
    assert rows[-3:] == [(3000, "", "", "", ""), (3001, "2", "3", "", ""), (3002, "", "", "4", "5")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id":"\\u0000"}', "nul_byte"),
        (b'{"id":"\0"}', "bad_json"),
        (b'{"id":"a"}\0', "bad_json"),
        (b'{"id":"\\ud800"}', "bad_utf8"),
        (b'{"id":"\\ud83d\\ude00 \\ude00"}', "bad_utf8"),
        (b'{"id":["\\udfff"]}', "bad_utf8"),
        (b'{"id":"\xff"}', "bad_utf8"),
        (b'{"id":"\xed\xa0\x80"}', "bad_utf8"),
        (b'{"id":"\xc3', "bad_utf8"),
        (b"{'id':'a'}", "bad_json"),
        (b'{"id":"a"', "bad_json"),
        (b'{"id":"\t"}', "bad_json"),
        (b"null", "bad_json"),
        (b'"{}"', "bad_json"),
        (b" ", "bad_json"),
        (b"\x0c", "bad_json"),
        (b"[" * 10_000, "bad_json"),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_that_cannot_be_used(tmp_path: Path, engine: Engine, line: bytes, reason: str, end: bytes) -> None:
    path, bad = written(tmp_path, end.join([b'{"id":"first"}', line, b'{"id":"last"}'])), BadRows("skip")
    assert read(engine, JsonTable(path), ("id",), bad) == [(1, "first"), (3, "last")]
    assert bad.skipped == {reason: 1}
    with pytest.raises(DataError, match=rf"t.jsonl:2: .* \({reason}\) in all, on line 2;"):
        read(engine, JsonTable(path), ("id",))


def test_white_space_around_an_object_and_pairs_of_surrogates(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b' \t{"id" : "\\ud83d\\ude00" }\t\r\n{"id":"\\\\ud800"}\n{"id":"\\\\\\\\u0000"}\n')
    assert read(engine, JsonTable(path), ("id",)) == [(1, "😀"), (2, "\\ud800"), (3, "\\\\u0000")]


def test_a_line_may_be_long(tmp_path: Path, engine: Engine) -> None:
    long = "long " * 500_000 + "end"
    path = written(tmp_path, json.dumps({"id": 1, "text": long}).encode() + b'\n{"id":2}\n')
    assert read(engine, JsonTable(path), ("id", "text")) == [(1, "1", long), (2, "2", "")]


def test_one_line_that_is_wrong_does_not_change_the_others(tmp_path: Path, engine: Engine) -> None:
    lines = [json.dumps({"id": f"é{number} ", "n": number, "other": [number]}) for number in range(50)]
    whole = read(engine, JsonTable(written(tmp_path, "\n".join(lines).encode())), ("id", "n"))
    path, bad = written(tmp_path, "\n".join([*lines, '{"id": 1.5}', ""]).encode() + b"\xff"), BadRows("skip")
    rows = read(engine, JsonTable(path), ("id", "n"), bad)
    assert rows[:-1] == whole
    assert rows[3] == (4, "é3", "3")
    assert rows[-1] == (51, "1.5", "")
    assert bad.skipped == {"bad_utf8": 1}


def test_the_place_of_a_bad_byte_is_shown(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b'{"id":"' + 200 * b"x" + b'caf\xe9"}\n')
    with pytest.raises(
        DataError, match=rf"t.jsonl:1: expected UTF-8, found '\.\.\.{27 * 'x'}caf.+xe9\"}}'; 1 of this kind"
    ):
        read(engine, JsonTable(path), ("id",))


def test_a_bad_line_is_shown(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b'{"id":"a"}\n{"id":\n{"id":"b"}\n')
    with pytest.raises(DataError, match=r't.jsonl:2: expected one JSON object a line, found .*\{"id":.* on line 2'):
        read(engine, JsonTable(path), ("id",))


@pytest.mark.parametrize(("content", "found"), [(b"[\n", r"'\['"), (b"", "an empty file"), (b"id,n\n", "'id,n'")])
def test_files_that_are_no_json_lines(tmp_path: Path, content: bytes, found: str) -> None:
    with pytest.raises(DataError, match=f"found {found}"):
        JsonTable(written(tmp_path, content))


def test_a_table_whose_rows_are_all_refused_is_empty(tmp_path: Path, engine: Engine) -> None:
    path, bad = written(tmp_path, b'{"a":"\\u0000"}\n' * 2), BadRows("skip")
    assert read(engine, JsonTable(path), ("a",), bad) == []
    assert bad.skipped == {"nul_byte": 2}


def test_a_file_that_changes_is_refused(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, JSON)
    table = JsonTable(path)
    written(tmp_path, JSON + JSON)
    with pytest.raises(DataError, match="another process is writing it"):
        read(engine, table, ("id",), BadRows("skip"))
