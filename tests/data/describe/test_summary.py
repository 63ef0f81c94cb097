"""The description of a dataset, as values and as text."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tcf.common.errors import DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset
from tcf.data.describe.summary import describe, render
from tcf.data.prepare import prepare

ITEMS = {"a": "Alpha", "b": "Beta", "c": "Gamma " * 40, "d": "Delta"}
USERS = {"u1": "a b c d a b", "u2": "d c b", "u3": "a a a", "u4": "b c d", "u5": "a"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "items.tsv").write_text("".join(f"{key}\t{text}\n" for key, text in ITEMS.items()))
    (tmp_path / "behaviors.tsv").write_text("".join(f"{user}\t{items}\n" for user, items in USERS.items()))
    return prepare("tcf", tmp_path, tmp_path / "out", PrepareConfig(min_history=3))


def test_values_are_the_statistics_and_examples(dataset: Dataset) -> None:
    description = describe(dataset)
    assert description == {
        **dataset.statistics,
        "format": "tcf-dataset",
        "path": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        "examples": [
            {"user": "u1", "items": [{"item": item, "text": ITEMS[item].strip()} for item in "bcdab"]},
            {"user": "u2", "items": [{"item": item, "text": ITEMS[item].strip()} for item in "dcb"]},
            {"user": "u3", "items": [{"item": "a", "text": "Alpha"}] * 3},
        ],
    }
    assert json.loads(json.dumps(description)) == description


def test_text_for_a_terminal(dataset: Dataset) -> None:
    lines = render(describe(dataset)).splitlines()
    assert [line.split() for line in lines[2:9]] == [
        ["users", "4"],
        ["items", "4"],
        ["interactions", "15"],
        ["repeated", "interactions", "4"],
        ["items", "without", "training", "0"],
        ["unseen", "items", "0"],
        ["duplicate", "texts", "0"],
    ]
    assert lines[9].split(maxsplit=2)[2] == "unknown: events without exact times"
    assert lines[10].split(maxsplit=2)[2] == "nothing"
    assert lines[11].split(maxsplit=2)[2] == "3 to 6 items, mean 3.8, median 3.0"
    assert lines[12].split(maxsplit=2)[2] == "4 to 239 characters, mean 63.2, median 5.0"
    assert lines[13].split(maxsplit=1)[1] == "leave-one-out: 7 training, 4 validation, 4 test"
    assert lines[14].split(maxsplit=2)[2] == "1  interactions of dropped users"
    assert lines[15].strip() == "1  users below min history"
    start = lines.index("user u2, last items, oldest first")
    assert lines[start + 1] == "  d  Delta"
    assert lines[start + 2] == "  c  " + ("Gamma " * 40)[:90] + "..."
    assert all(len(line) < 120 or str(dataset.path) in line for line in lines)


def test_large_numbers_are_grouped_and_nothing_skipped_is_said(dataset: Dataset) -> None:
    seen = {"earlier": 12345, "earlier_users": 678, "others": 9, "others_users": 8}
    text = render({**describe(dataset), "users": 1234567, "skipped": {}, "seen_items": seen})
    assert "1,234,567" in text
    assert "seen besides            678 users 12,345 items before what is kept, 8 users 9 items otherwise" in text
    assert "left out                nothing" in text


COUNTS = ("training", "training_users", "validation", "test", "between", "targets_without_earlier_items")
PARTS = {"kind": "leave-one-out", **dict.fromkeys(COUNTS, 1)}


@pytest.mark.parametrize(
    ("changes", "entry"),
    [
        ({"users": None}, "facts.users"),
        ({"items": "4"}, "facts.items"),
        ({"seen_items": {"earlier": 1, "earlier_users": 1}}, "facts.seen_items.others"),
        ({"duplicate_interactions": "4"}, "facts.duplicate_interactions"),
        ({"targets_like_the_item_before": {}}, "facts.targets_like_the_item_before.test"),
        ({"split": []}, "facts.split"),
        ({"split": {"kind": "k", "training": 1, "validation": 2}}, "facts.split.test"),
        ({"split": {**PARTS, "between": "1"}}, "facts.split.between"),
        ({"split": {**PARTS, "kind": "time", "first": "1"}}, "facts.split.validation_from"),
        ({"split": {**PARTS, "kind": None}}, "facts.split.kind"),
        ({"text_lengths": {"min": 1, "median": 1, "mean": "x", "max": 2}}, "facts.text_lengths.mean"),
        ({"skipped": {"reason": "many"}}, "facts.skipped.reason"),
        ({"skipped": None}, "facts.skipped"),
    ],
)
def test_statistics_that_are_not_complete_are_named(dataset: Dataset, changes: dict[str, Any], entry: str) -> None:
    damaged = replace(dataset, statistics={**dataset.statistics, **changes})
    with pytest.raises(DataError, match=rf"manifest\.json: expected the statistic {entry}, .*`tcf data prepare` again"):
        describe(damaged)
    with pytest.raises(DataError, match=r"expected the statistic facts\.\w+,"):
        describe(replace(dataset, statistics={}))
