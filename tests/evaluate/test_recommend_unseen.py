"""Nothing is recommended that the user has had: by the raw files, whatever of them the dataset keeps."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from small.data.formats import FORMS, Log, write_form
from small.data.raw import write_files
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.train import TrainConfig
from tcf.data.prepare import prepare
from tcf.evaluate.recommend import examples, recommend
from tcf.train.stage import train

ITEMS = [f"i{item}" for item in range(14)]
SMALL: dict[str, Any] = {"items": "id", "width": 8, "batch_size": 16, "epochs": 1, "devices": "cpu"}
START, DAY = 1_577_836_800, 86_400  # 2020-01-01
# User, item, rating, day: each user takes ten items, one a day, some of them rated low, and some in the test period.
EVENTS = [
    (f"u{user}", ITEMS[(5 * user + step) % 14], 1 + (user + 2 * step) % 5, 2 * user + step)
    for user in range(12)
    for step in range(10)
]
Files = Mapping[str, str | bytes]


def written(name: str, folder: Path) -> Path:
    """The same events by a form's own writer, without ratings."""
    [form] = [form for form in FORMS if form.name == name]
    log = Log(
        tuple((item, f"Title {item}") for item in ITEMS),
        tuple((user, item, START + DAY * day) for user, item, _, day in EVENTS),
    )
    return write_form(form, folder, form.write(log))


def recbole() -> Files:
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    rows = "".join(f"{user}\t{item}\t{rating}\t{START + DAY * day}\n" for user, item, rating, day in EVENTS)
    titles = "".join(f"{item}\tTitle {item}\n" for item in ITEMS)
    return {"x.inter": head + rows, "x.item": "item_id:token\ttitle:token_seq\n" + titles}


def movielens() -> Files:
    rows = "".join(f"{user[1:]},{item[1:]},{rating},{START + DAY * day}\n" for user, item, rating, day in EVENTS)
    titles = "".join(f"{item[1:]},Title {item},Drama\n" for item in ITEMS)
    return {"ratings.csv": "userId,movieId,rating,timestamp\n" + rows, "movies.csv": "movieId,title,genres\n" + titles}


def amazon() -> Files:
    rows = [
        {"user_id": user, "parent_asin": item, "rating": rating, "timestamp": 1000 * (START + DAY * day)}
        for user, item, rating, day in EVENTS
    ]
    titles = [{"parent_asin": item, "title": f"Title {item}"} for item in ITEMS]
    return {
        "Toys.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "meta_Toys.jsonl": "".join(json.dumps(row) + "\n" for row in titles),
    }


RATED: dict[str, Callable[[], Files]] = {"recbole": recbole, "movielens": movielens, "amazon": amazon}
LATEST: dict[str, Any] = {"keep_last": 4}
TIMED: dict[str, Any] = {"keep_last": 4, "split": "time", "test_from": "2020-01-18", "validation_from": "2020-01-10"}
TABLE = {**TIMED, **next(form.options for form in FORMS if form.name == "table-csv")}
CASES: list[tuple[RawFormat, str, dict[str, Any]]] = [
    ("tcf", "tcf", LATEST),
    ("mind", "mind", LATEST),
    ("hm", "hm", TIMED),
    ("table", "table-csv", TABLE),
    ("recbole", "", {**TIMED, "min_rating": 3}),
    ("movielens", "", {**LATEST, "min_rating": 3}),
    ("amazon", "", {**TIMED, "min_rating": 3}),
]


@pytest.mark.parametrize(("format", "form", "settings"), CASES, ids=[case[0] for case in CASES])
def test_no_recommended_item_is_one_the_user_has_had(
    tmp_path: Path, format: RawFormat, form: str, settings: dict[str, Any]
) -> None:
    raw = written(form, tmp_path / "raw") if form else write_files(tmp_path / "raw", RATED[format]())
    dataset = prepare(format, raw, tmp_path / "data", PrepareConfig(min_history=3, **settings))
    train(data=dataset.path, caches=[], out=tmp_path / "run", config=TrainConfig(**SMALL))
    done = recommend(tmp_path / "run", out=None, k=len(ITEMS), catalogue="all", device="cpu")
    found: dict[str, list[str]] = {user: [] for user in dataset.user_ids.to_pylist()}
    for row in done.table.to_pylist():
        found[row["user_id"]].append(row["item_id"])
    catalogue = set(dataset.item_ids.to_pylist())
    kept = 0
    for user, items in found.items():
        had = {
            item.removeprefix("i" if format == "movielens" else "")
            for who, item, *_ in EVENTS
            if user in (who, who[1:])
        }
        assert len(had) == 10
        assert sorted(items) == sorted(catalogue - had)
        kept += len(had)
    assert kept > 1.5 * len(dataset.histories.items)  # much of what was had is in no history
    shown = examples(tmp_path / "run", users=100, k=len(ITEMS), catalogue="all", device="cpu").splitlines()[1::2]
    for line, items in zip(shown, found.values(), strict=True):
        titles = line.removeprefix("  recommended: ").split("; ")
        assert sorted(title.split()[1].removeprefix("i") for title in titles) == sorted(
            i.removeprefix("i") for i in items
        )
