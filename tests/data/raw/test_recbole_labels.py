"""RecBole's labels and ratings: which rows are events is never decided without a word."""

import subprocess
import sys
from pathlib import Path

import pytest

from small.data.raw import histories_of, texts_of, write_files
from small.data.recbole import LISTS, atomic, parts_of, read, recbole
from tcf.common.errors import ConfigError, DataError
from tcf.data.dataset import open_dataset

PLAIN = "user_id:token\titem_id:token"
LABELS, RATINGS, BOTH = (f"{PLAIN}\t{names}" for names in ("label:float", "rating:float", "label:token\trating:float"))
MIND_EVENTS = "user_id:token\titem_id:token\tlabel:float\ttimestamp:float"
MIND_ITEMS = "\t".join(
    f"{name}:{'token' if name == 'item_id' else 'token_seq'}"
    for name in "item_id category sub_category title abstract url title_entities abstract_entities".split()
)


def test_labels_need_a_decision(tmp_path: Path) -> None:
    folder = recbole(tmp_path, {"": atomic(LABELS, "u|a|1", "u|b|0", "u|c|1.0", "u|d|0")})
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"--min-label: expected the lowest label of an event, since {tmp_path}/s.inter has a column label with the "
        "values 0 (2 rows), 1 (1 row), 1.0 (1 row), found no such option; give --min-label 1 to keep the positive ones"
    )
    log = read(folder, min_label=1)
    assert (histories_of(log), log.skipped) == ({"u": list("ac")}, {"below_min_label": 2})
    assert histories_of(read(folder, min_label=0)) == {"u": list("abcd")}
    unlabelled = recbole(tmp_path / "zeros", {"": atomic(LABELS, "u|a|0", "u|b|0")})
    with pytest.raises(ConfigError, match="none is positive: give --min-label 0 to keep all of them$"):
        read(unlabelled)


def test_ratings_need_a_decision(tmp_path: Path) -> None:
    rows = [f"u|{item}|{rating}" for item, rating in zip("abcdef", (-1, 3.5, 5, 4, 4, 1), strict=True)]
    folder = recbole(tmp_path, {"": atomic(RATINGS, *rows)})
    expected = (
        r"values -1 \(1 row\), 1 \(1 row\), 3.5 \(1 row\), 4 \(2 rows\), 5 \(1 row\), found no such option; give "
        "--min-rating -1 to keep all of them, or a higher one such as --min-rating 3.5$"
    )
    with pytest.raises(ConfigError, match=expected):
        read(folder)
    same = recbole(tmp_path / "same", {"": atomic(RATINGS, "u|a|1", "u|b|1")})
    with pytest.raises(ConfigError, match="give --min-rating 1 to keep all of them, or a higher one$"):
        read(same)
    assert histories_of(read(folder, min_rating=-1)) == {"u": list("abcdef")}
    log = read(folder, min_rating=4)
    assert (histories_of(log), log.skipped) == ({"u": list("cde")}, {"below_min_rating": 3})


def test_many_values_are_cut(tmp_path: Path) -> None:
    rows = [f"u|a|{rating}" for rating in range(20, 0, -1)]
    with pytest.raises(ConfigError, match=r"values 1 \(1 row\), .*, 10 \(1 row\), \.\.\., found"):
        read(recbole(tmp_path, {"": atomic(RATINGS, *rows)}))


def test_where_labels_decide_ratings_need_not(tmp_path: Path) -> None:
    folder = recbole(tmp_path, {"": atomic(BOTH, "u|a|1|2", "u|b|0|5", "u|c|1|5")})
    assert histories_of(read(folder, min_label=1)) == {"u": list("ac")}
    log = read(folder, min_label=1, min_rating=3)
    assert (histories_of(log), log.skipped) == ({"u": ["c"]}, {"below_min_label": 1, "below_min_rating": 1})
    with pytest.raises(ConfigError, match="^--min-label: expected the lowest label"):
        read(folder, min_rating=3)


@pytest.mark.parametrize(("option", "column"), [("min_label", "label"), ("min_rating", "rating")])
def test_an_option_about_a_column_that_is_not_there(tmp_path: Path, option: str, column: str) -> None:
    folder = recbole(tmp_path, {"": atomic(PLAIN, "u|a")})
    expected = rf"^--min-{column}: .*s.inter: expected one of its columns \(user_id, item_id\), found {column}; leave"
    with pytest.raises(ConfigError, match=expected):
        read(folder, **{option: 1})


def test_a_label_that_is_no_number(tmp_path: Path) -> None:
    folder = recbole(tmp_path, {"": atomic(LABELS, "u|a|1", "u|b|yes")})
    with pytest.raises(DataError, match=r"s.inter:3: expected a number in column label, found .*'yes'.*bad_label"):
        read(folder, min_label=1)


def test_every_file_of_a_split_is_filtered(tmp_path: Path) -> None:
    rows = {".train": ["u|a|1", "u|b|0"], ".valid": ["u|c|1"], ".test": ["u|d|0", "u|e|1"]}
    folder = recbole(tmp_path, {name: atomic(LABELS, *some) for name, some in rows.items()})
    log = read(folder, min_label=1)
    assert (parts_of(log), log.skipped) == ({"u": "a1 c2 e3"}, {"below_min_label": 2})


def test_events_of_files_without_ratings_are_kept(tmp_path: Path) -> None:
    folder = recbole(tmp_path, {".train": atomic(RATINGS, "u|a|1", "u|b|5"), ".test": atomic(PLAIN, "u|c")})
    with pytest.raises(ConfigError, match="^--min-rating: expected the lowest rating"):
        read(folder)
    log = read(folder, min_rating=4)
    assert (parts_of(log), log.skipped) == ({"u": "b1 c3"}, {"below_min_rating": 1})


def test_lists_are_connected_before_low_ratings_are_left_out(tmp_path: Path) -> None:
    """Otherwise c would come back with the list of the row after it. The first item, a, has no rating of its own."""
    folder = recbole(tmp_path, {"": atomic(f"{LISTS}\trating:float", "u|a|b|5", "u|a b|c|1", "u|a b c|d|4")})
    log = read(folder, min_rating=4)
    assert (histories_of(log), log.skipped) == ({"u": list("abd")}, {"below_min_rating": 1})


def test_rows_with_low_labels_are_no_part_of_a_history(tmp_path: Path) -> None:
    rows = ["u|a|x|0", "u|a|b|1", "u|a b|y|0", "u|a b|c|1"]
    log = read(recbole(tmp_path, {"": atomic(f"{LISTS}\tlabel:float", *rows)}), min_label=1)
    assert (histories_of(log), log.skipped) == ({"u": list("abc")}, {"below_min_label": 2})


def test_the_command_prepares_recboles_mind(tmp_path: Path) -> None:
    """Two columns begin with `title`, one of them with entities in JSON; an impression's rows share a time."""
    events = ["1|10|1|300", "1|11|0|300", "1|12|1|300", "1|13|1|200", "2|10|0|100", "2|11|1|100"]
    items = [f'{item}|news|us|A "quote, {item}|Long|https://x|[{{"Label": "Q"}}]|[]' for item in (10, 11, 12, 13)]
    files = {
        "mind_small_train.inter": atomic(MIND_EVENTS, *events),
        "mind_small_train.item": atomic(MIND_ITEMS, *items),
    }
    write_files(tmp_path / "raw", files)
    words = ["data", "prepare", "recbole", str(tmp_path / "raw"), "--min-label", "1", "--min-history", "3", "--json"]
    command = [sys.executable, "-m", "tcf.cli", *words, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    dataset = open_dataset(tmp_path / "out")
    assert histories_of(dataset) == {"1": ["13", "10", "12"]}
    assert texts_of(dataset) == {item: f'A "quote, {item}' for item in ("10", "12", "13")}
    assert dataset.statistics["skipped"]["below_min_label"] == 2
