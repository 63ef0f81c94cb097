"""Scans of delimited text: nothing is lost where the engine's buffers meet, and a loss would be noticed."""

import random
from pathlib import Path

import pytest

from small.data.tables import read
from tcf.common.errors import DataError
from tcf.data.tables import read_csv
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.read_csv import CsvScan
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

NAMES = ("a", "b", "c")
NEWLINES = "\n\n1,2,3\n"
BUFFER = 32_000_000  # bytes: the engine's, for records of at most 2,000,000


@pytest.mark.parametrize("past", [-1, 0, 1])
def test_a_line_that_ends_where_a_buffer_ends(tmp_path: Path, engine: Engine, past: int) -> None:
    path, filler = tmp_path / "t.csv", b"x" * 9990 + b",2,3\n"
    begin = b"a,b,c\n" + filler * (BUFFER // len(filler) - 1)
    last = b'"4\n' + b"y" * (BUFFER + past - len(begin) - 10) + b'",5,6\n'
    path.write_bytes(begin + last + b"7,8,9\n" + filler * 1000 + b"10,11,12")
    table = TextTable(path, TextForm()).load(engine, NAMES, BadRows("error"))
    rows = engine.rows(f"select rowid, left(c0, 2), c1 from {table.name} where c1 <> '2' order by rowid")
    place = begin.count(b"\n") - 1
    assert rows == [(place, "4\n", "5"), (place + 1, "7", "8"), (place + 1002, "10", "11")]
    assert len(table) == place + 1003


def values_with(draw: random.Random, quoting: bool) -> tuple[list[str], str]:
    """A row, and how a file has it."""
    values = [draw.choice(["1", "", "é", "w" * draw.randrange(150), "a b"]) for _ in NAMES]
    written = list(values)
    for at in range(len(NAMES)):
        if quoting and draw.random() < 0.3:
            values[at] = (
                f"x{draw.choice(['', ',', chr(10), chr(34), chr(10) * 2 + '1,2,3' + chr(10)]) * 2}{values[at]}x"
            )
            written[at] = '"' + values[at].replace('"', '""') + '"'
    return values, ",".join(written) + "\n"


@pytest.mark.parametrize("quoting", [False, True])
def test_thousands_of_small_buffers(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, quoting: bool
) -> None:
    """Records of at most 600 bytes make buffers of 16 times that."""
    monkeypatch.setattr(read_csv, "_LONGEST", (600,))
    path, draw = tmp_path / "t.csv", random.Random(7)
    rows = [values_with(draw, quoting) for _ in range(40_000)]
    path.write_text("a,b,c\n" + "".join(line for _, line in rows), encoding="utf-8", newline="")
    table = TextTable(path, TextForm(quoting=quoting)).load(engine, NAMES, BadRows("error"))
    found = zip(*(column.to_pylist() for column in table.strings("c0", "c1", "c2")), strict=True)
    assert list(map(list, found)) == [values for values, _ in rows]


@pytest.mark.parametrize(
    "content", ["1,2,3\n" * 50, '1,"2\n\n",3\n' * 50, '1,2,5" pipe\n' * 50, '1,2\n1,"2""\n",3\n4,5" x,"6\n6",7"\n' * 9]
)
def test_a_row_that_the_engine_loses_is_noticed(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path, create = tmp_path / "t.csv", CsvScan._create
    path.write_text("a,b,c\n" + content, newline="")
    read(engine, TextTable(path, TextForm()), NAMES, BadRows("skip"))

    def lose_one(self: CsvScan, name: str, *given: object) -> None:
        create(self, name, *given)  # type: ignore[arg-type]
        engine.run(f"delete from {name} where rowid = 8")

    monkeypatch.setattr(CsvScan, "_create", lose_one)
    with pytest.raises(DataError, match=r"t.csv: expected \d+ records, found others; report this file"):
        read(engine, TextTable(path, TextForm()), NAMES, BadRows("skip"))


def test_a_record_that_is_too_long(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_csv, "_LONGEST", (100, 1000))
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2,3\n" + f"{'x' * 900},2,3\n" * 3)
    assert len(read(engine, TextTable(path, TextForm()), NAMES)) == 4
    path.write_text("a,b,c\n1,2,3\n" + f"{'x' * 5000},2,3\n" + "4,5,6\n" * 3)
    with pytest.raises(DataError, match="t.csv:3: expected"):
        read(engine, TextTable(path, TextForm()), NAMES, BadRows("skip"))
