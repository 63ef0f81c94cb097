"""Exact duplicates: found in batches, counted apart from repeats, dropped on request, and warned of as targets."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small.data.raw import histories_of, write_files
from tcf.common.errors import ConfigError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset
from tcf.data.describe.summary import describe, render
from tcf.data.events.duplicates import DuplicateFinder
from tcf.data.prepare import prepare

events = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4))


@settings(deadline=None, max_examples=60)
@given(st.lists(events, min_size=1, max_size=40), st.lists(st.integers(1, 39), max_size=6))
def test_in_batches_of_any_size(found: list[tuple[int, int, int]], cuts: list[int]) -> None:
    rows = sorted(found, key=lambda event: event[:2])  # by user and time; items in any order
    expected = [row in rows[:place] for place, row in enumerate(rows)]
    finder, marks = DuplicateFinder(5), list[bool]()
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, stop in pairwise(bounds):
        users, times, items = (np.array(column, np.int32) for column in zip(*rows[start:stop], strict=True))
        marks += finder.find(items, users, times / 2).tolist()
    assert marks == expected


# u1: a b b(same second) c c; u2: a a(later) b; u3: c b a a, all at one time.
EVENTS = [("u1", "a", 1), ("u1", "b", 2), ("u1", "b", 2), ("u1", "c", 3), ("u1", "c", 3)]
EVENTS += [
    ("u2", "b", 1),
    ("u2", "a", 2),
    ("u2", "a", 3),
    ("u3", "c", 5),
    ("u3", "b", 5),
    ("u3", "a", 5),
    ("u3", "a", 5),
]
SKIPPED = "skipped"


def prepared(folder: Path, rows: list[tuple[str, str, Any]] = EVENTS, **settings: Any) -> Dataset:
    log = "who,what,when\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows)
    write_files(folder / "raw", {"e.csv": log, "i.csv": "what,title\na,A\nb,B\nc,C\n"})
    columns = {"user_column": "who", "item_column": "what", "time_column": "when", "text_columns": ("title",)}
    named = {"events": "e.csv", "items": "i.csv", "min_history": 3, **columns, **settings}
    return prepare("table", folder / "raw", folder / "out", PrepareConfig(**named))


def test_duplicates_are_counted_apart_from_repeats(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = prepared(tmp_path)
    assert histories_of(dataset)["u1"] == ["a", "b", "b", "c", "c"]
    counts = {name: dataset.statistics[name] for name in ("repeated_interactions", "duplicate_interactions", SKIPPED)}
    assert counts == {"repeated_interactions": 4, "duplicate_interactions": 3, SKIPPED: {}}
    assert dataset.statistics["targets_like_the_item_before"] == {
        "test": {"targets": 3, "equal": 3, "duplicates": 2},
        "validation": {"targets": 3, "equal": 0, "duplicates": 0},
    }
    warning = (
        "100.0% of the 3 test targets equal the item before them, 2 of 3 as exact duplicates with the same time; drop "
        "these with --drop-duplicates"
    )
    assert caplog.messages == [f"{tmp_path}/out: {warning}"]
    text = render(describe(dataset))
    assert f"warning {warning}" in " ".join(text.split())
    assert "duplicate interactions  3" in text.splitlines()


def test_duplicates_are_dropped_before_anything_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = prepared(tmp_path, drop_duplicates=True, split="time", test_from="3", validation_from="2")
    assert histories_of(dataset) == {"u1": ["a", "b", "c"], "u2": ["b", "a", "a"]}
    assert dataset.statistics["duplicate_interactions"] == 0
    assert dataset.statistics[SKIPPED] == {
        "duplicate_event": 3,
        "users_below_min_history": 1,  # whose three events of one time are all in the test period
        "interactions_of_dropped_users": 3,
    }
    assert "50.0% of the 2 test targets equal the item before them, 1 of 1 as repeats at another time" in caplog.text


def test_a_duplicate_of_an_event_that_was_cut_is_none(tmp_path: Path) -> None:
    rows = [("u", item, time) for item, time in (("a", 1), ("b", 2), ("c", 2), ("b", 2), ("a", 3), ("c", 4))]
    dataset = prepared(tmp_path, rows, keep_last=4)
    assert histories_of(dataset) == {"u": ["c", "b", "a", "c"]}
    assert (dataset.statistics["repeated_interactions"], dataset.statistics["duplicate_interactions"]) == (1, 0)


def test_times_count_as_they_are_written(tmp_path: Path) -> None:
    rows = [("u", "a", 1.25), ("u", "a", 1.5), ("u", "a", 1.5), ("u", "b", 3), ("u", "a", 4)]
    assert prepared(tmp_path / "one", rows).statistics["duplicate_interactions"] == 1
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    inter = header + "".join(f"{user}\t{item}\t{time}\n" for user, item, time in rows)
    items = "item_id:token\ttitle:token_seq\na\tA\nb\tB\n"
    raw = write_files(tmp_path / "two", {"x.inter": inter, "x.item": items})
    for split in ({}, {"split": "time", "test_from": "4", "validation_from": "3"}):
        out = tmp_path / f"out{len(split)}"
        dataset = prepare("recbole", raw, out, PrepareConfig(min_history=3, **split))  # type: ignore[arg-type]
        assert dataset.statistics["duplicate_interactions"] == 1


def test_duplicates_of_events_without_times(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=f"^--drop-duplicates: expected the time of each event in {tmp_path}/raw, "):
        prepared(tmp_path, time_column=None, drop_duplicates=True)
    dataset = prepared(tmp_path, time_column=None)
    assert dataset.statistics["duplicate_interactions"] is None
    assert "of the 3 test targets equal the item before them; without times, exact duplicates cannot" in caplog.text
    raw = write_files(tmp_path / "tcf", {"behaviors.tsv": "u\ta b a\n", "items.tsv": "a\tA\nb\tB\n"})
    with pytest.raises(ConfigError, match="^--drop-duplicates: expected the time of each event"):
        prepare("tcf", raw, tmp_path / "out2", PrepareConfig(min_history=3, drop_duplicates=True))


def test_few_equal_targets_need_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    users = [(f"u{user}", item, time) for user in range(100) for time, item in enumerate("abc")]
    dataset = prepared(tmp_path, [*users, ("u7", "c", 2), ("u8", "c", 9), ("u9", "c", 2)])
    assert dataset.statistics["targets_like_the_item_before"]["test"] == {"targets": 100, "equal": 3, "duplicates": 2}
    assert caplog.text == ""
