"""Items that no remaining history has, kept as candidates; and datasets of items alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.data.raw import histories_of, texts_of, write_files
from small.train.runs import make_cache
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.cache.export import export
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.describe.plots import draw_plots
from tcf.data.describe.summary import describe, render
from tcf.data.describe.text_lengths import TextLengths
from tcf.data.prepare import prepare
from tcf.evaluate.questions import held_out_queries
from tcf.train.batch.training_data import TrainingData

ITEMS = {item: f"Title {item}" for item in "abcdefg"}
# d is rare, e only the short user v has, f lies before the last three of u, and g occurs nowhere.
USERS = {"u": "f a b c", "v": "e a", "w": "a b c d", "x": "c b a"}


def raw_tcf(folder: Path) -> Path:
    users = "".join(f"{user}\t{items}\n" for user, items in USERS.items())
    return write_files(
        folder, {"behaviors.tsv": users, "items.tsv": "".join(f"{i}\t{title}\n" for i, title in ITEMS.items())}
    )


@pytest.mark.parametrize(
    ("settings", "items", "unseen", "dropped"),
    [
        ({}, "abcd", 0, {"items_never_seen": 3}),
        ({"keep_unseen_items": True}, "abcdefg", 3, {}),
        ({"min_item_count": 2}, "abc", 0, {"items_below_min_item_count": 1, "items_never_seen": 3}),
        ({"min_item_count": 2, "keep_unseen_items": True}, "abcefg", 3, {"items_below_min_item_count": 1}),
    ],
    ids=str,
)
def test_items_never_seen(
    settings: dict[str, Any], items: str, unseen: int, dropped: dict[str, int], tmp_path: Path
) -> None:
    config = PrepareConfig(min_history=3, keep_last=3, **settings)
    dataset = prepare("tcf", raw_tcf(tmp_path / "raw"), tmp_path / "out", config)
    rare = "min_item_count" in settings
    histories = {"u": list("abc"), "w": list("abc" if rare else "bcd"), "x": list("cba")}
    assert histories_of(dataset) == histories
    assert texts_of(dataset) == {item: ITEMS[item] for item in items}
    assert dataset.statistics["unseen_items"] == unseen
    skipped = dataset.statistics["skipped"]
    assert {reason: skipped[reason] for reason in skipped if reason.startswith("items_")} == dropped
    training = dict(zip(items, dataset.training_interactions.tolist(), strict=True))
    assert {item: training[item] for item in items if item in "efg"} == dict.fromkeys("efg" if unseen else "", 0)


def catalogue(folder: Path, **settings: Any) -> Dataset:
    write_files(folder / "raw", {"items.csv": "key,title\nb,Beta\na,Alpha\nc,\nb,Beta two\n"})
    named = {"items": "items.csv", "item_id_column": "key", "text_columns": ("title",), "bad_rows": "skip", **settings}
    return prepare("table", folder / "raw", folder / "out", PrepareConfig(**named))


def test_items_alone(tmp_path: Path) -> None:
    made = catalogue(tmp_path)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.fingerprint == made.fingerprint == catalogue(tmp_path).fingerprint
    assert (dataset.n_users, texts_of(dataset)) == (0, {"b": "Beta", "a": "Alpha"})
    assert dataset.training_interactions.tolist() == [0, 0]
    statistics = dict(dataset.statistics)
    split = statistics.pop("split")
    assert statistics == {
        "users": 0,
        "items": 2,
        "interactions": 0,
        "history_lengths": {"min": 0, "median": 0.0, "mean": 0.0, "max": 0},
        "text_lengths": {"min": 4, "median": 4.5, "mean": 4.5, "max": 5},
        "repeated_interactions": 0,
        "duplicate_interactions": None,
        "seen_items": dict.fromkeys(("earlier", "others", "earlier_users", "others_users"), 0),
        "items_without_training": 2,
        "unseen_items": 2,
        "duplicate_texts": 0,
        "targets_like_the_item_before": {
            part: {"targets": 0, "equal": 0, "duplicates": None} for part in ("test", "validation")
        },
        "skipped": {"other_item_text": 1, "empty_text": 1},
    }
    assert {number for number in split.values() if number != "leave-one-out"} == {0}
    assert "nan" not in render(describe(dataset)).lower()
    assert dataset.to_pandas("interactions").empty


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_column": "t"}, "--time-column: expected --events as well, found only --items"),
        ({"split": "time", "test_from": "0.9"}, "--test-from: expected --events as well"),
        ({"sample_users": 3}, "--sample-users: expected --events as well"),
        ({"drop_duplicates": True}, "--drop-duplicates: expected --events as well"),
        ({"min_history": 3}, "--min-history: expected --events as well"),
        ({"user_column": "u"}, "--events: expected the events file"),
        ({"item_id_column": None}, "--events: expected the events file"),
        ({"item_id_column": "no"}, "--item-id-column: .*expected one of its columns"),
        ({"text_columns": ()}, "--text-columns: expected the columns"),
    ],
    ids=str,
)
def test_options_of_events_without_any(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        catalogue(tmp_path, **settings)


def test_what_uses_items_alone_and_what_refuses_them(tmp_path: Path) -> None:
    dataset = catalogue(tmp_path)
    cache = make_cache(tmp_path, dataset, np.array([[1, 2], [3, 4]], np.float32))
    export(cache, dataset, out=tmp_path / "vectors.npy")
    assert np.load(tmp_path / "vectors.npy").tolist() == [[1, 2], [3, 4]]
    pictures = draw_plots(dataset, TextLengths(np.array([0, 2]), "words"), tmp_path / "plots")
    assert [picture.name for picture in pictures] == ["text_lengths.png"]
    with pytest.raises(DataError, match="found none among 0 users, .* prepare the dataset from events"):
        TrainingData.build(dataset.split, dataset.n_items, 5)
    with pytest.raises(DataError, match="found none among 0 users; prepare a dataset with events"):
        held_out_queries(dataset, "test")
