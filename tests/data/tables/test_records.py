"""Delimited text in blocks, against a plain reading of the same bytes, one at a time."""

import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.csv_table import TextTable
from tcf.data.tables.records import TextForm, raw_blocks
from tcf.data.tables.source_file import Source

HEADER = b"a,b,c\n"


@dataclass
class Record:
    """One record as a plain reading finds it."""

    line: int
    raw: bytes = b""
    fields: list[bytes] = field(default_factory=list)
    torn: bool = False
    open: bool = False


def plain_records(content: bytes, quoting: bool) -> list[Record]:
    """Every record of a text, byte by byte."""
    text = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b" ")
    at, line, records = 0, 1, []
    while at < len(text):
        record, begin = Record(line), at
        while True:
            at, value = plain_field(text, at, quoting, record)
            record.fields.append(value)
            if record.open or at >= len(text) or text[at : at + 1] == b"\n":
                break
            at += 1  # the comma
        record.raw = text[begin:at]
        at += 1
        line += record.raw.count(b"\n") + 1
        records.append(record)
    return records


def plain_field(text: bytes, at: int, quoting: bool, record: Record) -> tuple[int, bytes]:
    value = b""
    if quoting and text[at : at + 1] == b'"':
        at += 1
        while True:
            if at >= len(text):
                record.open = True
                return at, value
            if text[at : at + 2] == b'""':
                value, at = value + b'"', at + 2
            elif text[at : at + 1] == b'"':
                at += 1
                break
            else:
                value, at = value + text[at : at + 1], at + 1
        record.torn |= at < len(text) and text[at : at + 1] not in b",\n"
    while at < len(text) and text[at : at + 1] not in b",\n":
        value, at = value + text[at : at + 1], at + 1
    return at, value


def plainly_read(content: bytes, quoting: bool) -> tuple[list[tuple[int, list[str]]], dict[str, int]] | int:
    """Rows and counts of what is no row; or the line of a quote that is never closed."""
    records = plain_records(content, quoting)[1:]
    if records and records[-1].open:
        return records[-1].line
    while records and records[-1].raw == b"":
        records.pop()
    rows, skipped = [], dict[str, int]()
    for record in records:
        reason = plain_reason(record)
        if reason is None:
            rows.append((record.line, [value.decode().strip() for value in record.fields]))
        else:
            skipped[reason] = skipped.get(reason, 0) + 1
    return rows, skipped


def plain_reason(record: Record) -> str | None:
    if record.raw == b"":
        return "wrong_columns"
    if b"\0" in record.raw:
        return "nul_byte"
    try:
        record.raw.decode()
    except UnicodeDecodeError:
        return "bad_utf8"
    if record.torn:
        return "torn_quotes"
    return None if len(record.fields) == 3 else "wrong_columns"


def read(path: Path, bad: BadRows, form: TextForm, size: int) -> tuple[list[tuple[int, list[str]]], str]:
    table = TextTable(path, form, size)
    rows = []
    for block in table.blocks(("a", "b", "c"), bad):
        values = zip(*(block.columns[name].to_pylist() for name in "abc"), strict=True)
        rows += [(line, list(row)) for line, row in zip(block.lines.tolist(), values, strict=True)]
    return rows, table.sha256


PIECES = [b",", b",", b",", b"\n", b"\n", b"\r\n", b"\r", b" ", b"x", b"NaN", b"007", b'"', b'"', b'""', b',"', b'",']
PIECES += [b"\xc3\xa9", b"\xff", b"\0", b"1,2,3\n", b'"p\nq",2,"r ""s"""\n']
contents = st.lists(st.sampled_from(PIECES), min_size=1, max_size=30).map(b"".join)


@settings(deadline=None, max_examples=120)
@given(contents, st.sampled_from([16, 23, 1 << 20]), st.booleans())
@example(b"1,2,3\n4,5\n\n7,8,9\n1,2,3,4\n\n\n", 16, True)
@example(b'"4\r\nx, ""y""",5,NaN\r\nNone,000123, null\r\n\r\n', 16, True)
@example(b'4\0,2,2\n\xff,4,4\n"x"x,3,"3\n"\n"x",5" ,""\n3,3,3\n5,\r,5', 16, True)
@example(b'1,"a,3\n4,"def",6\n7,8,9\n', 16, True)
@example(b'1,2,3\n"4,4,4\n5,5,5\n', 16, True)
@example(b'5" pipe,2,"3\n', 16, False)
@example(b"\n\n1,2,3", 16, True)
@example(b',"\n",', 16, True)
def test_blocks_equal_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int, quoting: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_bytes(HEADER + content)
    expected, bad, form = plainly_read(HEADER + content, quoting), BadRows("skip"), TextForm(quoting=quoting)
    if isinstance(expected, int):
        with pytest.raises(DataError, match=f":{expected}: expected a record with closed quotes"):
            read(path, bad, form, size)
        return
    if not expected[0] and not expected[1]:
        with pytest.raises(DataError, match="expected rows after the header, found none"):
            read(path, bad, form, size)
        return
    rows, sha256 = read(path, bad, form, size)
    assert (rows, bad.skipped) == expected
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_byte_order_mark_and_gzip_change_nothing(tmp_path: Path) -> None:
    content = HEADER + b"1,2,3\n" * 50 + b"x,\xc3\xa9,z"
    plain, zipped = tmp_path / "rows.csv", tmp_path / "rows.csv.gz"
    plain.write_bytes(content)
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + content[:100]) + gzip.compress(content[100:]))
    rows = [read(path, BadRows("error"), TextForm(), 64)[0] for path in (plain, zipped)]
    assert rows[0] == rows[1]
    assert rows[0][0] == (2, ["1", "2", "3"])
    assert rows[0][-1] == (52, ["x", "é", "z"])


def test_delimiters_of_several_characters_and_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_bytes(b'1::"x::3\n4::\xe9:5::6\n7::8\n' + b"1::2::3\n" * 20)
    bad = BadRows("skip")
    form = TextForm("::", quoting=False, header=("a", "b", "c"), encoding="latin-1")
    for size in (2, 3, 5, 1000):
        rows, _ = read(path, bad, form, size)
        assert rows[:2] == [(1, ["1", '"x', "3"]), (2, ["4", "é:5", "6"])]
        assert rows[2:] == [(line, ["1", "2", "3"]) for line in range(4, 24)]
    assert bad.skipped == {"wrong_columns": 4}


@pytest.mark.parametrize("line", [b"1::2::3::4", b"1::2::\xff"])
def test_messages_show_delimiters_as_the_file_has_them(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ratings.dat"
    path.write_bytes(b"1::2::3\n" + line + b"\n")
    with pytest.raises(DataError, match=r"ratings.dat:2: .*, found '1::2::(3::4|\\\\xff)'"):
        read(path, BadRows("error"), TextForm("::", quoting=False, header=("a", "b", "c")), 100)


def test_the_byte_that_stands_for_a_long_delimiter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_bytes(b"1::2\x1f::3\n")
    with pytest.raises(DataError, match="expected text without the control character 0x1F"):
        read(path, BadRows("skip"), TextForm("::", quoting=False, header=("a", "b", "c")), 100)


def test_a_record_may_be_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    title = "long " * 40_000 + "\nend"
    path.write_bytes(HEADER + f'1,"{title}",3\n4,5,6\n'.encode())
    rows, _ = read(path, BadRows("error"), TextForm(), 16)
    assert rows == [(2, ["1", title, "3"]), (4, ["4", "5", "6"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected rows, found an empty file"),
        (b"\xef\xbb\xbf", "expected rows, found an empty file"),
        ("a,b,c\n1,2,3\n".encode("utf-16"), "expected UTF-8, found UTF-16"),
        (b"a,b,c\r1,2,3\r", "found only carriage returns"),
        (b'"a,b,c\n1,2,3\n', ":1: expected a record with closed quotes"),
        (b"\n1,2,3\n", ":1: expected a header"),
        (b"\xff,b,c\n1,2,3\n", ":1: expected a header in UTF-8"),
        (b"a,a,b,c\n1,2,3,4\n", ":1: expected one column a, found 2"),
        (gzip.compress(HEADER + b"1,2,3\n" * 1000, mtime=0)[:-20], "expected a complete gzip file"),
    ],
    ids=str,
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read(path, BadRows("skip"), TextForm(), 64)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no.csv: expected a readable file, found none"):
        TextTable(tmp_path / "no.csv", TextForm())


@pytest.mark.parametrize("when", ["after the header", "amid the rows"])
def test_a_file_that_is_still_being_written_is_refused(tmp_path: Path, when: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(HEADER + b"1,2,3\n" * 100)
    table = TextTable(path, TextForm(), 64)
    blocks = table.blocks(("a",), BadRows("error"))
    if when == "amid the rows":
        next(blocks)
    with path.open("ab") as file:
        file.write(b"4,5,6\n")
    with pytest.raises(DataError, match="another process is writing it"):
        list(blocks)


def test_a_source_gives_what_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 10)
    with Source(path) as source:
        assert source.read(3, b"ab") == b"ab\x00\x01\x02"
        assert source.read(10_000) == path.read_bytes()[3:]
        assert source.read(5) == b""
        assert source.finish() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_blocks_hold_whole_records_of_about_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'1,"2\n",3\n' * 100)
    with Source(path) as source:
        blocks = list(raw_blocks(source, TextForm(), 50))
    assert b"".join(block.data for block in blocks) == path.read_bytes()
    assert all(len(block.data) % 9 == 0 and len(block.data) <= 59 for block in blocks)


def test_bad_rows_stop_with_the_line_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(HEADER + b'1,2,"3\n3"\n4,5\n6,7\n')
    with pytest.raises(DataError) as raised:
        read(path, BadRows("error"), TextForm(), 1 << 20)
    assert str(raised.value) == (
        f"{path}:4: expected 3 columns, a, b, c, found '4,5'; 2 of this kind (wrong_columns) so far, on lines 4, 5; "
        "correct the file, or skip and count such rows with --bad-rows skip"
    )
