"""Damaged variants of every raw format: each ends in a right dataset, with counts, or in an error of one line."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from small.data.damage import MODES, check, check_named, prepared, unsynced
from small.data.formats import FORMS, LOG, Form, Log, histories_left, write_form
from small.data.raw import histories_of
from small.data.tables import read
from tcf.common.errors import DataError
from tcf.data.dataset import Dataset
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.json_table import JsonTable

TEXT_FORMS = tuple(form for form in FORMS if form.is_text)
TIMED = tuple(form for form in FORMS if not form.per_user)
TABLES = tuple(form for form in FORMS if form.format == "table")
BETWEEN = {"tabs": "\t", "csv": ",", "colons": "::", "pipes": "|", "json": "\t", "parquet": "\t"}
SPARE = frozenset({"spare"})
every_form = pytest.mark.parametrize("form", FORMS, ids=str)
text_forms = pytest.mark.parametrize("form", TEXT_FORMS, ids=str)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with unsynced():
        yield


@every_form
def test_as_written(form: Form, tmp_path: Path) -> None:
    raw = write_form(form, tmp_path / "raw", form.write(LOG))
    check(prepared(form, raw, "error"), LOG, {})
    check(prepared(form, raw, "skip"), LOG, {})


@text_forms
def test_carriage_returns_and_byte_order_marks(form: Form, tmp_path: Path) -> None:
    files = {name: content.replace(b"\n", b"\r\n") for name, content in form.write(LOG).items()}
    check(prepared(form, write_form(form, tmp_path / "crlf" / "raw", files), "error"), LOG, {})
    if form.name != "ml-100k":  # its u.item is not in UTF-8, so that a mark has no meaning there
        files = {name: b"\xef\xbb\xbf" + content for name, content in files.items()}
        check(prepared(form, write_form(form, tmp_path / "bom" / "raw", files), "error"), LOG, {})


@text_forms
def test_carriage_returns_alone(form: Form, tmp_path: Path) -> None:
    files = {name: content.replace(b"\n", b"\r") for name, content in form.write(LOG).items()}
    raw = write_form(form, tmp_path / "raw", files)
    for found in (prepared(form, raw, "error"), prepared(form, raw, "skip")):
        if isinstance(found, Dataset):
            check(found, LOG, {})
        else:
            assert isinstance(found, DataError)


@every_form
def test_a_nul_byte_in_a_title(form: Form, tmp_path: Path) -> None:
    # A megabyte long as well, so that the message has to be cut.
    raw = write_form(form, tmp_path / "raw", form.write(LOG.with_title("spare", "Ti\0tle" + "x" * 2**20)))
    check(prepared(form, raw, "skip"), LOG, {"nul_byte": 1, "unknown_item": 1}, SPARE)
    check_named(prepared(form, raw, "error"), "nul_byte")


@every_form
def test_a_nul_byte_in_an_event(form: Form, tmp_path: Path) -> None:
    events = tuple((user, item.replace("spare", "sp\0are"), time) for user, item, time in LOG.events)
    raw = write_form(form, tmp_path / "raw", form.write(replace(LOG, events=events)))
    check_named(prepared(form, raw, "error"), "nul_byte")
    if form.per_user:  # the whole line of user None
        left = replace(LOG, events=tuple(event for event in LOG.events if event[0] != "None"))
        check(prepared(form, raw), left, {"nul_byte": 1, "items_never_seen": 1})
    elif form.name == "recbole-lists":  # the lists of user None's later rows have the item too
        left = replace(LOG, events=tuple(event for event in LOG.events if event[0] != "None"))
        dropped = {"users_below_min_history": 1, "interactions_of_dropped_users": 1}
        check(prepared(form, raw), left, {"nul_byte": 3, **dropped, "items_never_seen": 1})
    else:
        check(prepared(form, raw), LOG, {"nul_byte": 1, "items_never_seen": 1}, SPARE)


@every_form
def test_files_of_which_no_row_can_be_used(form: Form, tmp_path: Path) -> None:
    nul = Log(tuple((item, "\0") for item, _ in LOG.items), LOG.events)
    untitled = Log(tuple((item, "") for item, _ in LOG.items), LOG.events)
    users = replace(LOG, events=tuple((user + "\0", item, time) for user, item, time in LOG.events))
    for place, log in enumerate([nul, untitled, users]):
        (tmp_path / str(place)).mkdir()
        raw = write_form(form, tmp_path / str(place) / "raw", form.write(log))
        for mode in MODES:
            assert isinstance(prepared(form, raw, mode), DataError)
    files = form.write(LOG)
    if form.is_text:  # every line has one field more than the first
        for name in files:
            first, *rest = files[name].split(b"\n")
            files[name] = b"\n".join(
                [first, *(line + BETWEEN[form.kind].encode() + b"x" for line in rest if line), b""]
            )
        (tmp_path / "wide").mkdir()
        assert isinstance(prepared(form, write_form(form, tmp_path / "wide" / "raw", files)), DataError)


@every_form
def test_a_title_of_a_megabyte(form: Form, tmp_path: Path) -> None:
    log = LOG.with_title("spare", "long " * 2**18 + "end")
    check(prepared(form, write_form(form, tmp_path / "raw", form.write(log)), "error"), log, {})


@every_form
def test_a_title_with_what_divides_fields(form: Form, tmp_path: Path) -> None:
    log = LOG.with_title("spare", f'A "title" with {BETWEEN[form.kind]} in it')
    raw = write_form(form, tmp_path / "raw", form.write(log))
    if form.kind in ("csv", "json", "parquet"):
        check(prepared(form, raw, "error"), log, {})
        return
    check(prepared(form, raw, "skip"), log, {"wrong_columns": 1, "unknown_item": 1}, SPARE)
    check_named(prepared(form, raw, "error"), "wrong_columns")


@every_form
def test_a_title_of_two_lines(form: Form, tmp_path: Path) -> None:
    log = LOG.with_title("spare", '"Two\nlines"')
    raw = write_form(form, tmp_path / "raw", form.write(log))
    match form.name:
        case "tcf" | "recbole" | "recbole-lists" | "recbole-split":  # the first half is a row of its own
            check(prepared(form, raw), LOG.with_title("spare", '"Two'), {"wrong_columns": 1})
        case "mind" | "ml-100k" | "ml-1m":
            check(prepared(form, raw), log, {"wrong_columns": 2, "unknown_item": 1}, SPARE)
        case _:
            check(prepared(form, raw, "error"), log, {})


@pytest.mark.parametrize("form", TIMED, ids=str)
def test_times_before_1970_and_absent_ones(form: Form, tmp_path: Path) -> None:
    log = replace(LOG, events=(*LOG.events, ("007", "spare", -86_400 * 3), ("7", "spare", "")))
    raw = write_form(form, tmp_path / "raw", form.write(log))
    check(prepared(form, raw), log, {"bad_timestamp": 1})
    check_named(prepared(form, raw, "error"), "bad_timestamp")
    none = replace(LOG, events=tuple((user, item, "") for user, item, _ in LOG.events))
    (tmp_path / "none").mkdir()
    raw = write_form(form, tmp_path / "none" / "raw", form.write(none))
    for mode in MODES:
        assert isinstance(prepared(form, raw, mode), DataError)


@every_form
def test_users_that_stand_there_twice(form: Form, tmp_path: Path) -> None:
    files = form.write(LOG)
    more = {"tcf": b"007\tspare spare spare\n", "mind": b"2\t007\t11/13/2019 1:00:00 AM\t000123 NaN None\tspare-1\n"}
    log = LOG
    if form.per_user:
        files["behaviors.tsv"] += more[form.name]
    else:  # every user's rows are scattered already
        log = replace(LOG, events=LOG.events[::-1])
        files = form.write(log)
    raw = write_form(form, tmp_path / "raw", files)
    if form.name == "tcf":
        check(prepared(form, raw), LOG, {"duplicate_user": 1})
        check_named(prepared(form, raw, "error"), "duplicate_user")
    elif form.name == "mind":
        found = prepared(form, raw, "error")
        assert isinstance(found, Dataset)
        assert histories_of(found) == {**histories_left(LOG), "007": ["000123", "NaN", "None", "123", "spare"]}
    else:
        check(prepared(form, raw, "error"), log, {})


@every_form
def test_an_item_that_stands_there_twice(form: Form, tmp_path: Path) -> None:
    raw = write_form(form, tmp_path / "raw", form.write(replace(LOG, items=(*LOG.items, ("spare", "Another title")))))
    found = prepared(form, raw)
    assert isinstance(found, Dataset)
    skipped = found.statistics["skipped"]
    check(found, LOG, skipped)
    assert list(skipped.values()) == [1]
    assert "item" in next(iter(skipped))


@every_form
def test_users_whose_items_are_all_unknown(form: Form, tmp_path: Path) -> None:
    ghosts = tuple(("ghost", f"gone{place}", place) for place in range(3))
    raw = write_form(form, tmp_path / "raw", form.write(replace(LOG, events=(*ghosts, *LOG.events))))
    found = prepared(form, raw)
    assert isinstance(found, Dataset)
    check(found, LOG, {"unknown_item": 3, "users_below_min_history": 1})
    log = Log(items=tuple((f"other{item}", title) for item, title in LOG.items), events=LOG.events)
    (tmp_path / "none").mkdir()
    raw = write_form(form, tmp_path / "none" / "raw", form.write(log))
    for mode in MODES:
        assert isinstance(prepared(form, raw, mode), DataError)


@every_form
def test_characters_that_end_lines_elsewhere(form: Form, tmp_path: Path) -> None:
    title = "a\u2028b\x0bc\x85d\x1ce\x0cf\ufeffg\x1ah"
    if form.name == "ml-100k":  # in Latin-1
        title = title.encode("latin-1", "ignore").decode("latin-1")
    log = LOG.with_title("spare", title)
    check(prepared(form, write_form(form, tmp_path / "raw", form.write(log)), "error"), log, {})


@pytest.mark.parametrize("form", [form for form in TIMED if form.is_text], ids=str)
def test_times_that_are_none(form: Form, tmp_path: Path) -> None:
    name, content = next(iter(form.write(LOG).items()))
    files = form.write(LOG)
    wrong = "1e400 nan inf -inf 0x10 ١٢٣ 2019-13-45 2019-02-30 True -- 1e 1.2.3 0001-01-01T25:00:00Z".split()
    wrong.append("9" * 400)
    if not form.dates and form.format != "recbole":  # whose times are any numbers
        wrong.append("99999999999999999999")
    pattern = next(iter(form.write(replace(LOG, events=(("7", "spare", 10**9),))).values())).splitlines()[-1].decode()
    time = (
        "2001-09-09" if form.dates else "1000000000000" if form.name in ("amazon-2023", "amazon-csv") else "1000000000"
    )
    for written in wrong:
        value = f'"{written}"' if form.kind == "json" else written
        files[name] += (pattern.replace(time, value) + "\n").encode()
    raw = write_form(form, tmp_path / "raw", files)
    check(prepared(form, raw), LOG, {"bad_timestamp": len(wrong)})
    check_named(prepared(form, raw, "error"), "bad_timestamp")
    assert files[name] != content


@pytest.mark.parametrize("form", [form for form in FORMS if form.kind == "json"], ids=str)
@pytest.mark.parametrize(
    "line",
    [
        '{"asin": "x", "parent_asin": "x", "what": "x", "title": "\\ud800"}',
        "[" * 100_000,
        '{"title": ' * 50_000 + "1" + "}" * 50_000,
        "[]",
        "null",
        "1",
        '"text"',
        "{",
        "{}}",
        "{'title': 'single'}",
        '{"title": NaN, "title": Infinity, "a": 1e400}{}',
        "",
        "\t",
    ],
    ids=lambda line: line[:24],
)
@pytest.mark.parametrize("which", [0, 1])
def test_lines_that_are_no_objects(form: Form, line: str, which: int, tmp_path: Path) -> None:
    files = form.write(LOG)
    name = list(files)[which]
    first, rest = files[name].split(b"\n", 1)
    last = files[name].rstrip(b"\n").rsplit(b"\n", 1)[1]
    files[name] = first + b"\n" + line.encode() + b"\n" + rest
    raw = write_form(form, tmp_path / "raw", files)
    found = prepared(form, raw)
    assert isinstance(found, Dataset), found
    skipped = found.statistics["skipped"]
    check(found, LOG, skipped)
    assert list(skipped.values()) == [1]
    assert next(iter(skipped)) in ({"bad_utf8", "empty_id", "empty_text"} if line[:2] == '{"' else {"bad_json"}) | {
        "bad_json"
    }
    assert last in files[name]


def test_lines_of_null(tmp_path: Path, engine: Engine) -> None:
    lines = ['{"a": "first"}', "null", " null", '{"a": "last"}', "null"]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    bad = BadRows("skip")
    assert read(engine, JsonTable(tmp_path / "x.jsonl"), ("a",), bad) == [(1, "first"), (4, "last")]
    assert bad.skipped == {"bad_json": 3}


@pytest.mark.parametrize("form", TABLES, ids=str)
def test_times_of_other_forms(form: Form, tmp_path: Path) -> None:
    # Each is five hours and a half ahead of UTC, where it says so, and the days stay apart anyway.
    ahead = timezone(timedelta(hours=5, minutes=30))
    recognised = ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d %H:%M GMT", "%Y-%m-%d %z")
    named = ("%d/%m/%Y", "%m/%d/%y %H:%M", "%a %b %d %H:%M:%S %z %Y", "%d. %B %Y, %I %p", "%Y%m%d%H%M%S", "%j %Y")
    for place, written in enumerate((*recognised, *named)[TABLES.index(form) :: len(TABLES)]):
        times = [datetime.fromtimestamp(int(time), ahead).strftime(written) for *_, time in LOG.events]
        events = tuple((*event[:2], time) for event, time in zip(LOG.events, times, strict=True))
        log = replace(LOG, events=(*events, ("007", "spare", f"{times[0]} CET"), ("007", "spare", "")))
        (tmp_path / str(place)).mkdir()
        raw = write_form(form, tmp_path / str(place) / "raw", form.write(log))
        settings: dict[str, Any] = {"time_format": written} if written in named else {}
        check(prepared(form, raw, **settings), LOG, {"bad_timestamp": 2})
        check_named(prepared(form, raw, "error", **settings), "bad_timestamp", "CET", *settings.values())


# Other rows of the user have the item in their lists, if there are any; the time decides the part of a split.
WITH_ANY_TIME = [form for form in TIMED if form.is_text and form.name not in ("recbole-lists", "recbole-split")]


@pytest.mark.parametrize("form", WITH_ANY_TIME, ids=str)
def test_a_hexadecimal_time_among_whole_numbers(form: Form, tmp_path: Path) -> None:
    log = replace(LOG, events=(*LOG.events[:-1], (*LOG.events[-1][:2], 16)))
    files = form.write(log)
    name = next(iter(files))
    last = files[name].splitlines()[-1]
    time = b"1970-01-01" if form.dates else b"16000" if form.name in ("amazon-2023", "amazon-csv") else b"16"
    value = b'"0x10"' if form.kind == "json" else b"0x10"
    files[name] = files[name][: -len(last) - 1] + last.replace(time, value) + b"\n"
    found = prepared(form, write_form(form, tmp_path / "raw", files))
    check(found, replace(LOG, events=LOG.events[:-1]), {"bad_timestamp": 1})
