"""Amazon reviews of both editions, row by row, on files small enough to read by eye."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from small.data.raw import Bad, histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.data.raw import amazon
from tcf.data.raw.amazon import amazon_files
from tcf.data.text_template import joined_columns, parse_template

META_2018: list[dict[str, Any]] = [
    {
        "category": ["Games", "PC"],
        "tech1": "",
        "description": ["Fun."],
        "title": "Alpha",
        "brand": "Acme",
        "asin": "000B",
    },
    {"category": [], "description": [], "title": "Beta  ", "brand": "", "asin": "A2", "price": "$1"},
    {"category": ["Games"], "title": "Gamma: \u00e9 & \u65e5\u672c", "brand": "Bolt", "asin": "C3"},
]
REVIEWS_2018: list[dict[str, Any]] = [
    {
        "overall": 5.0,
        "verified": True,
        "reviewTime": "01 1, 2015",
        "reviewerID": "U9",
        "asin": "A2",
        "reviewText": 'a "quote" and {"asin": "C3"}',
        "unixReviewTime": 1420070400,
    },
    {"overall": 2.0, "reviewerID": "NaN", "asin": "C3", "unixReviewTime": 1262304000, "style": {"Size:": "L"}},
    {"overall": 4.0, "reviewerID": "U9", "asin": "000B", "unixReviewTime": 1262304000, "vote": "3"},
    {"overall": 3.0, "reviewerID": "U9", "asin": "C3", "unixReviewTime": 1420070400},
    {"overall": 1.0, "reviewerID": "NaN", "asin": "A2", "unixReviewTime": -86400},
]
META_2023: list[dict[str, Any]] = [
    {"main_category": "Games", "title": "Alpha", "store": "Acme", "categories": ["Games", "PC"], "parent_asin": "000B"},
    {"main_category": None, "title": "Beta  ", "store": None, "categories": [], "parent_asin": "A2"},
    {"main_category": "Games", "title": "Gamma: \u00e9 & \u65e5\u672c", "store": "Bolt", "parent_asin": "C3"},
]
REVIEWS_2023: list[dict[str, Any]] = [
    {
        "rating": review["overall"],
        "title": "Nice",
        "images": [],
        "asin": "other",
        "parent_asin": review["asin"],
        "user_id": review["reviewerID"],
        "timestamp": review["unixReviewTime"] * 1000 + 7,
    }
    for review in REVIEWS_2018
]
read_amazon = with_engine(amazon.read_amazon)
REVIEWS = "Video_Games_5.json"
HISTORIES = {"U9": ["000B", "A2", "C3"], "NaN": ["A2", "C3"]}
TIMES = [1262304000, 1420070400, 1420070400, -86400, 1262304000]
TEXTS = {"000B": "Alpha", "A2": "Beta", "C3": "Gamma: \u00e9 & \u65e5\u672c"}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def of_2018(reviews: str = "", metadata: str = "") -> dict[str, str | bytes]:
    return {"Video_Games_5.json": lines(REVIEWS_2018) + reviews, "meta_Video_Games.json": lines(META_2018) + metadata}


def of_2023() -> dict[str, str | bytes]:
    return {"All_Beauty.jsonl": lines(REVIEWS_2023), "meta_All_Beauty.jsonl": lines(META_2023)}


def zipped(files: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    return {f"{name}.gz": gzip.compress(str(content).encode()) for name, content in files.items()}


@pytest.mark.parametrize(
    "files", [of_2018(), of_2023(), zipped(of_2018()), zipped(of_2023())], ids=["2018", "2023", "2018.gz", "2023.gz"]
)
def test_both_editions_plain_and_gzip(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    log = read_amazon(write_files(tmp_path, {**files, "manifest.json": "{}", "README": ""}), bad_rows="error")
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    assert log.times is not None and log.times.tolist() == TIMES
    assert (str(log.offsets.dtype), str(log.items.dtype), str(log.times.dtype)) == ("int64", "int32", "int64")
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert log.skipped == {}
    assert sorted(log.files) == sorted(files)


def test_times_are_compared_to_the_millisecond(tmp_path: Path) -> None:
    two = [
        {**REVIEWS_2023[0], "timestamp": at, "parent_asin": item}
        for item, at in (("A2", 1420070400999), ("C3", 1420070400001))
    ]
    log = read_amazon(write_files(tmp_path, {**of_2023(), "All_Beauty.jsonl": lines(two)}), bad_rows="error")
    assert histories_of(log) == {"U9": ["C3", "A2"]}
    assert log.times is not None and log.times.tolist() == [1420070400] * 2


@pytest.mark.parametrize(
    ("files", "template", "texts"),
    [
        (
            of_2018(),
            "{title} by {brand}: {category}",
            ["Alpha by Acme: Games, PC", "Beta", f"{TEXTS['C3']} by Bolt: Games"],
        ),
        (of_2018(), "{description} {price}", ["Fun.", "$1", ""]),
        (
            of_2023(),
            "{title} by {store}: {main_category}",
            ["Alpha by Acme: Games", "Beta", f"{TEXTS['C3']} by Bolt: Games"],
        ),
        (of_2023(), "{categories}|{parent_asin}", ["Games, PC|000B", "A2", "C3"]),
    ],
)
def test_templates_over_keys_of_the_metadata(
    tmp_path: Path, files: dict[str, str | bytes], template: str, texts: list[str]
) -> None:
    log = read_amazon(write_files(tmp_path, files), bad_rows="error", template=parse_template(template))
    assert texts_of(log) == {item: text for item, text in zip(TEXTS, texts, strict=True) if text}


def test_a_template_of_other_keys_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, of_2018())
    with pytest.raises(
        ConfigError, match=r"meta_Video_Games.json: expected one of its columns \(asin, title, brand.*, found store"
    ):
        read_amazon(tmp_path, bad_rows="skip", template=joined_columns(["store"]))


@pytest.mark.parametrize("files", [of_2018(), of_2023()], ids=["2018", "2023"])
def test_ratings_below_the_lowest_wanted_are_counted(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    write_files(tmp_path, files)
    log = read_amazon(tmp_path, bad_rows="error", min_rating=3)
    assert histories_of(log) == {"U9": ["000B", "A2", "C3"]}
    assert log.skipped == {"below_min_rating": 2}
    assert read_amazon(tmp_path, bad_rows="error", min_rating=2).skipped == {"below_min_rating": 1}


def test_ratings_between_whole_numbers_and_absent_ones(tmp_path: Path) -> None:
    reviews = [{**REVIEWS_2018[0], "overall": 3.5}, {**REVIEWS_2018[2], "overall": 4}, REVIEWS_2018[3]]
    absent = {key: value for key, value in REVIEWS_2018[1].items() if key != "overall"}
    write_files(tmp_path, {**of_2018(), REVIEWS: lines([*reviews, absent])})
    assert len(read_amazon(tmp_path, bad_rows="error").items) == 4
    log = read_amazon(tmp_path, bad_rows="skip", min_rating=3.5)
    assert (histories_of(log), log.skipped) == ({"U9": ["000B", "A2"]}, {"bad_rating": 1, "below_min_rating": 1})
    with pytest.raises(
        DataError, match=r"Video_Games_5.json:4: expected a number in column overall, found .*bad_rating"
    ):
        read_amazon(tmp_path, bad_rows="error", min_rating=3.5)


def test_a_title_of_2023_may_name_a_function(tmp_path: Path) -> None:
    metadata = [*META_2023[1:], {"title": "getTime() and other tales", "parent_asin": "000B"}]
    log = read_amazon(write_files(tmp_path, {**of_2023(), "meta_All_Beauty.jsonl": lines(metadata)}), bad_rows="error")
    assert texts_of(log)["000B"] == "getTime() and other tales"
    assert log.skipped == {}


def test_what_the_published_files_are_known_for_is_counted(tmp_path: Path) -> None:
    script = "var aPageStart = (new Date()).getTime();"
    metadata = [META_2018[0], {**META_2018[1], "title": "Beta again"}, {"asin": "D4", "title": script, "brand": "X"}]
    reviews = [{**REVIEWS_2018[0], "asin": item} for item in ("D4", "E5", "E6", "A2")]
    reviews += [{**REVIEWS_2018[0], "unixReviewTime": 1420070401}, {**REVIEWS_2018[1], "asin": "A2"}]
    folder = write_files(tmp_path, of_2018(lines(reviews), lines([*metadata, {"asin": "F6", "brand": "Y"}])))
    log = read_amazon(folder, bad_rows="error")
    assert histories_of(log) == {"U9": ["000B", "A2", "C3", "A2"], "NaN": ["A2", "C3", "A2"]}
    assert texts_of(log) == TEXTS
    assert log.skipped == {
        "duplicate_item": 2,
        "title_is_script": 1,
        "empty_text": 2,
        "event_of_skipped_item": 1,
        "unknown_item": 2,
        "duplicate_event": 1,
    }
    branded = read_amazon(folder, bad_rows="error", template=parse_template("{title} ({brand})"))
    assert {item: text for item, text in texts_of(branded).items() if item > "D"} == {"D4": "X)", "F6": "Y)"}
    assert branded.skipped["title_is_script"] == 1 and "empty_text" not in branded.skipped


BAD = [
    Bad("bad_json", f"{REVIEWS}:6", "", {"bad_json": 1}, files=of_2018('{"reviewerID": "U9", \n')),
    Bad("empty_id", f"{REVIEWS}:6", "", {"empty_id": 1}, files=of_2018('{"asin": "A2", "unixReviewTime": 3}\n')),
    Bad(
        "bad_timestamp",
        f"{REVIEWS}:6",
        "",
        {"bad_timestamp": 1},
        files=of_2018('{"reviewerID": "U9", "asin": "A2", "unixReviewTime": "soon"}\n'),
    ),
    Bad(
        "bad_timestamp",
        f"{REVIEWS}:6",
        "",
        {"bad_timestamp": 1},
        files=of_2018('{"reviewerID": "U9", "asin": "A2"}\n'),
    ),
    Bad("bad_json", "meta_Video_Games.json:4", "", {"bad_json": 1}, files=of_2018(metadata="[1]\n")),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_rows_stop_or_are_counted(tmp_path: Path, bad: Bad) -> None:
    log = bad.skipped_by(read_amazon, tmp_path)
    assert (histories_of(log), texts_of(log)) == (HISTORIES, TEXTS)


def test_a_truncated_gzip_file_is_one_line(tmp_path: Path) -> None:
    files = zipped(of_2018(lines(REVIEWS_2018) * 500))
    reviews = files[f"{REVIEWS}.gz"]
    write_files(tmp_path, {**files, f"{REVIEWS}.gz": reviews[: len(reviews) // 2]})
    with pytest.raises(
        DataError, match=r"Video_Games_5.json.gz: expected a complete gzip file, found a damaged or trunc"
    ):
        read_amazon(tmp_path, bad_rows="skip")


def test_files_of_another_kind_are_said(tmp_path: Path) -> None:
    write_files(tmp_path, {**of_2018(), REVIEWS: lines(META_2018)})
    expected = r"Video_Games_5.json:1: expected a review with the keys reviewerID, asin, unixReviewTime or user_id, "
    with pytest.raises(DataError, match=expected):
        read_amazon(tmp_path, bad_rows="skip")
    write_files(tmp_path, {REVIEWS: "reviewerID,asin\n"})
    with pytest.raises(DataError, match=r"Video_Games_5.json:1: expected one JSON object a line"):
        read_amazon(tmp_path, bad_rows="skip")


def test_the_folder_must_hold_one_category(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: expected a folder, found nothing; check the path"):
        amazon_files(tmp_path / "nowhere")
    with pytest.raises(DataError, match="found neither; name a folder with one category"):
        amazon_files(tmp_path)
    write_files(tmp_path, {"manifest.json": "{}", "meta_Books.json.gz": ""})
    with pytest.raises(DataError, match="found meta_Books.json.gz; name"):
        amazon_files(tmp_path)
    write_files(tmp_path, {"Books_5.json.gz": "", "Books_5.json": ""})
    with pytest.raises(DataError, match="found Books_5.json, Books_5.json.gz, meta_Books.json.gz; name"):
        amazon_files(tmp_path)
