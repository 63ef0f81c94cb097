"""Delimited text as a table: long records, other encodings, headers, damage, and messages."""

import gzip
from pathlib import Path

import pytest

from small.data.tables import read, rows_of
from tcf.common.errors import ConfigError, DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

HEADER = b"a,b,c\n"
NAMES = ("a", "b", "c")
COLONS = TextForm("::", quoting=False, header=NAMES)
TABS = TextForm("\t", quoting=False, header=("key", "value"))


def written(folder: Path, content: bytes, name: str = "rows.csv") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_a_byte_order_mark_and_gzip_change_nothing(tmp_path: Path, engine: Engine) -> None:
    content = HEADER + b"1,2,3\n" * 50 + b"x,\xc3\xa9,z"
    plain = written(tmp_path, content)
    packed = gzip.compress(b"\xef\xbb\xbf" + content[:100]) + gzip.compress(content[100:])
    rows = [read(engine, TextTable(path, TextForm()), NAMES) for path in (plain, written(tmp_path, packed, "rows.gz"))]
    assert rows[0] == rows[1]
    assert rows[0][0] == (2, "1", "2", "3")
    assert rows[0][-1] == (52, "x", "é", "z")


def test_delimiters_of_several_characters_and_other_encodings(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b'1::"x::3\n4::\xe9:5::6\n7::8\n' + b"1::2::3\n" * 20)
    bad = BadRows("skip")
    form = TextForm("::", quoting=False, header=NAMES, encoding="latin-1")
    rows = read(engine, TextTable(path, form), NAMES, bad)
    assert rows[:2] == [(1, "1", '"x', "3"), (2, "4", "é:5", "6")]
    assert rows[2:] == [(line, "1", "2", "3") for line in range(4, 24)]
    assert bad.skipped == {"wrong_columns": 1}


@pytest.mark.parametrize("line", [b"1::2::3::4", b"1::2::\xff"])
def test_messages_show_delimiters_as_the_file_has_them(tmp_path: Path, engine: Engine, line: bytes) -> None:
    path = written(tmp_path, b"1::2::3\n" + line + b"\n")
    with pytest.raises(DataError, match=r"rows.csv:2: .*found '1::2::(3::4|\\\\xff)'"):
        read(engine, TextTable(path, COLONS), NAMES)


def test_control_characters_are_characters_like_others(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"1::2\x1f3::\x013\n")
    assert read(engine, TextTable(path, COLONS), NAMES) == [(1, "1", "2\x1f3", "\x013")]


def test_a_record_may_be_long(tmp_path: Path, engine: Engine) -> None:
    """Longer than the engine allows at first; and the lines after it are those of the file."""
    title = "long " * 500_000 + "\nend"
    path = written(tmp_path, HEADER + f'1,"{title}",3\n4,5,6\n7\n'.encode())
    bad = BadRows("skip")
    table = TextTable(path, TextForm()).load(engine, NAMES, bad)
    assert rows_of(table) == [(2, "1", title, "3"), (4, "4", "5", "6")]
    with pytest.raises(DataError, match="rows.csv:5: expected 3 columns, a, b, c, found '7'"):
        TextTable(path, TextForm()).load(engine, NAMES, BadRows("error"))


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
        (HEADER + "1,2,\U0010fffc\n".encode(), r"expected text without the private characters U\+10FE00, U\+10FE80 to"),
    ],
    ids=str,
)
def test_files_that_cannot_be_read(tmp_path: Path, engine: Engine, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message) as raised:
        read(engine, TextTable(path, TextForm()), NAMES, BadRows("skip"))
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no.csv: expected a readable file, found none"):
        TextTable(tmp_path / "no.csv", TextForm())


@pytest.mark.parametrize("content", [HEADER + b"1,2,3\n" * 100, HEADER + b'1,2,"3\r\n"\r\n' * 100])
def test_a_file_that_is_still_being_written_is_refused(tmp_path: Path, engine: Engine, content: bytes) -> None:
    path = written(tmp_path, content)
    table = TextTable(path, TextForm())
    with path.open("ab") as file:
        file.write(b"4,5,6\n")
    with pytest.raises(DataError, match="another process is writing it"):
        read(engine, table, ("a",))


def test_a_file_that_changes_amid_the_rows_is_refused(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = written(tmp_path, HEADER + b"1,2,3\n" * 100), Engine.run

    def run_and_write(self: Engine, query: str) -> None:
        run(self, query)
        with path.open("ab") as file:
            file.write(b"4,5,6\n")

    table = TextTable(path, TextForm())
    monkeypatch.setattr(Engine, "run", run_and_write)
    with pytest.raises(DataError, match="another process is writing it"):
        table.load(engine, ("a",), BadRows("error"))


def test_bad_rows_stop_with_the_line_of_the_first(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, HEADER + b'1,2,"3\n3"\n4,5\n6,7\n')
    with pytest.raises(DataError) as raised:
        read(engine, TextTable(path, TextForm()), NAMES)
    assert str(raised.value) == (
        f"{path}:4: expected 3 columns, a, b, c, found '4,5'; 2 of this kind (wrong_columns) in all, on lines 4, 5; "
        "correct the file, or skip and count such rows with --bad-rows skip"
    )


def test_many_bad_rows_are_counted_and_the_first_are_named(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"a\tb\n" + b"only one\n" * 7)
    with pytest.raises(DataError) as caught:
        read(engine, TextTable(path, TABS), ("key",))
    message = str(caught.value)
    assert message.startswith(f"{path}:2: expected 2 columns, key, value, found 'only one'; 7 of this kind ")
    assert "(wrong_columns) in all, on lines 2, 3, 4, 5, 6, ...; " in message
    assert "--bad-rows skip" in message


def test_messages_show_crlf_rows_without_their_return(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"a\tb\r\nonly one\r\n")
    with pytest.raises(DataError, match=r"rows.csv:2: .* found 'only one';"):
        read(engine, TextTable(path, TABS), ("key",))


def test_a_long_row_is_shortened_in_the_message(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"a\tb\n" + b"x" * 10_000 + b"\n")
    with pytest.raises(DataError) as caught:
        read(engine, TextTable(path, TABS), ("key",))
    assert len(str(caught.value)) < 500 + len(str(path))


def test_blank_lines_at_the_end_are_no_lines_and_others_are_errors(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"a\tb\r\nc\td\r\n\r\n  \n\n")
    assert read(engine, TextTable(path, TABS), ("value",)) == [(1, "b"), (2, "d")]
    path = written(tmp_path, b"a\tb\n\nc\td\n\n")
    with pytest.raises(DataError, match=r"rows.csv:2: expected 2 columns, .* 1 of this kind \(wrong_columns\)"):
        read(engine, TextTable(path, TABS), ("value",))


def test_lines_and_columns_after_a_header(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"x\ty\na\tb\nc\td\n")
    table = TextTable(path, TextForm("\t", quoting=False))
    assert table.columns == ("x", "y")
    assert read(engine, table, ("y", "x")) == [(2, "b", "a"), (3, "d", "c")]


def test_a_header_may_have_quotes_and_several_lines(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b'"a, ""b""",c\xe2\x80\xa8d,"e\nf"\n1,2,3\n')
    table = TextTable(path, TextForm())
    assert table.columns == ('a, "b"', "c\u2028d", "e\nf")
    assert read(engine, table, ("e\nf",)) == [(3, "3")]


def test_a_header_that_holds_rows(tmp_path: Path) -> None:
    path = written(tmp_path, b'a,b,"c\n1,2,3"\n4,5,6\n')
    with pytest.raises(DataError, match="rows.csv:1: expected a record within one line, .* found a header of 2 lines"):
        TextTable(path, TextForm())
    assert TextTable(path, TextForm(may_span=True)).columns == ("a", "b", "c\n1,2,3")


def test_a_quoted_field_that_holds_rows(tmp_path: Path, engine: Engine) -> None:
    """Whether the engine finds a row, text after the quote, or another number of columns."""
    for swallowed in (b'1,2,"Untitled\n4,5,24"\n', b'1,2,"Untitled\n4,5,"Best" of\n', b'1,2,"Untitled\n4,"5,x\n'):
        path, bad = written(tmp_path, HEADER + b"0,0,0\n" + swallowed + b'7,8,"two\nlines"\n'), BadRows("skip")
        assert read(engine, TextTable(path, TextForm()), ("a",), bad) == [(2, "0"), (5, "7")]
        assert bad.skipped == {"quote_over_rows": 2}
        with pytest.raises(DataError) as raised:
            read(engine, TextTable(path, TextForm()), ("a", "c"))
        assert str(raised.value).startswith(
            f"{path}:3: expected a record within one line, or a quoted field whose lines would not be rows (in "
            "format table, --quotes none takes quotes for characters and --quotes csv allows such a field), found '1,"
        )
        assert "1 of this kind (quote_over_rows) in all, on line 3; correct the file" in str(raised.value)
    path = written(tmp_path, HEADER + b'1,2,"Untitled\n4,5,24"\n')
    assert read(engine, TextTable(path, TextForm(may_span=True)), ("c",)) == [(2, "Untitled\n4,5,24")]
    one_column = written(tmp_path, b'a\n"x\ny"\n')
    assert read(engine, TextTable(one_column, TextForm()), ("a",)) == [(2, "x\ny")]


def test_rows_that_a_quote_has_swallowed_with_other_lines(tmp_path: Path, engine: Engine) -> None:
    """A blank line among them, or one with a delimiter too many, does not hide them; one in four lines may be such."""
    first, last = b'1,2,"Untitled\n', b'7,8,9"\n'
    for other in (b"\n", b"4,5,six, seven\n", b"4\n"):
        path, bad = written(tmp_path, HEADER + first + b"3,4,5\n" + other + last + b"x,y,z\n"), BadRows("skip")
        assert read(engine, TextTable(path, TextForm()), ("a",), bad) == [(6, "x")]
        assert bad.skipped == {"quote_over_rows": 4}
    path = written(tmp_path, HEADER + first + b"4\n" + last)
    assert read(engine, TextTable(path, TextForm()), ("c",)) == [(2, "Untitled\n4\n7,8,9")]


def test_rows_that_are_swallowed_up_to_a_quoted_field(tmp_path: Path, engine: Engine) -> None:
    """The second quote ends the first one's field, and text follows it; delimiters in its own field change nothing."""
    path, bad = written(tmp_path, HEADER + b'1,2,"Untitled\n4,5,"six, seven"\n7,8,9\n'), BadRows("skip")
    assert read(engine, TextTable(path, TextForm()), ("a",), bad) == [(4, "7")]
    assert bad.skipped == {"torn_quotes": 2}


@pytest.mark.parametrize(("fault", "shown"), [(b"\xe9", r"\\xe9"), (b"\0", r"\x00")])
@pytest.mark.parametrize("more", [b"", b",too many"])
def test_messages_show_the_place_of_a_bad_byte(
    tmp_path: Path, engine: Engine, fault: bytes, shown: str, more: bytes
) -> None:
    path = written(tmp_path, HEADER + b"1,2," + 200 * b"x" + b"caf" + fault + b" au lait" + more + b"\n")
    with pytest.raises(DataError) as raised:
        read(engine, TextTable(path, TextForm()), ("a",))
    assert f"found '...{27 * 'x'}caf{shown} au lait{more.decode()}'; 1 of this kind" in str(raised.value)


def test_columns_that_are_not_there(tmp_path: Path, engine: Engine) -> None:
    path = written(tmp_path, b"a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"rows.csv: expected one of its columns \(a, b.*, found c"):
        read(engine, TextTable(path, TextForm()), ("c",))


def test_a_table_whose_rows_are_all_refused_is_empty(tmp_path: Path, engine: Engine) -> None:
    path, bad = written(tmp_path, b"a,b\n1\n2,3,4\n"), BadRows("skip")
    assert read(engine, TextTable(path, TextForm()), ("a",), bad) == []
    assert bad.skipped == {"wrong_columns": 2}
