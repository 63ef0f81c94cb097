"""Delimited text as a table, against a plain reading of the same bytes, one at a time."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small.data.tables import rows_of
from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

Row = tuple[object, ...]


@dataclass
class Record:
    """One record as a plain reading finds it."""

    line: int
    raw: bytes = b""
    fields: list[bytes] = field(default_factory=list)
    torn: bool = False
    open: bool = False


def plain_records(content: bytes, form: TextForm) -> list[Record]:
    """Every record of a text, byte by byte."""
    text = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b" ")
    at, line, records = 0, 1, []
    while at < len(text):
        record, begin = Record(line), at
        while True:
            at, value = plain_field(text, at, form, record)
            record.fields.append(value)
            if record.open or at >= len(text) or text[at : at + 1] == b"\n":
                break
            at += len(form.delimiter)
        record.raw = text[begin:at]
        at += 1
        line += record.raw.count(b"\n") + 1
        records.append(record)
    return records


def plain_field(text: bytes, at: int, form: TextForm, record: Record) -> tuple[int, bytes]:
    ends, value = (form.delimiter.encode(), b"\n"), b""
    if form.quoting and text[at : at + 1] == b'"':
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
        record.torn |= at < len(text) and not text.startswith(ends, at)
    while at < len(text) and not text.startswith(ends, at):
        value, at = value + text[at : at + 1], at + 1
    return at, value


def plainly_read(content: bytes, form: TextForm, n_columns: int) -> tuple[list[Row], dict[str, int]] | int:
    """Rows and counts of what is no row; or the line of a quote that is never closed."""
    records = plain_records(content, form)[form.header is None :]
    if records and records[-1].open:
        return records[-1].line
    blank = b"" if form.quoting else b" "
    while records and records[-1].raw.strip(blank) == b"":
        records.pop()
    rows, skipped = list[Row](), dict[str, int]()
    for record in records:
        reason = plain_reason(record, form, n_columns)
        if reason is None:
            rows.append((record.line, *(value.decode().strip() for value in record.fields)))
        else:
            are_rows = reason in ("quote_over_rows", "torn_quotes")
            skipped[reason] = skipped.get(reason, 0) + (record.raw.count(b"\n") + 1 if are_rows else 1)
    return rows, skipped


def plain_reason(record: Record, form: TextForm, n_columns: int) -> str | None:
    if record.raw == b"":
        return "wrong_columns"
    if b"\0" in record.raw:
        return "nul_byte"
    try:
        record.raw.decode()
    except UnicodeDecodeError:
        return "bad_utf8"
    lines = record.raw.split(b"\n")
    others = [line for line in lines if line.count(form.delimiter.encode()) != n_columns - 1]
    if len(others) / len(lines) <= 0.25 and len(lines) > 1 and n_columns > 1 and not form.may_span:
        return "quote_over_rows"
    if record.torn:
        return "torn_quotes"
    return None if len(record.fields) == n_columns else "wrong_columns"


def check(engine: Engine, path: Path, content: bytes, form: TextForm, names: tuple[str, ...]) -> None:
    """Read a file both ways."""
    path.write_bytes(content)
    expected, bad = plainly_read(content, form, len(names)), BadRows("skip")
    if isinstance(expected, int):
        with pytest.raises(DataError, match=f":{expected}: expected a record with closed quotes"):
            TextTable(path, form).load(engine, names, bad)
        return
    if not expected[0] and not expected[1]:
        with pytest.raises(DataError, match="expected rows.*, found (none|an empty file)"):
            TextTable(path, form).load(engine, names, bad)
        return
    table = TextTable(path, form).load(engine, names, bad)
    assert (rows_of(table), bad.skipped) == expected
    assert table.files[path] == hashlib.sha256(content).hexdigest()


PIECES = [b",", b",", b",", b"\n", b"\n", b"\r\n", b"\r", b" ", b"x", b"NaN", b"007", b'"', b'"', b'""', b',"', b'",']
PIECES += [b"\xc3\xa9", b"\xef\xbb\xbf", b"\xff", b"\0", b"1,2,3\n", b'"p\nq",2,"r ""s"""\n', b'1,2,"3\n', b'4,5,6"\n']
contents = st.lists(st.sampled_from(PIECES), min_size=1, max_size=30).map(b"".join)
delimiters = st.sampled_from([",", ",", "\t", "::", "|"])


@settings(deadline=None, max_examples=60)
@given(
    contents,
    delimiters,
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([False] * 3 + [True]),
)
@example(b"1,2,3\n4,5\n\n7,8,9\n1,2,3,4\n\n\n", ",", True, True, 3, False, False)
@example(b'"4\r\nx, ""y""",5,NaN\r\nNone,000123, null\r\n\r\n', ",", True, True, 3, False, False)
@example(b'4\0,2,2\n\xff,4,4\n"x"x,3,"3\n"\n"x",5" ,""\n3,3,3\n5,\r,5', ",", True, True, 3, False, False)
@example(b'1,"a,3\n4,"def",6\n7,8,9\n', ",", True, True, 3, False, False)
@example(b'1,2,3\n"4,4,4\n5,5,5\n', ",", True, True, 3, False, False)
@example(b'5" pipe,2,"3\n', ",", False, True, 3, False, False)
@example(b"\n\n1,2,3", ",", True, True, 3, False, False)
@example(b',"\n",', ",", True, True, 3, False, False)
@example(b"a,b\r\n,c", "\t", False, False, 2, True, False)
@example(b"a,b\n\n\n", "\t", False, False, 2, False, False)
@example(b"a,b\n \r\n\n \r", "\t", False, False, 2, False, False)
@example(b"a,b\n,\n\n", "\t", False, False, 2, False, False)
@example(b"a,b\n\nc,d\n\n", "\t", False, False, 2, False, False)
@example(b"\xef\xbb\xbf1,2\r\n", ",", False, False, 2, True, False)
@example(b' "x"\n\n"y" \n', ",", True, False, 1, False, False)
@example(b'1,2,"3\n4,5,6\n7,8,24"\nx,5" ,"\n,,"\nx,"\n\r\n",z\n', ",", True, True, 3, False, False)
@example(b'1,2,"3\n4,5,"6"\n7,"8,9\n1,2",3,4\n', ",", True, True, 3, False, False)
@example(b'0,5" p,"u\n2,3,z"\n0,5" p,x\n', ",", True, True, 3, False, False)
@example(b'a" b,"u,3\n2,z",5" x\n7,8,9\n', ",", True, True, 3, False, False)
@example(b'1,2,"3\n4,5,6"\n', ",", True, True, 3, False, True)
@example(b'":",":"\n1,"2\n",3"\n', "::", True, True, 2, False, False)
def test_rows_equal_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory,
    engine: Engine,
    content: bytes,
    delimiter: str,
    quoting: bool,
    has_header: bool,
    n_columns: int,
    has_mark: bool,
    may_span: bool,
) -> None:
    names = ("a", "b", "c")[:n_columns]
    if not has_header:
        content += b"\n"  # without any newline, carriage returns are refused
    else:
        content = ",".join(names).encode() + b"\n" + content
    content = b"\xef\xbb\xbf" * has_mark + content.replace(b",", delimiter.encode())
    form = TextForm(delimiter, quoting, None if has_header else names, may_span=may_span)
    check(engine, tmp_path_factory.getbasetemp() / "rows.csv", content, form, names)
