"""Format `table`: what options say about text files, for each list of files, and where they say it in vain."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small.data.raw import histories_of, texts_of, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.raw.any_table.read_table import read_table
from tcf.data.raw.any_table.table_options import TableOptions, table_options
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.engine import Engine
from tcf.data.text_template import parse_template

HEADED = {"events": ("events.csv",), "items": ("items.csv",)}
WITHOUT = {"header": "who,what,when", "items_header": "what,title"}
EVENTS, ITEMS = "u1,a,2\nu1,b,1\nu2,b,3\n", "a,Alpha\nb,Beta\n"
HISTORIES, TEXTS = {"u1": ["b", "a"], "u2": ["b"]}, {"a": "Alpha", "b": "Beta"}


def options_of(**given: Any) -> TableOptions:
    settings = {**HEADED, "user_column": "who", "item_column": "what", "time_column": "when", **given}
    return table_options(PrepareConfig(**settings))


Read = Callable[..., RawLog]


@pytest.fixture(name="read", scope="module")
def reader(engine: Engine) -> Read:
    """Reads the files of a folder, with the engine of all tests here."""

    def read_once(
        raw: Path, files: dict[str, str | bytes], bad_rows: Literal["error", "skip"] = "error", **given: Any
    ) -> RawLog:
        write_files(raw, files)
        template = parse_template("{title}")
        return read_table(engine, raw, bad_rows=bad_rows, template=template, options=options_of(**given))

    return read_once


def check(log: RawLog) -> None:
    assert (histories_of(log), texts_of(log), log.skipped) == (HISTORIES, TEXTS, {})


def test_files_without_headers(read: Read, tmp_path: Path) -> None:
    check(read(tmp_path, {"events.csv": EVENTS, "items.csv": ITEMS}, **WITHOUT))
    # A header of the events holds for the events alone.
    check(read(tmp_path, {"items.csv": "what,title\n" + ITEMS}, header="who, what ,when"))
    check(
        read(
            tmp_path,
            {"events.csv": "when,who,what\n2,u1,a\n1,u1,b\n3,u2,b\n", "items.csv": ITEMS},
            items_header="what,title",
        )
    )
    first, rest = EVENTS.split("\n", 1)
    files = {"1.csv": first, "2.csv.gz": gzip.compress(rest.encode()), "items.csv": ITEMS}
    check(read(tmp_path, files, events=("1.csv", "2.csv.gz"), **WITHOUT))
    log = read(
        tmp_path, {"events.csv": "u1,a,,Alpha\nu1,b,,Beta\n"}, header="who,what,when,title", items=(), time_column=None
    )
    assert (histories_of(log), texts_of(log)) == ({"u1": ["a", "b"]}, TEXTS)
    # The line of a row is that of the file.
    with pytest.raises(DataError, match=rf"^{tmp_path}/events.csv:1: expected a user id and an item id, found who ''"):
        read(tmp_path, {"events.csv": ",a,1\n" + EVENTS, "items.csv": ITEMS}, **WITHOUT)


@pytest.mark.parametrize(
    ("given", "events", "message"),
    [
        ({}, "u1,a\n", "--header: RAW/events.csv:1: expected 3 fields (who, what, when), found 2 fields ('u1,a');"),
        ({}, '"u,1",a,1,x\n', "--header: RAW/events.csv:1: expected 3 fields (who, what, when), found 4 fields"),
        ({}, EVENTS.replace(",", ";"), "--header: RAW/events.csv:1: expected 3 fields (who, what, when), found 1 "),
        ({}, "who,What,when\n" + EVENTS, "--header: RAW/events.csv:1: expected rows without a header, found one ('w"),
        ({"items_header": "a,b,c"}, EVENTS, "--items-header: RAW/items.csv:1: expected 3 fields (a, b, c), found 2"),
        ({"events": ("1.csv", "events.csv")}, "u1\n", "--header: RAW/events.csv:1: expected 3 fields"),
    ],
)  # fmt: skip
def test_headers_that_do_not_fit(read: Read, tmp_path: Path, given: dict[str, Any], events: str, message: str) -> None:
    files = {"events.csv": events, "items.csv": ITEMS, "1.csv": EVENTS}
    with pytest.raises(DataError) as caught:
        read(tmp_path, files, "skip", **{**WITHOUT, **given})
    assert str(caught.value).replace(str(tmp_path), "RAW").startswith(message)


def test_a_first_record_that_is_no_row_is_a_bad_row_like_others(read: Read, tmp_path: Path) -> None:
    files = {"events.csv": '"u1"x,a,2\n' + EVENTS, "items.csv": ITEMS}
    assert read(tmp_path, files, "skip", **WITHOUT).skipped == {"torn_quotes": 1}
    with pytest.raises(DataError, match=rf"^{tmp_path}/events.csv:1: expected a closing quote at the end of its field"):
        read(tmp_path, files, **WITHOUT)


def test_each_list_of_files_has_a_form_of_its_own(read: Read, tmp_path: Path) -> None:
    """Semicolons and one byte a letter for the events, tabs and UTF-16 for the items."""
    events = "who;what;when\nu1;é;2\nu1;b;1\nu2;b;3\n".encode("latin-1")
    items = 'what\ttitle\né\t"Ælfred\nb\tBeta\n'.encode("utf-16")
    given = {"delimiter": ";", "encoding": "latin1", "items_delimiter": "\\t", "items_encoding": "UTF-16"}
    log = read(tmp_path, {"events.csv": events, "items.csv": items}, **given, items_quotes="none")
    assert histories_of(log) == {"u1": ["b", "é"], "u2": ["b"]}
    assert texts_of(log) == {"é": '"Ælfred', "b": "Beta"}
    # What is said for all holds for the items too, where they say nothing of their own.
    files = {"events.csv": events, "items.csv": "what;title\né;'A;B'\nb;Beta\n".replace("'", '"').encode("latin-1")}
    log = read(tmp_path, files, delimiter=";", encoding="cp1252")
    assert (histories_of(log), texts_of(log)) == ({"u1": ["b", "é"], "u2": ["b"]}, {"é": "A;B", "b": "Beta"})


@pytest.mark.parametrize("codec", ["utf-16", "UTF_32", "gbk", "euc_kr", "utf-8-sig"])
def test_encodings(read: Read, tmp_path: Path, codec: str) -> None:
    letter = "한" if codec == "euc_kr" else "я"
    contents = {
        "events.csv": f"who,what,when\n{letter},b,1\n",
        "items.csv": f'what,title\nb,"{letter}\n{letter}"\n',
    }
    pack = gzip.compress if codec == "utf-16" else bytes
    log = read(tmp_path, {name: pack(text.encode(codec)) for name, text in contents.items()}, encoding=codec)
    assert (histories_of(log), texts_of(log)) == ({letter: ["b"]}, {"b": f"{letter}\n{letter}"})


@pytest.mark.parametrize(
    ("codec", "content", "message"),
    [
        (
            "ascii",
            "who,what,when\nu,b,1\nü,b,2\n".encode(),
            "RAW/events.csv:3: expected text in ascii, found other bytes",
        ),
        ("gbk", b"who,what,when\nu,b,1\n\xff\xff,b,2\n", "RAW/events.csv:3: expected text in gbk, found other bytes"),
        ("utf-16", b"who,what,when\nu,b,1\n", "RAW/events.csv: expected text in utf-16, found other bytes"),
        (
            "utf-16-le",
            "who,what,when\nu,b,1\n".encode("utf-16-le")[:-1],
            "RAW/events.csv: expected text in utf-16-le, ",
        ),
        ("utf-16-le", b"\0\xd8a\0", "RAW/events.csv: expected text in utf-16-le, found other bytes (illegal UTF-16 "),
        ("utf-8", "who,what,when\nu,b,1\n".encode("utf-16"), "RAW/events.csv: expected UTF-8, found UTF-16"),
    ],
)
def test_bytes_of_another_encoding(read: Read, tmp_path: Path, codec: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, {"events.csv": content, "items.csv": "what,title\nb,B\n"}, "skip", encoding=codec)
    assert str(caught.value).replace(str(tmp_path), "RAW").startswith(message)


def test_quotes(read: Read, tmp_path: Path) -> None:
    rows = 'who,what,when\n"u1",a,1\n'
    tabs = rows.replace(",", "\t")
    items = {"items.csv": "what,title\na,A\n"}
    cases = (("e.csv", None, "u1"), ("e.csv", "none", '"u1"'), ("e.tsv", None, '"u1"'), ("e.tsv", "csv", "u1"))
    for name, quotes, user in cases:
        log = read(tmp_path, {"e.csv": rows, "e.tsv": tabs, **items}, events=(name,), quotes=quotes)
        assert list(histories_of(log)) == [user]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("option", "value"), [("header", "who,what"), ("delimiter", ","), ("encoding", "latin-1"), ("quotes", "csv")]
)
def test_options_about_text_for_files_that_are_none(
    read: Read, tmp_path: Path, suffix: str, option: str, value: str
) -> None:
    pq.write_table(pa.table({"who": ["u"], "what": ["a"]}), tmp_path / "x.parquet")
    pq.write_table(pa.table({"what": ["a"], "title": ["A"]}), tmp_path / "i.parquet")
    write_files(tmp_path, {"x.jsonl": '{"who": "u", "what": "a"}\n', "i.jsonl": '{"what": "a", "title": "A"}\n'})
    write_files(tmp_path, {"i.csv": "what,title\na,A\n", "x.csv": "who,what\nu,a\n"})
    of_suffix: dict[str, Any] = {"events": (f"x.{suffix}",), "items": (f"i.{suffix}",), "time_column": None}
    refused = option != "encoding" or suffix == "parquet"
    for name in (option, f"items_{option}"):
        given = {**of_suffix, name: value}
        if refused:
            file = "i" if name.startswith("items") else "x"
            more = " and 1 more file" if name in ("delimiter", "quotes", "encoding") else ""
            kinds = "a text file or JSON lines" if option == "encoding" else "a text file"
            with pytest.raises(ConfigError) as caught:
                read(tmp_path, {}, **given)
            words = f"expected {kinds}, found only {tmp_path}/{file}.{suffix}{more}; leave it out"
            assert str(caught.value) == f"--{name.replace('_', '-')}: {words}"
        else:
            assert histories_of(read(tmp_path, {}, **given)) == {"u": ["a"]}
    if option != "header":  # it holds for all files, of which one is text
        assert texts_of(read(tmp_path, {}, **{**of_suffix, "items": ("i.csv",), option: value})) == {"a": "A"}
        log = read(tmp_path, {}, **{**of_suffix, "events": ("x.csv", f"x.{suffix}"), option: value})
        assert histories_of(log) == {"u": ["a", "a"]}


QUOTED = 'what\ttitle\na\t"Al"\nb\t"Be"\nc\tCe\n'


@pytest.mark.parametrize(("quotes", "warns"), [(None, True), ("none", False), ("csv", False)])
def test_texts_in_quotes_are_pointed_out(
    read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture, quotes: Literal["csv", "none"] | None, warns: bool
) -> None:
    files = {"events.csv": "who,what,when\n" + EVENTS, "items.tsv": QUOTED}
    log = read(tmp_path, files, items=("items.tsv",), items_quotes=quotes)
    assert log.texts.to_pylist() == (["Al", "Be", "Ce"] if quotes == "csv" else ['"Al"', '"Be"', "Ce"])
    words = '2 of 3 item texts begin and end with a quote, such as "Al"; if quotes enclose the fields of the file'
    assert (words in caplog.text) is warns


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoding": "utf-9"}, "--encoding: expected a text encoding that Python knows, such as .*, found 'utf-9'"),
        ({"items_encoding": "base64"}, "--items-encoding: expected a text encoding that Python knows, .* 'base64'"),
        ({"encoding": "rot13"}, "--encoding: expected a text encoding"),
        ({"encoding": "undefined"}, "--encoding: expected a text encoding"),
        ({"encoding": "punycode"}, "--encoding: expected a text encoding"),
        ({"encoding": ""}, "--encoding: expected a text encoding"),
        ({"encoding": "a\0b"}, "--encoding: expected a text encoding"),
        ({"header": "who,,when"}, "--header: expected different names of columns with commas between .* 'who,,when'"),
        ({"items_header": "what,what"}, "--items-header: expected different names"),
        ({"header": ""}, "--header: expected different names"),
        ({"delimiter": ""}, "--delimiter: expected one to four ASCII"),
        ({"items_delimiter": "\n"}, "--items-delimiter: expected one to four ASCII"),
        ({"items_quotes": "single"}, "--items-quotes: expected one of csv, none, found 'single'"),
        (
            {"items": (), "items_header": "a,b"},
            "--items-header: expected only with --items, found without it; leave it",
        ),
        ({"items": (), "items_quotes": "csv"}, "--items-quotes: expected only with --items"),
    ],
)
def test_options_that_are_wrong(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_of(**given)


def test_options_of_items_where_these_are_the_events(read: Read, tmp_path: Path) -> None:
    files = {"events.csv": "who,what,title\nu,a,A\n"}
    with pytest.raises(
        ConfigError, match="--items-delimiter: expected files of items, found only those of events; leave"
    ):
        read(tmp_path, files, items=("events.csv",), items_delimiter=";", time_column=None)


NAMED = {"items": (), "time_column": None, "header": "who,what,title"}
fields = st.lists(
    st.tuples(*[st.text(st.characters(codec="gbk", exclude_characters='\r\n",\t|\0'), min_size=1, max_size=4)] * 3),
    min_size=1,
    max_size=12,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields, st.sampled_from([",", "|", "\t", "::"]), st.sampled_from(["gbk", "utf-16", "utf-8"]), st.integers(1, 4))
def test_rows_of_any_form_in_any_number_of_files(
    read: Read,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    delimiter: str,
    codec: str,
    n_files: int,
) -> None:
    """Against the rows themselves: fields without white space at their ends, and rows without ids counted."""
    raw = tmp_path_factory.mktemp("raw")
    rows = [tuple(field.replace(":", ";") for field in row) for row in rows]
    parts = [rows[at::n_files] for at in range(n_files)]
    for at, part in enumerate(parts):
        content = "".join(delimiter.join(row) + "\n" for row in part).encode(codec) if part else b""
        write_files(raw / "e", {f"{at}.csv": content})
    found: dict[str, list[str]] = {}
    for who, what, title in (tuple(field.strip() for field in row) for part in parts for row in part):
        if who and what and title:
            found.setdefault(who, []).append(what)
    try:
        log = read(raw, {}, "skip", **NAMED, events=("e",), delimiter=delimiter, encoding=codec)
    except DataError:
        assert not found
    else:
        assert {user: items for user, items in histories_of(log).items() if items} == found
