"""Tab-separated rows against a plain Python reading of the same bytes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.tsv_file import read_rows, read_text_file

Row = tuple[int, list[str]]


def plainly_read(content: bytes, n_columns: int) -> tuple[list[Row], dict[str, int]]:
    """Line number and fields of every good row, and the reasons of the others, a line at a time."""
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    while len(lines) > 1 and set(lines[-1]) <= set(b" \r"):
        lines.pop()
    rows: list[Row] = []
    skipped: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        reason = ""
        try:
            fields = [field.strip() for field in line.decode("utf-8").split("\t")]
        except UnicodeDecodeError:
            reason, fields = "bad_utf8", []
        if b"\0" in line:
            reason = "nul_byte"
        elif not reason and len(fields) != n_columns:
            reason = "wrong_columns"
        if reason:
            skipped[reason] = skipped.get(reason, 0) + 1
        else:
            rows.append((number, fields))
    return rows, skipped


pieces = st.sampled_from([b"\t", b"\t", b"\n", b"\r\n", b"\r", b" ", b"a", b"B", b'"', b"\xc3\xa9", b"\xff", b"\0"])
contents = st.lists(pieces, min_size=1, max_size=40).map(b"".join).filter(lambda content: b"\t" in content)


@settings(deadline=None)
@given(contents, st.sampled_from([2, 3]))
@example(b"\xef\xbb\xbfa\tb\r\n\tc", 2)
@example(b"a\tb\n\n\n", 2)
@example(b"a\tb\n \r\n\n \r", 2)
@example(b"a\tb\n\t\n\n", 2)
@example(b"a\tb\n\nc\td\n\n", 2)
def test_rows_equal_a_plain_reading(tmp_path_factory: pytest.TempPathFactory, content: bytes, n_columns: int) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.tsv"
    path.write_bytes(content)
    expected, skipped = plainly_read(content, n_columns)
    bad = BadRows("skip")
    file = read_text_file(path)
    rows = read_rows(file, n_columns, "fields", bad)
    columns = [rows.column(index).to_pylist() for index in range(n_columns)]
    found = [(int(line), [column[row] for column in columns]) for row, line in enumerate(rows.lines)]
    assert found == expected
    assert bad.skipped == skipped
    assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_line_numbers_after_a_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("x\ty\na\tb\nc\td\n")
    rows = read_rows(read_text_file(path).without_first_line, 2, "fields", BadRows("error"))
    np.testing.assert_array_equal(rows.lines, [2, 3])
    assert rows.column(0).to_pylist() == ["a", "c"]


def test_many_bad_rows_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\n" + "only one\n" * 7)
    with pytest.raises(DataError) as caught:
        read_rows(read_text_file(path), 2, "a key and a value", BadRows("error"))
    message = str(caught.value)
    assert message.startswith(f"{path}:2: expected 2 columns, a key and a value, found 'only one'; 7 of this kind ")
    assert "(wrong_columns) in all, on lines 2, 3, 4, 5, 6, ...; " in message
    assert "--bad-rows skip" in message


def test_messages_show_crlf_rows_without_their_return(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"a\tb\r\nonly one\r\n")
    with pytest.raises(DataError, match=r"rows.tsv:2: .* found 'only one';"):
        read_rows(read_text_file(path), 2, "a key and a value", BadRows("error"))


def test_a_long_row_is_shortened_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\n" + "x" * 10_000 + "\n")
    with pytest.raises(DataError) as caught:
        read_rows(read_text_file(path), 2, "a key and a value", BadRows("error"))
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found an empty file"),
        (b"\xef\xbb\xbf", "found an empty file"),
        ("a\tb\n".encode("utf-16"), "found UTF-16"),
    ],
)
def test_files_without_readable_text(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=found) as caught:
        read_text_file(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows.tsv: expected a readable file"):
        read_text_file(tmp_path / "rows.tsv")


def test_blank_lines_at_the_end_are_no_lines_and_others_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"a\tb\r\nc\td\r\n\r\n  \n\n")
    rows = read_rows(read_text_file(path), 2, "fields", BadRows("error"))
    assert (rows.lines.tolist(), rows.column(1).to_pylist()) == ([1, 2], ["b", "d"])
    path.write_bytes(b"a\tb\n\nc\td\n\n")
    with pytest.raises(DataError, match=r"rows.tsv:2: expected 2 columns, .* 1 of this kind \(wrong_columns\)"):
        read_rows(read_text_file(path), 2, "fields", BadRows("error"))


def test_no_tab_anywhere_is_a_wrong_separator_even_when_skipping(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a,b\nc,d\n")
    with pytest.raises(DataError, match=r"rows.tsv:1: expected .* found no tab in any line: 'a,b'"):
        read_rows(read_text_file(path), 2, "a key and a value", BadRows("skip"))
