"""Splits of format `table`: a column, or files for each part, by hand from the files to what is printed."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.raw import histories_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.common.manifest import read_manifest
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import DATASET, Dataset, open_dataset
from tcf.data.describe.summary import describe, render
from tcf.data.prepare import prepare
from tcf.data.raw.any_table.read_table import read_table, table_files
from tcf.data.raw.any_table.table_options import TableOptions
from tcf.data.raw.raw_log import RawLog
from tcf.data.split import held_out
from tcf.data.text_template import parse_template

ITEMS = "what,title\n" + "".join(f"{item},Text of {item}\n" for item in "abcdef")
# Out of order, and u1's test targets are earlier than its last training item.
ROWS = (
    ("u1", "a", 7, "TRAIN"),
    ("u2", "b", 1, "training"),
    ("u1", "b", 3, "Train"),
    ("u1", "d", 5, "test"),
    ("u3", "c", 2, "Context"),
    ("u1", "c", 4, "val"),
    ("u1", "e", 6, "Test"),
    ("u2", "c", 2, "dev"),
    ("u3", "b", 1, "context"),
    ("u4", "f", 9, "test"),
    ("u2", "a", 3, "TEST"),
    ("u1", "f", 5, "valid"),
)
EVENTS = "who,what,when,set\n" + "".join(f"{','.join(map(str, row))}\n" for row in ROWS)
HISTORIES = {"u1": "bacfde", "u2": "bca", "u3": "bc", "u4": "f"}
PARTS = {"u1": [1, 1, 2, 2, 3, 3], "u2": [1, 2, 3], "u3": [0, 0], "u4": [3]}
COLUMN = TableOptions(("events.csv",), "who", "what", "when", ("items.csv",), split_column="set")
FILES = TableOptions(
    ("train.csv",), "who", "what", "when", ("items.csv",), validation_events=("valid.csv",), test_events=("test.csv",)
)
SETTINGS: dict[str, Any] = {
    "user_column": "who",
    "item_column": "what",
    "time_column": "when",
    "text_columns": ("title",),
    "items": "items.csv",
    "min_history": 1,
}


def write(raw: Path, events: str = EVENTS) -> Path:
    """One file with the column, and a file for each part, which the context is not in."""
    by_part = dict.fromkeys(("train", "valid", "test"), "when,who,what\n")
    names = {"tr": "train", "va": "valid", "de": "valid", "te": "test"}
    for user, item, time, part in ROWS:
        if part.lower() != "context":
            by_part[names[part[:2].lower()]] += f"{time},{user},{item}\n"
    files = {f"{name}.csv": content for name, content in by_part.items()}
    return write_files(raw, {"events.csv": events, "items.csv": ITEMS, **files})


def read(raw: Path, options: TableOptions, bad_rows: Literal["error", "skip"] = "error") -> RawLog:
    return with_engine(read_table)(raw, bad_rows=bad_rows, template=parse_template("{title}"), options=options)


def parts_of(log: RawLog) -> dict[str, list[int]]:
    assert log.parts is not None
    bounds, parts = log.offsets.tolist(), log.parts.tolist()
    return {user: parts[bounds[row] : bounds[row + 1]] for row, user in enumerate(log.user_ids.to_pylist())}


def test_a_column_says_the_part_of_each_event(tmp_path: Path) -> None:
    log = read(write(tmp_path), COLUMN)
    assert histories_of(log) == {user: [*items] for user, items in HISTORIES.items()}
    assert parts_of(log) == PARTS
    assert log.times is not None
    assert log.times.tolist()[:6] == [3, 7, 4, 5, 5, 6]
    assert log.skipped == {}


def test_a_file_for_each_part(tmp_path: Path) -> None:
    write(tmp_path)
    assert [path.stem for path in table_files(tmp_path, FILES)] == ["train", "valid", "test", "items"]
    log = read(tmp_path, FILES)
    # u4 and its item are in the file of the test alone.
    assert histories_of(log) == {user: [*HISTORIES[user]] for user in ("u1", "u2", "u4")}
    assert parts_of(log) == {user: PARTS[user] for user in ("u1", "u2", "u4")}
    assert sorted(log.files) == ["items.csv", "test.csv", "train.csv", "valid.csv"]


def test_without_a_file_of_validation_there_is_none(tmp_path: Path) -> None:
    log = read(write(tmp_path), replace(FILES, validation_events=()))
    assert histories_of(log) == {"u1": ["b", "a", "d", "e"], "u2": ["b", "a"], "u4": ["f"]}
    assert parts_of(log) == {"u1": [1, 1, 3, 3], "u2": [1, 3], "u4": [3]}


def test_a_column_named_split_is_mentioned_if_it_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, EVENTS.replace("set", "Split", 1))
    with caplog.at_level(logging.INFO):
        assert read(tmp_path, replace(COLUMN, split_column=None)).parts is None
        read(tmp_path, replace(COLUMN, split_column="Split"))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/events.csv: has a column Split, which is not used; --split-column Split takes the split from it"
    ]


def test_a_column_named_split_is_mentioned_beside_files_of_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    (tmp_path / "test.csv").write_text("who,what,when,split\nu1,d,5,train\n")
    with caplog.at_level(logging.INFO):
        assert parts_of(read(tmp_path, FILES))["u1"] == [1, 1, 2, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/test.csv: has a column split, which is not used; the options say which files are for which part; "
        "without these, --split-column split takes the split from it"
    ]


def test_events_of_several_parts_describe_their_items_too(tmp_path: Path) -> None:
    write_files(tmp_path, {"1.csv": "who,what,title\nu,a,A\n", "2.csv": "who,what,title\nu,b,B\n"})
    log = read(tmp_path, TableOptions(("1.csv",), "who", "what", test_events=("2.csv",)))
    assert (log.texts.to_pylist(), parts_of(log), log.times) == (["A", "B"], {"u": [1, 3]}, None)


def test_other_values_are_refused_or_counted(tmp_path: Path) -> None:
    events = EVENTS.replace("3,Train", "3,fold 1").replace("9,test", "9,")
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, events), COLUMN)
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path}/events.csv:4: expected a part of the split: train (or training), valid (validation, val, dev), "
    )
    assert "'fold 1' (1 row)" in message
    assert "found set 'fold 1', who 'u1'" in message
    assert "2 of this kind (bad_split) in all, on lines 4, 11" in message
    log = read(tmp_path, COLUMN, bad_rows="skip")
    assert log.skipped == {"bad_split": 2}
    assert parts_of(log) == {"u1": PARTS["u1"][1:], "u2": PARTS["u2"], "u3": PARTS["u3"]}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_odd_values_in_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    good = {"\ttRaIn ": 1, "VALIDATION": 2, "Dev\u00a0": 2, "tesT": 3}
    wrong = ["", "trains", "train,test", "1", "NaN", "te st", "ｔｅｓｔ", "x" * 2**16]
    rows = [{"who": "u", "what": "a", "set": value} for value in (*good, *wrong)]
    write_files(tmp_path, {"items.csv": ITEMS})
    file = tmp_path / f"events.{suffix}"
    match suffix:
        case "csv":
            quoted = "".join(f'u,a,"{row["set"]}"\n' for row in rows)
            file.write_text("who,what,set\n" + quoted, encoding="utf-8")
        case "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case _:
            pq.write_table(pa.Table.from_pylist([{**row, "set": row["set"] or None} for row in rows]), file)
    options = replace(COLUMN, events=(file.name,), time_column=None)
    log = read(tmp_path, options, bad_rows="skip")
    assert (parts_of(log), log.skipped) == ({"u": [*good.values()]}, {"bad_split": len(wrong)})
    with pytest.raises(DataError) as caught:
        read(tmp_path, options)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_without_a_usable_row_the_split_is_not_to_blame(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected events, found none that can be used \(skipped: .*1.* bad_timestamp"):
        read(write(tmp_path, "who,what,when,set\nu1,a,never,train\n"), COLUMN, bad_rows="skip")


def test_folders_that_name_the_part(tmp_path: Path) -> None:
    for part, item in (("train", "a"), ("test", "b")):
        write_files(tmp_path / "log" / f"set={part}", {"0.csv": f"who,what,when\nu,{item},1\n"})
    write_files(tmp_path, {"items.csv": ITEMS})
    log = read(tmp_path, replace(COLUMN, events=("log",)))
    assert (histories_of(log), parts_of(log)) == ({"u": ["a", "b"]}, {"u": [1, 3]})


def test_a_column_of_other_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--split-column: expected a part .*, found .*events.csv has 'u1' \(6 rows\)"
    ):
        read(write(tmp_path), replace(COLUMN, split_column="who"), bad_rows="skip")
    with pytest.raises(ConfigError, match="--split-column: .*expected one of its columns .*, found sets; did you mean"):
        read(write(tmp_path), replace(COLUMN, split_column="sets"))


def test_a_file_of_two_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--test-events: expected .*, found .*train.csv again; name it for one part"):
        table_files(write(tmp_path), replace(FILES, test_events=("t*.csv",)))
    with pytest.raises(DataError, match="--validation-events: expected a file dev.csv .*, found none"):
        table_files(tmp_path, replace(FILES, validation_events=("dev.csv",)))


@pytest.mark.parametrize("copied", ["valid.csv", "test.csv"])
def test_a_part_that_is_a_copy_of_another(tmp_path: Path, copied: str) -> None:
    rows = "who,what,when\n" + "".join(f"u{n},a,1\n" for n in range(600))
    write(tmp_path)
    write_files(tmp_path, {"train.csv": rows, copied: rows})
    with pytest.raises(
        DataError, match=f"{copied}: expected a file of its own, found a copy of .*train.csv, whose rows"
    ):
        read(tmp_path, FILES)


def test_equal_files_of_other_folders_are_no_copies(tmp_path: Path) -> None:
    rows = "who,what\n" + "".join(f"u{n},a\n" for n in range(700))
    for day in (1, 2):
        write_files(tmp_path / f"when={day}", {"0.csv": rows})
    write_files(tmp_path, {"items.csv": ITEMS})
    log = read(tmp_path, replace(FILES, events=("when=1",), validation_events=(), test_events=("when=2",)))
    assert parts_of(log) == {f"u{n}": [1, 3] for n in range(700)}


def test_messages_name_only_columns_of_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(
        ConfigError, match=r"train.csv: expected one of its columns \(when, who, what\), found whom; did"
    ):
        read(tmp_path, replace(FILES, user_column="whom"))
    (tmp_path / "test.csv").write_text("who,what,when\nu1,,5\n")
    with pytest.raises(DataError, match=r"test.csv:2: .*, found who 'u1', what '', when '5'; 1 of this kind"):
        read(tmp_path, FILES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"split": "time", "test_from": "9", "split_column": "set"},
            "--split-column: expected --split given, found --sp",
        ),
        (
            {"split": "leave-one-out", "test_events": "t.csv"},
            "--test-events: expected --split given, found --split leave",
        ),
        ({"split_column": "s", "validation_events": "v"}, "--split-column: expected either it or --validation-events"),
        (
            {"min_history": 2, "split": "leave-one-out"},
            "--min-history: expected at least 3, .*, found 2; fewer only with --split given",
        ),
    ],
)
def test_settings_that_contradict_one_another(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**settings)


@pytest.fixture
def dataset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Dataset:
    config = PrepareConfig(events=("events.csv",), split_column="set", **SETTINGS)
    with caplog.at_level(logging.INFO):
        return prepare("table", write(tmp_path / "raw"), tmp_path / "out", config)


def test_the_split_of_the_files_is_the_default(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    raw = dataset.path.parent / "raw"
    assert [record.getMessage() for record in caplog.get_records("setup")] == [
        f"{raw}: the files bring a split, which is used (--split given)"
    ]
    assert read_manifest(dataset.path, DATASET).config["split"] == "given"
    given = PrepareConfig(events=("events.csv",), split_column="set", split="given", **SETTINGS)
    assert prepare("table", raw, dataset.path, given).fingerprint == dataset.fingerprint
    other = PrepareConfig(events=("events.csv",), **{**SETTINGS, "min_history": 3})
    assert read_manifest(prepare("table", raw, raw / "o", other).path, DATASET).config["split"] == "leave-one-out"
    with pytest.raises(ConfigError, match="--min-history: expected at least 3, .*, found 1; fewer only with --split"):
        prepare("table", raw, raw / "f", PrepareConfig(events=("events.csv",), **SETTINGS))
    with pytest.raises(ConfigError, match="--split given: expected files in .*raw that say which .*, found none"):
        prepare("table", raw, raw / "g", PrepareConfig(events=("events.csv",), split="given", **SETTINGS))


def test_a_row_of_two_parts_is_no_repeat_at_another_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = write(tmp_path, "who,what,when,set\nu,a,1,train\nu,b,2,train\nu,b,2,test\n")
    prepare("table", raw, tmp_path / "out", PrepareConfig(events=("events.csv",), split_column="set", **SETTINGS))
    said = (
        "100.0% of the 1 test targets equal the item before them, 1 of 1 as repeats at another time or in another part;"
    )
    assert said in caplog.text


def test_the_dataset_of_a_given_split(dataset: Dataset) -> None:
    found = open_dataset(dataset.path)
    assert {name: numbers.tolist() for name, numbers in found.split.numbers.items()} == {
        "context": [0, 0, 2, 0],
        "training": [2, 1, 0, 0],
        "validation": [2, 1, 0, 0],
        "test": [2, 1, 0, 1],
    }
    queries = held_out(found.split, "test")
    assert queries.users.tolist() == [0, 1]
    assert [queries.targets.of(place)[0] for place in (0, 1)] == [3, 0]
    # c, d, e and f are never trained on.
    assert found.training_interactions.tolist() == [1, 2, 0, 0, 0, 0]


def test_what_is_said_of_a_given_split(dataset: Dataset) -> None:
    assert dataset.statistics["split"] == {
        "kind": "given",
        "training": 3,
        "training_users": 2,
        "validation": 2,
        "test": 2,
        "between": 0,
        "targets_without_earlier_items": 1,
        "context": 2,
        "users_without_training": 2,
        "users_with_several_targets": 1,
        "further_validation_targets": 1,
        "further_test_targets": 1,
        "users_trained_after_test": 1,
    }
    lines = [line.strip() for line in render(describe(dataset)).splitlines()]
    start = next(place for place, line in enumerate(lines) if line.startswith("split"))
    assert lines[start].split(maxsplit=1)[1] == "given: 3 training, 2 validation, 2 test"
    assert lines[start + 1 : start + 7] == [
        "the split of the raw files; 2 users with training items",
        "2 users without training items",
        "2 items of context: input of queries, not trained on",
        "1 users with several targets in a part, all evaluated: 2 more targets than users",
        "1 targets without an earlier item: not evaluated",
        "1 users have a training item later than their test target: results may be too good",
    ]


def test_interactions_as_a_frame_name_their_parts(dataset: Dataset) -> None:
    pytest.importorskip("pandas")
    frame = dataset.to_pandas("interactions")
    names = ["context", "training", "validation", "test"]
    expected = [
        (user, item, place, names[part])
        for user, items in HISTORIES.items()
        for place, (item, part) in enumerate(zip(items, PARTS[user], strict=True))
    ]
    assert list(frame[["user_id", "item_id", "position", "part"]].itertuples(index=False, name=None)) == expected
