"""Raw files by their names: text, Parquet and JSON lines give the same columns of strings."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.tables import read
from tcf.data.tables.bad_rows import BadRows, Place
from tcf.data.tables.engine import Engine
from tcf.data.tables.open_table import open_table
from tcf.data.tables.text_form import TextForm


def test_the_name_says_what_a_file_is(tmp_path: Path, engine: Engine) -> None:
    table = pa.table({"id": ["000123", "NaN"], "n": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("id,n\n000123,1\nNaN,2\n")
    (tmp_path / "t.tsv").write_text("id\tn\n000123\t1\nNaN\t2\n")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    lines = [json.dumps({"id": "000123", "n": 1}), json.dumps({"n": 2, "id": "NaN"})]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "t.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("t.parquet", "t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.json.gz"):
        file = open_table(tmp_path / name)
        assert file.columns == ("id", "n")
        first = {"t.parquet": 1, "t.jsonl": 1, "t.json.gz": 1}.get(name, 2)
        assert read(engine, file, ("id", "n")) == [(first, "000123", "1"), (first + 1, "NaN", "2")], name
        place = file.load(engine, ("id",), BadRows("error")).place_of(0)
        assert place == Place(tmp_path / name, first, "row" if name == "t.parquet" else "line")


@pytest.mark.parametrize("name", ["000000_0", "part-0", "t.csv"])
def test_parquet_is_known_by_its_bytes(tmp_path: Path, engine: Engine, name: str) -> None:
    pq.write_table(pa.table({"id": ["000123"]}), tmp_path / name)
    assert read(engine, open_table(tmp_path / name), ("id",)) == [(1, "000123")]


def test_text_may_begin_like_parquet(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "t.csv").write_text("PAR1,n\n000123,1\n")
    assert read(engine, open_table(tmp_path / "t.csv"), ("PAR1",)) == [(2, "000123")]


def test_quotes_are_characters_in_tab_separated_files(tmp_path: Path, engine: Engine) -> None:
    rows = 'u1\ti2\t12\t"Untitled\nu2\ti3\t13\tA "quoted" word\nu3\ti4\t14\tScreen 24"\n'
    for name in ("t.tsv", "t.TAB"):
        (tmp_path / name).write_text("user\titem\ttime\ttitle\n" + rows)
        assert read(engine, open_table(tmp_path / name), ("item", "title")) == [
            (2, "i2", '"Untitled'),
            (3, "i3", 'A "quoted" word'),
            (4, "i4", 'Screen 24"'),
        ]


def test_a_form_says_more_than_a_name(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "u.tsv").write_text("1|2\n")
    table = open_table(tmp_path / "u.tsv", TextForm("|", header=("a", "b")))
    assert read(engine, table, ("b",)) == [(1, "2")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1251", "gbk", "shift_jis"])
def test_json_lines_in_other_encodings(tmp_path: Path, engine: Engine, encoding: str) -> None:
    (tmp_path / "u.jsonl").write_bytes('{"id": "д"}\n{"id": "x"}\n'.encode(encoding))
    assert read(engine, open_table(tmp_path / "u.jsonl", TextForm(encoding=encoding)), ("id",)) == [(1, "д"), (2, "x")]
