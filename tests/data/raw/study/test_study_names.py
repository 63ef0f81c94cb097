"""Folders that the study's authors released, under all names of their files, row by row."""

import hashlib
from pathlib import Path

import pytest

from small.data.raw import BEHAVIORS, HISTORIES, ITEMS, TEXTS, histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.data.raw.study import read_study
from tcf.data.raw.study.file_names import tcf_files
from tcf.data.text_template import parse_template

read_tcf = with_engine(read_study.read_tcf)

# As NineRec publishes them: no header, quotes around what has a comma.
NINEREC_ITEMS = 'v1,韩国电影，《女教师》,"Korean Movie, The Governess"\nv2,二,"Say ""two"""\nv3,三,Three\n'
NINEREC_EN = {"v1": "Korean Movie, The Governess", "v2": 'Say "two"', "v3": "Three"}


@pytest.mark.parametrize(
    ("events", "items", "events_header", "items_header"),
    [
        ("behaviors.tsv", "videos.tsv", "userid\tbehaviors\n", "videoid\tdescription\n"),  # bl_50k
        ("behaviors.tsv", "items.tsv", "userid\tbehaviors\n", "itemid\tdescription\n"),  # hm_200k
        ("behaviors.tsv", "news.tsv", "userid\tbehaviors\n", "newsid\ttitle\n"),  # mind_200k
        ("behaviors.tsv", "mind_news.tsv", "", ""),
        ("behaviors.tsv", "hm_item_text.tsv", "", "item_id\ttext\n"),
        ("mind_60w_users.tsv", "mind_60w_items.tsv", "", ""),
        ("QB_behaviour.tsv", "QB_titles.tsv", "", ""),
        ("MIND_Behaviors.tsv", "Videos_EN.tsv", "user\titems\n", ""),
    ],
)
def test_names_and_headers(tmp_path: Path, events: str, items: str, events_header: str, items_header: str) -> None:
    write_files(tmp_path, {events: events_header + BEHAVIORS, items: items_header + ITEMS})
    log = read_tcf(tmp_path, bad_rows="error")
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    headers = bool(events_header) + bool(items_header)
    assert log.skipped == ({"header_line": headers} if headers else {})
    assert sorted(log.files) == sorted([events, items])
    assert log.times is None
    assert tcf_files(tmp_path) == (tmp_path / events, tmp_path / items)


def test_files_of_the_studys_names_come_first(tmp_path: Path) -> None:
    more = {"item_prices.tsv": "", "old_behaviors.tsv": "", "x_pair.csv": "", "QB_url.csv": "", "._items.tsv": ""}
    write_files(tmp_path, {"behaviors.tsv": BEHAVIORS, "items.tsv": ITEMS, **more})
    assert histories_of(read_tcf(tmp_path, bad_rows="error")) == HISTORIES


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["behaviors.tsv", "a_items.tsv", "b_titles.csv"],
            "found a_items.tsv and b_titles.csv; keep only one item file",
        ),
        (["a_behaviour.tsv", "b_users.tsv", "items.tsv"], "found a_behaviour.tsv and b_users.tsv; keep only one of"),
        (["a_pair.csv", "b_pair.csv", "items.tsv"], "found a_pair.csv and b_pair.csv; keep only one of"),
        (["behaviors.tsv", "QB_url.csv"], "found QB_url.csv, behaviors.tsv; name the folder"),
        (["QB_item.csv"], "found QB_item.csv; name the folder"),
    ],
)
def test_none_or_several_are_refused(tmp_path: Path, names: list[str], found: str) -> None:
    write_files(tmp_path, dict.fromkeys(names, "x\ty\n"))
    with pytest.raises(DataError, match=found):
        read_tcf(tmp_path, bad_rows="skip")


@pytest.mark.parametrize("item_first", [False, True])
def test_ninerec_pairs_by_time(tmp_path: Path, item_first: bool) -> None:
    rows = [("u2", "v1", 30), ("u1", "v3", 20), ("u2", "v2", 10), ("u1", "v1", 20), ("u2", "v2", 40)]
    pairs = "".join(f"{item},{user},{time}\n" if item_first else f"{user},{item},{time}\n" for user, item, time in rows)
    write_files(tmp_path, {"QB_item.csv": NINEREC_ITEMS, "QB_pair.csv": pairs, "QB_url.csv": "v1,https://x\n"})
    log = read_tcf(tmp_path, bad_rows="error")
    assert texts_of(log) == NINEREC_EN
    assert list(histories_of(log).items()) == [("u2", ["v2", "v1", "v2"]), ("u1", ["v3", "v1"])]
    assert log.times is not None
    assert log.times.tolist() == [10, 30, 40, 20, 20]
    assert log.skipped == {}
    assert log.files == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("QB_item.csv", "QB_pair.csv")
    }


@pytest.mark.parametrize("end", ["", ","])
def test_ninerec_pairs_without_times_in_the_files_order(tmp_path: Path, end: str) -> None:
    pairs = "".join(f"{user},{item}{end}\n" for user, item in [("u2", "v1"), ("u1", "v3"), ("u2", "v2")])
    write_files(tmp_path, {"TN_item.csv": NINEREC_ITEMS, "TN_pair.csv": pairs})
    log = read_tcf(tmp_path, bad_rows="error")
    assert histories_of(log) == {"u2": ["v1", "v2"], "u1": ["v3"]}
    assert log.times is None


def test_pairs_with_headers(tmp_path: Path) -> None:
    pairs = "item,user,timestamp\nv1,u1,2023-01-02 00:00:00\nv2,u1,2023-01-01 00:00:00\n"
    write_files(tmp_path, {"x_titles.csv": "item,title\nv1,One\nv2,Two\n", "x_pairs.csv": pairs})
    log = read_tcf(tmp_path, bad_rows="error")
    assert texts_of(log) == {"v1": "One", "v2": "Two"}
    assert histories_of(log) == {"u1": ["v2", "v1"]}
    assert log.skipped == {"header_line": 2}


def test_ninerec_sequences_come_before_pairs(tmp_path: Path) -> None:
    files = {"QB_item.csv": NINEREC_ITEMS, "QB_pair.csv": "u1,v3\n", "QB_behaviour.tsv": "u14500\tv1 v2 v1\n"}
    log = read_tcf(write_files(tmp_path, files), bad_rows="error")
    assert histories_of(log) == {"u14500": ["v1", "v2", "v1"]}
    assert texts_of(log) == NINEREC_EN


def test_either_language(tmp_path: Path) -> None:
    write_files(tmp_path, {"QB_item.csv": NINEREC_ITEMS, "QB_behaviour.tsv": "u1\tv1 v2\n"})
    log = read_tcf(tmp_path, bad_rows="error", template=parse_template("{title_zh} / {title_en}"))
    assert texts_of(log)["v3"] == "三 / Three"
    with pytest.raises(
        ConfigError, match=r"QB_item.csv: expected one of its columns \(title_zh, title_en.*, found title"
    ):
        read_tcf(tmp_path, bad_rows="error", template=parse_template("{title}"))


def test_title_and_abstract(tmp_path: Path) -> None:
    write_files(tmp_path, {"mind_60w_users.tsv": "u1\ta b\n", "mind_60w_items.tsv": 'a\tOne\t"Long\nb\tTwo\t\n'})
    assert texts_of(read_tcf(tmp_path, bad_rows="error")) == {"a": "One", "b": "Two"}
    log = read_tcf(tmp_path, bad_rows="error", template=parse_template("{title}: {abstract}"))
    assert texts_of(log) == {"a": 'One: "Long', "b": "Two"}


def test_columns_named_by_a_header(tmp_path: Path) -> None:
    items = "item_id\tbrand\tname\tprice\na\tAcme\tAnvil\t9\nb\t\tBell\t7\n"
    write_files(tmp_path, {"behaviors.tsv": "u1\ta b\n", "items.tsv": items})
    log = read_tcf(tmp_path, bad_rows="error", template=parse_template("{name} ({brand})"))
    assert texts_of(log) == {"a": "Anvil (Acme)", "b": "Bell)"}
    with pytest.raises(
        ConfigError, match=r"items.tsv has no column title_en or title; name .* from brand, name, price"
    ):
        read_tcf(tmp_path, bad_rows="error")


def test_four_columns_without_a_header_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"behaviors.tsv": "u1\ta b\n", "x_items.tsv": "a\t1\t2\t3\nb\t1\t2\t3\n"})
    with pytest.raises(
        DataError, match=r"x_items.tsv:1: expected an item id and one or two text columns.* found 4 columns"
    ):
        read_tcf(tmp_path, bad_rows="skip")


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ("v1,v2,1\nv2,v3,2\n", "100.0% of the first column and 100.0% of the second are ids of .*QB_item.csv"),
        ("a,b,1\nc,d,2\n", "0.0% of the first column and 0.0% of the second are ids of .*QB_item.csv"),
        ("u1,v1,1,5\n", "found 4 columns"),
        ("", "found an empty file"),
    ],
)
def test_pairs_that_cannot_be_distinguished(tmp_path: Path, pairs: str, found: str) -> None:
    write_files(tmp_path, {"QB_item.csv": NINEREC_ITEMS, "QB_pair.csv": pairs})
    with pytest.raises(DataError, match=found):
        read_tcf(tmp_path, bad_rows="skip")


@pytest.mark.parametrize("item_first", [True, False])
def test_pairs_of_users_numbered_as_items_are(tmp_path: Path, item_first: bool) -> None:
    """Every user's number is an item's too, and one item is unknown: that does not make the users items."""
    events = [(user, (user * 7 + turn * 3) % 30 + 1) for user in range(1, 21) for turn in range(6)]
    events[5] = (1, 999)
    pairs = [(item, user) if item_first else (user, item) for user, item in events]
    lines = "".join(f"{first},{second},{n}\n" for n, (first, second) in enumerate(pairs))
    items = "".join(f"{item},zh{item},Title {item}\n" for item in range(1, 31))
    write_files(tmp_path, {"B_item.csv": items, "B_pair.csv": lines})
    shown = r"99.2% of the first column and 100.0%" if item_first else r"100.0% of the first column and 99.2%"
    with pytest.raises(DataError, match=rf"{shown} of the second are ids of .*B_item.csv, .* add a header"):
        read_tcf(tmp_path, bad_rows="skip")
    header = "item,user,timestamp\n" if item_first else "user,item,timestamp\n"
    write_files(tmp_path, {"B_pair.csv": header + lines})
    assert read_tcf(tmp_path, bad_rows="skip").skipped == {"header_line": 1, "unknown_item": 1}


def test_bad_pairs_are_counted(tmp_path: Path) -> None:
    pairs = "u1,v1,1\nu1,v9,2\n,v1,3\nu1,v2,soon\nu1,v3\nu1,v3,5\n"
    write_files(tmp_path, {"QB_item.csv": NINEREC_ITEMS, "QB_pair.csv": pairs})
    log = read_tcf(tmp_path, bad_rows="skip")
    assert histories_of(log) == {"u1": ["v1", "v3"]}
    assert log.skipped == {"unknown_item": 1, "empty_id": 1, "bad_timestamp": 1, "wrong_columns": 1}
    with pytest.raises(DataError, match=r"QB_pair.csv:\d: expected "):
        read_tcf(tmp_path, bad_rows="error")
