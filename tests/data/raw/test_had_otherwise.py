"""Events that readers leave out although the user has had the item: none of these may be recommended as new."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from small.data.raw import histories_of, others_of, with_engine, write_files
from small.data.recbole import LISTS, atomic, read, recbole
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.data.prepare import prepare
from tcf.data.raw.mind.read_mind import read_mind
from tcf.data.raw.recbole import RecboleOptions, read_recbole

TYPED = "user_id:token\titem_id:token\trating:float\tlabel:float\ttimestamp:float"
RATED_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
# u has c and e with low ratings, c twice; v has nothing else than a low rating.
RATED = ["u|b|5|1|3", "u|c|1|0|1", "v|a|1|0|1", "u|a|4|1|2", "u|c|2|0|9", "w|d|5|1|1", "u|e|2|0|4", "u|d|4|1|6"]


def rated(*names: str) -> str:
    """The rows in a file with these columns beside the ids."""
    columns = [0, 1, *(TYPED.split("\t").index(f"{name}:float") for name in names)]
    rows = ("|".join(row.split("|")[at] for at in columns) for row in RATED)
    return atomic("\t".join(TYPED.split("\t")[at] for at in columns), *rows)


def test_a_low_rating_is_that_of_an_item_the_user_has_had(tmp_path: Path) -> None:
    log = read(recbole(tmp_path, {"": rated("rating", "timestamp")}), min_rating=3)
    assert histories_of(log) == {"u": list("abd"), "w": ["d"]}
    assert log.skipped == {"below_min_rating": 4}
    assert others_of(log) == {"u": ["c", "e"]}
    assert read(recbole(tmp_path, {"": rated("rating")}), min_rating=1).others is None


def test_a_low_label_is_that_of_no_event_unless_the_item_was_rated(tmp_path: Path) -> None:
    shown = read(recbole(tmp_path / "shown", {"": rated("label")}), min_label=1)
    assert (others_of(shown), shown.skipped) == ({}, {"below_min_label": 4})
    log = read(recbole(tmp_path / "rated", {"": rated("label", "rating")}), min_label=1)
    assert (others_of(log), log.skipped) == ({"u": ["c", "e"]}, {"below_min_label": 4})


def test_the_parts_of_a_split_and_sessions(tmp_path: Path) -> None:
    header, rows = RATED_HEADER, {".train": ["u|a|5|1", "u|b|1|2", "u|c|5|3"], ".test": ["u|d|4|4", "u|e|2|5"]}
    files = {part: atomic(header, *some) for part, some in rows.items()}
    log = read(recbole(tmp_path / "users", files), min_rating=3)
    assert (histories_of(log), others_of(log)) == ({"u": list("acd")}, {"u": ["b", "e"]})
    sessions = {part: content.replace("user_id", "session_id") for part, content in files.items()}
    log = read(recbole(tmp_path / "sessions", sessions), min_rating=3)
    assert (histories_of(log), others_of(log)) == ({"u": list("acd")}, {"u": ["b", "e"]})


def test_lists_that_are_left_out(tmp_path: Path) -> None:
    train, test = ["u|a b|c", "v|a b|c"], ["u|c x y|d", "u|x|e", "v|a b|d"]
    log = read(recbole(tmp_path, {".train": atomic(LISTS, *train), ".test": atomic(LISTS, *test)}))
    assert log.skipped == {"list_not_in_history": 2}
    assert (histories_of(log), others_of(log)) == ({"u": list("abcde"), "v": list("abcd")}, {"u": ["c", "x", "y"]})
    rows = ["u||a|5", "u|a|b|1", "u|a b|c|4"]
    log = read(recbole(tmp_path / "rated", {"": atomic(f"{LISTS}\trating:float", *rows)}), min_rating=3)
    assert (histories_of(log), others_of(log)) == ({"u": ["a", "c"]}, {"u": ["b"]})


def test_times_that_cannot_be_read(tmp_path: Path) -> None:
    rows = ["u|a|1", "u|b|soon", "w|c|soon", "u|unknown|soon", "u|c|2"]
    folder = recbole(tmp_path, {"": atomic("user_id:token\titem_id:token\ttimestamp:float", *rows)})
    log = with_engine(read_recbole)(folder, bad_rows="skip", options=RecboleOptions())
    assert (histories_of(log), others_of(log)) == ({"u": ["a", "c"]}, {"u": ["b"]})


def test_histories_of_mind_that_do_not_begin_the_longest(tmp_path: Path) -> None:
    def row(user: str, hour: int, history: str, impressions: str) -> str:
        return f"7\t{user}\t11/12/2019 {hour}:00:00 AM\t{history}\t{impressions}\n"

    rows = [
        row("u", 1, "a b", "c-0 d-1"),  # c was shown and not clicked
        row("u", 2, "a e x", "c-0"),  # the longest, and the first such; x is in no news
        row("u", 3, "a b d", "c-0"),
        row("v", 1, "a", "b-0"),
        row("v", 2, "a  b", "c-1"),
        row("w", 2, "", "a-0"),
    ]
    news = "".join(f"{item}\tnews\tlocal\tTitle {item}\t\thttps://x\t[]\t[]\n" for item in "abcde")
    folder = write_files(tmp_path, {"news.tsv": news, "behaviors.tsv": "".join(rows)})
    log = with_engine(read_mind)(folder, bad_rows="error")
    assert histories_of(log) == {"u": ["a", "e", "d"], "v": ["a", "b", "c"], "w": []}
    assert others_of(log) == {"u": ["a", "b", "d"]}


TITLES = "".join(f"{item}\tTitle {item}\n" for item in "abcde")
PRODUCTS = "".join(json.dumps({"asin": item, "title": f"Title {item}"}) + "\n" for item in "abcde")
REVIEWS = [("u", "a", 5), ("u", "b", 4), ("u", "c", 4), ("u", "d", 1), ("w", "a", 2)]
LINES = [("u", "a", "1"), ("u", "b", "2"), ("u", "c", "3"), ("u", "d", "never"), ("w", "e", "4")]


def csv(header: str, rows: list[tuple[Any, ...]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in [header.split(","), *rows])


FORMS: dict[str, tuple[RawFormat, dict[str, str | bytes], dict[str, Any]]] = {
    "two lines of a user": (
        "tcf",
        {"behaviors.tsv": "u\ta b c\nw\tc e\nu\tc d\n", "items.tsv": TITLES},
        {"bad_rows": "skip"},
    ),
    "pairs": ("tcf", {"x_pair.csv": csv("user,item,time", LINES), "x_item.tsv": TITLES}, {"bad_rows": "skip"}),
    "hm": (
        "hm",
        {
            "transactions_train.csv": csv(
                "customer_id,article_id,t_dat", [(user, item, f"2020-01-0{day}") for user, item, day in LINES]
            ),
            "articles.csv": "article_id,prod_name\n" + TITLES.replace("\t", ","),
        },
        {"bad_rows": "skip"},
    ),
    "movielens": (
        "movielens",
        {
            "ratings.csv": csv("userId,movieId,rating,timestamp", [(*row, at) for at, row in enumerate(REVIEWS)]),
            "movies.csv": csv("movieId,title,genres", [(item, f"Title {item}", "Drama") for item in "abcde"]),
        },
        {"min_rating": 3.0},
    ),
    "amazon": (
        "amazon",
        {
            "Toys_5.json.gz": gzip.compress(
                "".join(
                    json.dumps({"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": at}) + "\n"
                    for at, (user, item, rating) in enumerate(REVIEWS)
                ).encode()
            ),
            "meta_Toys.json.gz": gzip.compress(PRODUCTS.encode()),
        },
        {"min_rating": 3.0},
    ),
    "table": (
        "table",
        {
            "e.csv": csv("who,what,when,kind", [*[(*row, "sale") for row in LINES], ("u", "e", "5", "refund")]),
            "i.csv": "what,title\n" + TITLES.replace("\t", ","),
        },
        {"bad_rows": "skip", "time_column": "when", "drop": ("kind=refund",)},
    ),
    "table with a split": (
        "table",
        {
            "e.csv": csv("who,what,when", list(zip("uuuu", "abcd", ["train", "train", "test", "no"], strict=True))),
            "i.csv": "what,title\n" + TITLES.replace("\t", ","),
        },
        {"bad_rows": "skip", "split_column": "when"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_dataset_has_them_in_every_format(tmp_path: Path, form: str) -> None:
    format, files, settings = FORMS[form]
    if format == "table":
        settings = {**settings, "events": ("e.csv",), "items": ("i.csv",), "user_column": "who", "item_column": "what"}
        settings["text_columns"] = ("title",)
    config = PrepareConfig(min_history=3, keep_unseen_items=True, **settings)
    dataset = prepare(format, write_files(tmp_path / "raw", files), tmp_path / "out", config)
    assert histories_of(dataset) == {"u": list("abc")}
    had = ["c", "d"] if form == "two lines of a user" else ["d"]
    assert others_of(dataset) == {"u": had}
    seen = dataset.statistics["seen_items"]
    assert seen == {"earlier": 0, "earlier_users": 0, "others": len(had), "others_users": 1}
