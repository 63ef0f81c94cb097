"""Format `table` with several files: lists, patterns and folders, with the right file and line in every message."""

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.raw import histories_of, texts_of, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.prepare import prepare
from tcf.data.raw.any_table.read_table import read_table, table_files
from tcf.data.raw.any_table.table_options import TableOptions, parse_drop
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import parse_template

ITEMS = "what,title\na,Alpha\nb,Beta\nc,Gamma\n"
FIRST, SECOND = "who,what,when\nu1,a,3\nu2,b,1\n", "when,what,extra,who\n3,b,x,u1\n1,c,x,u1\n"
OPTIONS = TableOptions(("1.csv", "2.csv"), "who", "what", "when", ("items.csv",))

Read = Callable[..., RawLog]


@pytest.fixture(name="read", scope="module")
def reader(engine: Engine) -> Read:
    """Reads the files of a folder, with the engine of all tests here."""

    def read_once(
        raw: Path,
        options: TableOptions = OPTIONS,
        bad_rows: Literal["error", "skip"] = "error",
        template: str = "{title}",
        **files: str | bytes,
    ) -> RawLog:
        written = {"1.csv": FIRST, "2.csv": SECOND, "items.csv": ITEMS, **{f"{k}.csv": v for k, v in files.items()}}
        write_files(raw, written)
        return read_table(engine, raw, bad_rows=bad_rows, template=parse_template(template), options=options)

    return read_once


def write_tree(raw: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        write_files((raw / name).parent, {Path(name).name: content})


def write_parquet(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_files_are_read_in_the_order_given_with_columns_in_any_order(
    read: Read, engine: Engine, tmp_path: Path
) -> None:
    log = read(tmp_path)
    assert histories_of(log) == {"u1": ["c", "a", "b"], "u2": ["b"]}
    assert texts_of(log) == {"a": "Alpha", "b": "Beta", "c": "Gamma"}
    assert log.files == {name: sha256(tmp_path / name) for name in ("1.csv", "2.csv", "items.csv")}
    # The progress of reading counts all of them.
    assert {path.resolve() for path in table_files(tmp_path, OPTIONS)} <= engine.shares_read().keys()
    # Both events of time 3 are u1's: the order of the files decides.
    other = read(tmp_path, replace(OPTIONS, events=("2.csv", "1.csv")))
    assert list(histories_of(other).items()) == [("u1", ["c", "b", "a"]), ("u2", ["b"])]
    untimed = read(tmp_path, replace(OPTIONS, events=("2.csv", "1.csv"), time_column=None))
    assert histories_of(untimed) == {"u1": ["b", "c", "a"], "u2": ["b"]}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_files_of_items_of_all_kinds(read: Read, tmp_path: Path) -> None:
    write_files(tmp_path, {"i.csv.gz": gzip.compress(b"title,what\nAlpha,a\n"), "i.jsonl": '{"what": "b"}\n'})
    write_parquet(tmp_path / "i.parquet", what=["b", "c", "a"], title=["Beta", "Gamma", "Other"])
    options = replace(OPTIONS, items=("i.csv.gz", "i.parquet", "i.jsonl"))
    # The object without a title is a further row of b, whose text stands elsewhere; a file may lack a key of JSON.
    with pytest.raises(ConfigError, match=r"--template: .*i.jsonl: expected .*\(what; the keys .*\), found title"):
        read(tmp_path, options, "skip")
    write_files(tmp_path, {"j.jsonl": '{"what": "d", "title": "Delta"}\n'})
    log = read(tmp_path, replace(options, items=(*options.items, "j.jsonl")))
    assert texts_of(log) == {"a": "Alpha", "b": "Beta", "c": "Gamma", "d": "Delta"}
    assert log.skipped == {"other_item_text": 1, "duplicate_item": 1}
    assert histories_of(log) == {"u1": ["c", "a", "b"], "u2": ["b"]}
    assert list(log.files) == ["1.csv", "2.csv", *options.items, "j.jsonl"]


def test_items_in_the_rows_of_several_files_of_events(read: Read, tmp_path: Path) -> None:
    first = "who,what,title\nu,a,Rare\nu,b,Beta\n"
    second = "who,what,title\nv,a,Alpha\nv,a,Alpha\nv,c,\n"
    options = TableOptions(("1.csv", "2.csv"), "who", "what")
    log = read(tmp_path, options, "skip", **{"1": first, "2": second})
    assert texts_of(log) == {"a": "Alpha", "b": "Beta"}
    assert histories_of(log) == {"u": ["a", "b"], "v": ["a", "a"]}
    assert log.skipped == {"other_item_text": 1, "empty_text": 1, "event_of_skipped_item": 1}
    with pytest.raises(DataError, match=rf"^{tmp_path}/2.csv:4: expected an item with a text, found 'c\\t'; 1 of this"):
        read(tmp_path, options, **{"1": first, "2": second})
    same = read(tmp_path, replace(options, items=("1.csv", "2.csv")), "skip", **{"1": first, "2": second})
    assert (texts_of(same), same.skipped) == (texts_of(log), log.skipped)


def test_a_file_that_is_read_as_events_and_as_items(read: Read, tmp_path: Path) -> None:
    events = "who,what,title\nu,a,Alpha\nu,b,Beta\n"
    options = TableOptions(("1.csv", "2.csv"), "who", "what", items=("1.csv", "items.csv"))
    log = read(tmp_path, options, **{"1": events, "2": events.replace("u,", "v,")})
    assert (texts_of(log), log.skipped) == (
        {"a": "Alpha", "b": "Beta", "c": "Gamma"},
        {"duplicate_item": 2},
    )
    assert histories_of(log) == {"u": ["a", "b"], "v": ["a", "b"]}
    assert list(log.files) == ["1.csv", "2.csv", "items.csv"]
    assert table_files(tmp_path, options) == tuple(tmp_path / name for name in log.files)


@pytest.mark.parametrize(
    ("files", "reason", "message"),
    [
        (
            {"2": "who,what,when\nu1,a,1\n,a,1\n,b,1\n", "1": "who,what,when\nu1,a,3\nu1,,3\n"},
            "empty_id",
            "1.csv:3: expected a user id and an item id, found who 'u1', what '', when '3'; 3 of this kind "
            "(empty_id) in all, on line 3 of RAW/1.csv and lines 3, 4 of RAW/2.csv; correct",
        ),
        (
            {"2": 'when,what,who\n1,"a\n",u1\n1,z,u1\n'},
            "unknown_item",
            "2.csv:4: expected an item id of RAW/items.csv, found 'z'; 1 of this kind (unknown_item) in all, on line 4",
        ),
        (
            {"2": "when,what,who\n1,a,u1\nnever,a,u1\n"},
            "bad_timestamp",
            "2.csv:3: expected a number in column when, found when 'never', who 'u1', what 'a'; 1 of this kind",
        ),
        (
            {"2": "when,what,who\n1,a,u1\n1,a,u1,9\n"},
            "wrong_columns",
            "2.csv:3: expected 3 columns, when, what, who, found '1,a,u1,9'; 1 of this kind",
        ),
        (
            {"2": b"when,what,who\n1,a,u1\n1,a,u\xff1\n"},
            "bad_utf8",
            r"2.csv:3: expected UTF-8, found '1,a,u\\xff1'; 1 of this kind",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_messages_name_the_file_and_the_line(
    read: Read, tmp_path: Path, files: dict[str, str | bytes], reason: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, **files)
    assert str(caught.value).replace(str(tmp_path), "RAW").startswith(f"RAW/{message}")
    log = read(tmp_path, bad_rows="skip", **files)
    assert log.skipped == {reason: 3 if reason == "empty_id" else 1}


def test_rows_of_parquet_have_their_numbers(read: Read, tmp_path: Path) -> None:
    write_parquet(tmp_path / "p" / "0.parquet", who=["u", "u"], what=["a", "b"], when=[1, 2])
    write_parquet(tmp_path / "p" / "1.parquet", what=["b", ""], when=[3, 4], who=["v", "v"])
    options = replace(OPTIONS, events=("p",))
    with pytest.raises(DataError, match=rf"^{tmp_path}/p/1.parquet, row 2: .*, found who 'v', what '', when '4'; 1 of"):
        read(tmp_path, options)
    assert histories_of(read(tmp_path, options, "skip")) == {"u": ["a", "b"], "v": ["b"]}


def test_events_of_items_that_no_file_has(read: Read, tmp_path: Path) -> None:
    write_files(tmp_path, {"more.csv": "what,title\ny,Ypsilon\n", "items.csv": "what,title\nx,X\n"})
    options = replace(OPTIONS, items=("items.csv", "more.csv"))
    found = r"expected item ids of .*/items.csv and 1 more file, found 'a', and no event names an item"
    with pytest.raises(DataError, match=rf"^{tmp_path}/1.csv:2: {found}"):
        read(tmp_path, options, items="what,title\nx,X\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"user_column": "user"},
            r"--user-column: .*/1.csv: expected one of its columns \(who, .*\), found user",
        ),
        ({"time_column": "at"}, r"--time-column: .*/2.csv: expected one of its columns \(when, .*\), found at"),
        (
            {"item_id_column": "id"},
            r"--item-id-column: .*/i.csv: expected one of its columns \(what, title\), found id",
        ),
        ({"drops": (parse_drop("at=3"),)}, r"--drop: .*/2.csv: expected one of its columns \(when, .*\), found at"),
        ({"template": "{name}"}, r"--template: .*/i.csv: expected one of its columns \(what, title\), found name"),
    ],
)
def test_a_file_that_lacks_a_column_is_named(read: Read, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_files(tmp_path, {"i.csv": "what,title\nd,Delta\n"})
    template = changes.pop("template", "{title}")
    options = replace(OPTIONS, items=("items.csv", "i.csv"), **changes)
    first, items = "who,what,when,at\nu1,a,3,3\n", "what,title,id,name\na,Alpha,a,A\n"
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, options, template=template, items=items, **{"1": first})


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (("part-*.csv",), ["part-0.csv", "part-1.csv", "part-10.csv"]),
        (("part-[01].csv",), ["part-0.csv", "part-1.csv"]),
        (("part-1?.csv", "part-0.csv"), ["part-10.csv", "part-0.csv"]),
        (("odd[1].csv",), ["odd[1].csv"]),  # a file with just this name, not odd1.csv
        (("*/part-*.csv",), ["log/part-7.csv"]),
        (("**/part-[7-9].csv",), ["log/deep/part-8.csv", "log/part-7.csv"]),
        (("log",), ["log/deep/part-8.csv", "log/part-7.csv"]),
        (("log/", "part-0.csv"), ["log/deep/part-8.csv", "log/part-7.csv", "part-0.csv"]),
        (("lo*",), ["log/deep/part-8.csv", "log/part-7.csv"]),
        (("log/_*.csv",), ["log/_hidden.csv"]),
        (("log/deep/../part-7.csv",), ["log/deep/../part-7.csv"]),
    ],
)
def test_patterns_and_folders(read: Read, tmp_path: Path, events: tuple[str, ...], found: list[str]) -> None:
    parts = [f"part-{n}.csv" for n in (10, 1, 0)] + ["odd1.csv", "odd[1].csv", "log/part-7.csv", "log/deep/part-8.csv"]
    hidden = ["log/_SUCCESS", "log/.part-7.csv.crc", "log/_temporary/part-9.csv", "log/_hidden.csv", ".log/part-7.csv"]
    write_tree(tmp_path, {name: f"who,what\n{name},a\n" for name in parts + hidden} | {"items.csv": ITEMS})
    options = replace(OPTIONS, events=events, time_column=None)
    assert [path.relative_to(tmp_path).as_posix() for path in table_files(tmp_path, options)] == [*found, "items.csv"]
    if len(events) > 1:
        log = read(tmp_path, options)
        assert log.user_ids.to_pylist() == found
        assert list(log.files) == [*found, "items.csv"]


@pytest.mark.parametrize(
    ("events", "kind", "message"),
    [
        (("p*.csv",), DataError, r"--events: expected files that match p\*.csv in RAW, found none \(it has 1.csv, 2"),
        (("log/*.tsv",), DataError, r"found none \(RAW/log has _SUCCESS, part.csv\); check the name$"),
        (("log/part.cvs",), DataError, r"found none \(RAW/log has _SUCCESS, part.csv\); did you mean part.csv\?$"),
        (("log/*.txt/x",), DataError, r"found none \(RAW/log has _SUCCESS, part.csv\)"),
        (("logs",), DataError, r"--events: expected a file logs in RAW, found none \(it has .*\); did you mean log\?$"),
        (("empty",), DataError, r"--events: expected files in RAW/empty, found none \(names that begin with _ or \."),
        (("**x",), ConfigError, r"--events: expected a pattern such as part-\*.csv, found '\*\*x'"),
        (("/nowhere/x.csv",), ConfigError, r"--events: expected a path relative to RAW, found /nowhere/x.csv"),
        (("1.csv", "1.csv"), ConfigError, r"--events: expected each file once, found RAW/1.csv twice; name it once"),
        (("1.csv", "?.csv"), ConfigError, r"--events: expected each file once, found RAW/1.csv twice; name it once"),
        (("1.csv", "also.csv"), ConfigError, r"found RAW/also.csv twice, once as RAW/1.csv; name it once"),
        (("1.csv", "copy.csv"), DataError, r"^RAW/copy.csv: expected a file of its own, found a copy of RAW/1.csv, "),
        (("circle",), DataError, r"RAW/circle/in/again: expected files and folders, found a link to a folder "),
        (("delta",), DataError, r"RAW/delta: expected files whose rows all count, found a Delta table, "),
        (("a=1",), DataError, r"RAW/a=1/a=2/x.csv: expected folders that each name a column, found two with a="),
        (("b=%ff",), DataError, r"RAW/b=%ff/x.csv: expected folders with names in UTF-8, found 'b=%ff'"),
        (("b=%00",), DataError, r"RAW/b=%00/x.csv: expected folders that each name a column, found a NUL"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_listed(
    read: Read, tmp_path: Path, events: tuple[str, ...], kind: type[Exception], message: str
) -> None:
    raw, many = tmp_path / "raw", FIRST + "u1,a,9\n" * 600
    write_tree(raw, {"log/_SUCCESS": "", "log/part.csv": FIRST, "empty/_x": "", "circle/in/x": ""})
    write_tree(raw, {"delta/part.csv": FIRST, "delta/_delta_log/0.json": "{}"})
    write_tree(raw, {f"{folder}/x.csv": FIRST for folder in ("a=1/a=2", "b=%ff", "b=%00")})
    (raw / "circle" / "in" / "again").symlink_to(raw / "circle")
    (raw / "also.csv").symlink_to(raw / "1.csv")
    (raw / "copy.csv").write_text(many)
    with pytest.raises(kind, match=message.replace("RAW", str(raw))):
        read(raw, replace(OPTIONS, events=events), **{"1": many})


def test_folders_that_name_columns(read: Read, tmp_path: Path) -> None:
    """As Hive and Spark write them: the value is percent-encoded, and an absent one has a name of its own."""
    days = {"when=2020-01-02": "a", "when=2020-01-01": "b", "when=2020-01-01 10%3A30": "c"}
    write_files(tmp_path, {"items.csv": ITEMS})
    for day, item in days.items():
        write_parquet(tmp_path / "log" / day / "kind=a%2Fb" / "0.parquet", who=["u"], what=[item])
    absent = "log/when=__HIVE_DEFAULT_PARTITION__/kind=view"
    write_parquet(tmp_path / absent / "0.parquet", who=["u"], what=["a"])
    drops = (parse_drop("kind=a/b"),)
    for events in (("log",), ("log/*/*/0.parquet",)):
        log = read(tmp_path, replace(OPTIONS, events=events), "skip")
        assert (histories_of(log), log.skipped) == ({"u": ["b", "c", "a"]}, {"bad_timestamp": 1})
    with pytest.raises(DataError, match=rf"^{tmp_path}/{absent}/0.parquet, row 1: .*, found when '', who 'u', what"):
        read(tmp_path, replace(OPTIONS, events=("log",)))
    with pytest.raises(DataError, match="expected events, found none that can be used .*drop kind=a/b"):
        read(tmp_path, replace(OPTIONS, events=("log",), drops=drops), "skip")
    # One file, named itself, has these columns too.
    one = read(tmp_path, replace(OPTIONS, events=("log/when=2020-01-02/kind=a%2Fb/0.parquet",)))
    assert one.times is not None
    assert (histories_of(one), one.times.tolist()) == ({"u": ["a"]}, [1_577_923_200])


def test_a_column_that_both_a_folder_and_its_files_have(read: Read, tmp_path: Path) -> None:
    write_tree(tmp_path, {"when=3/1.csv": FIRST, "when=1/2.csv": "who,what,when\nu,b,1\n", "items.csv": ITEMS})
    with pytest.raises(DataError, match=rf"^{tmp_path}/when=3/1.csv:3: expected when '3', as a folder .*, found '1';"):
        read(tmp_path, replace(OPTIONS, events=("when=3",)))
    assert histories_of(read(tmp_path, replace(OPTIONS, events=("when=1", "2.csv"))))["u"] == ["b"]


def test_parts_without_rows_are_let_pass_and_told(read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Spark writes a file for every partition, empty ones included."""
    write_tree(tmp_path, {"log/0.csv": "", "log/1.csv": FIRST, "log/2.csv": "who,what,when\n", "log/3.csv": "\n\n"})
    none = pa.array([], pa.string())
    write_parquet(tmp_path / "log" / "4.parquet", who=none, what=none, when=none)
    with caplog.at_level("INFO"):
        log = read(tmp_path, replace(OPTIONS, events=("log",)))
    assert histories_of(log) == {"u1": ["a"], "u2": ["b"]}
    assert f"{tmp_path}/log/1.csv and 4 more files: 4 of them without rows, the first of these " in caplog.text
    names = [f"log/{name}" for name in ("0.csv", "1.csv", "2.csv", "3.csv", "4.parquet")]
    assert {name: log.files[name] for name in names} == {name: sha256(tmp_path / name) for name in names}
    with pytest.raises(DataError, match=rf"^{tmp_path}/log/0.csv: expected rows, found an empty file"):
        read(tmp_path, replace(OPTIONS, events=("log/0.csv", "1.csv")))
    with pytest.raises(DataError, match=rf"^{tmp_path}/log/2.csv: expected rows after the header, found none"):
        read(tmp_path, replace(OPTIONS, events=("log/2.csv", "1.csv")))
    for pattern in ("log/[03].csv", "log/2*"):
        with pytest.raises(DataError, match="expected rows.* found"):
            read(tmp_path, replace(OPTIONS, events=(pattern,)))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_changes_while_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: Literal["before", "after"]
) -> None:
    """Whether its own turn is still to come, or over."""
    raw = tmp_path / "raw"
    write_files(raw, {"1.csv": FIRST, "2.csv": SECOND, "items.csv": ITEMS})
    load, changed = TextTable.load, raw / ("1.csv" if when == "after" else "2.csv")

    def load_changing(self: TextTable, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        if self.path == raw / "2.csv":
            changed.write_text(changed.read_text() + changed.read_text().splitlines(keepends=True)[-1])
        return load(self, engine, columns, bad)

    monkeypatch.setattr(TextTable, "load", load_changing)
    with pytest.raises(DataError, match=rf"^{changed}: expected an unchanging file, found one that changed while"):
        prepare("table", raw, tmp_path / "out", config_of(("1.csv", "2.csv")))


def config_of(events: tuple[str, ...]) -> PrepareConfig:
    return PrepareConfig(
        min_history=3,
        events=events,
        items=("items.csv",),
        user_column="who",
        item_column="what",
        time_column="when",
        text_columns=("title",),
    )


def test_a_preparation_of_parts_equals_that_of_one_file(tmp_path: Path) -> None:
    rows = [f"u{row % 5},{'abc'[row * row % 3]},{row // 7}" for row in range(60)]
    whole = tmp_path / "whole"
    write_files(whole, {"e.csv": "\n".join(["who,what,when", *rows]), "items.csv": ITEMS})
    parts = tmp_path / "parts"
    objects = [dict(zip(("who", "what", "when"), row.split(","), strict=True)) for row in rows]
    write_tree(
        parts,
        {
            "items.csv": ITEMS,
            "e/part-0.csv": "\n".join(["who,what,when", *rows[:20]]),
            "e/part-1.csv.gz": gzip.compress("\n".join(["when,who,what", *map(turned, rows[20:30])]).encode()),
            "e/part-2.jsonl": "\n".join(map(json.dumps, objects[30:45])),
        },
    )
    table = {key: [each[key] for each in objects[45:]] for key in ("when", "what", "who")}
    write_parquet(parts / "e" / "part-3.parquet", **table)
    one = prepare("table", whole, tmp_path / "one", config_of(("e.csv",)))
    several = prepare("table", parts, tmp_path / "several", config_of(("e",)))
    assert histories_of(one) == histories_of(several)
    assert one.statistics == several.statistics
    inputs = json.loads((tmp_path / "several" / "manifest.json").read_text())["inputs"]
    assert inputs == {path.relative_to(parts).as_posix(): sha256(path) for path in files_below(parts)}
    again = prepare("table", parts, tmp_path / "several", config_of(("e",)))
    assert again.fingerprint == several.fingerprint
    (parts / "e" / "part-4.csv").write_text("who,what,when\nu1,a,99\n")
    with pytest.raises(DataError, match="e/part-4.csv: nothing found, .* requested"):
        prepare("table", parts, tmp_path / "several", config_of(("e",)))


def turned(row: str) -> str:
    who, what, when = row.split(",")
    return f"{when},{who},{what}"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
