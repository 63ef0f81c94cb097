"""RecBole's files with a list of earlier items in every row (`item_id_list`), without a split."""

from pathlib import Path

import pytest

from small.data.raw import histories_of, with_engine
from small.data.recbole import LISTS, atomic, read, recbole
from tcf.common.errors import DataError
from tcf.data.raw.recbole import read_recbole

SESSIONS = LISTS.replace("user", "session")


@pytest.mark.parametrize(
    "rows",
    [
        ["u|a|b", "u|a b|c", "u|a b c|d", "v|b|a"],
        ["u|a b c|d", "u|a b|c", "u|a|b", "v|b|a"],
        ["u|a b c|d", "v|b|a"],
        ["v|b|a", "u|a|b", "u|a b|c", "u|b c|d"],
        ["u|a|b", "v|b|a", "u|a  b|c", "u|a  b   c|d"],
    ],
    ids=["forwards", "backwards", "one row each", "cut", "several spaces"],
)
def test_each_history_is_there_once_and_complete(tmp_path: Path, rows: list[str]) -> None:
    log = read(recbole(tmp_path, {"": atomic(LISTS, *rows)}))
    assert list(histories_of(log).items()) == sorted(
        {"u": list("abcd"), "v": list("ba")}.items(), key=lambda user: rows[0][0] != user[0]
    )
    assert (log.parts, log.times, log.skipped) == (None, None, {})


def test_the_order_of_columns_and_others_do_not_matter(tmp_path: Path) -> None:
    header = "item_length:float\titem_id:token\titem_id_list:token_seq\tuser_id:token"
    log = read(recbole(tmp_path, {"": atomic(header, "2|c|a b|u", "1|b|a|u")}))
    assert histories_of(log) == {"u": list("abc")}


def test_lists_that_do_not_continue_one_another_are_counted(tmp_path: Path) -> None:
    log = read(recbole(tmp_path, {"": atomic(LISTS, "u|a b|c", "v|x|y", "u|d e|f", "v|x|z")}))
    assert histories_of(log) == {"u": list("abcdef"), "v": list("xyz")}
    assert log.skipped == {"unconnected_list": 2}


def test_every_row_has_a_session_id_of_its_own(tmp_path: Path) -> None:
    """The sessions a b c d, a b, x y z and a b: only neighbours that continue one another are of one session."""
    rows = ["a|b", "a b|c", "a b c|d", "a|b", "x|y", "x y|z", "a|b"]
    wanted = {"0": list("abcd"), "3": list("ab"), "4": list("xyz"), "6": list("ab")}
    log = read(recbole(tmp_path / "f", {"": atomic(SESSIONS, *(f"{at}|{row}" for at, row in enumerate(rows)))}))
    assert histories_of(log) == wanted
    backwards = [f"{6 - at}|{row}" for at, row in enumerate(reversed(rows))]
    log = read(recbole(tmp_path / "b", {"": atomic(SESSIONS, *backwards)}))
    assert list(histories_of(log).values()) == [list("ab"), list("xyz"), list("ab"), list("abcd")]
    # A file may say that these are users.
    log = read(recbole(tmp_path / "u", {"": atomic(LISTS, *(f"{at}|{row}" for at, row in enumerate(rows)))}))
    assert histories_of(log)["2"] == list("abcd") and histories_of(log)["1"] == list("abc")


def test_sessions_cut_to_the_latest_items(tmp_path: Path) -> None:
    rows = ["1|a|b", "2|a b|c", "3|b c|d", "4|c d|e", "5|e|f", "6|e f|g"]
    log = read(recbole(tmp_path, {"": atomic(SESSIONS, *rows)}))
    assert histories_of(log) == {"1": list("abcde"), "5": list("efg")}


def test_sessions_with_rows_of_one_id(tmp_path: Path) -> None:
    log = read(recbole(tmp_path, {"": atomic(SESSIONS, "1|a|b", "1|a b|c", "2|a|b")}))
    assert histories_of(log) == {"1": list("abc"), "2": list("ab")}


def test_times_of_lists_are_used(tmp_path: Path) -> None:
    header = f"{LISTS}\ttimestamp:float\ttimestamp_list:float_seq"
    rows = ["u|a b|c|30|10 20", "u|a b c|d|40|10 20 30", "v||z|9|", "w|x  y|z|1e2|-.5  9.e1"]
    log = read(recbole(tmp_path, {"": atomic(header, *rows)}))
    assert histories_of(log) == {"u": list("abcd"), "v": ["z"], "w": list("xyz")}
    assert log.times is not None
    assert log.times.tolist() == [10, 20, 30, 40, 9, -1, 90, 100]


@pytest.mark.parametrize(
    ("items", "times"),
    [
        ("x y", "1"),
        ("x y", "1 2 3"),
        ("x y", "1 x"),
        ("x y", "1 2e999"),
        ("x y", "1 " + "9" * 400),
        ("x y", "nan 1"),
        ("x", ""),
        ("", "1"),
    ],
)
def test_each_item_of_a_list_needs_a_time(tmp_path: Path, items: str, times: str) -> None:
    header = f"{LISTS}\ttimestamp:float\ttimestamp_list:float_seq"
    folder = recbole(tmp_path, {"": atomic(header, "u|a b|c|30|10 20", f"v|{items}|z|9|{times}", "v|x y|z|9|1 1e0")})
    expected = (
        "s.inter:3: expected in column timestamp_list as many numbers as item_id_list has items, found timestamp_"
    )
    with pytest.raises(DataError, match=rf"{expected}.* 1 of this kind \(bad_timestamp\)"):
        read(folder)
    log = with_engine(read_recbole)(folder, bad_rows="skip")
    assert (histories_of(log), log.skipped) == ({"u": list("abc"), "v": list("xyz")}, {"bad_timestamp": 1})
    assert log.times is not None and log.times.tolist() == [10, 20, 30, 1, 1, 9]


def test_a_part_without_times_of_lists(tmp_path: Path) -> None:
    """The times of its lists are those of its rows; the other part has them."""
    header = f"{LISTS}\ttimestamp:float"
    test = atomic(f"{header}\ttimestamp_list:float_seq", "v|a|b|9|3")
    log = read(recbole(tmp_path, {".train": atomic(header, "u|a|b|7"), ".test": test}))
    assert log.times is not None and (histories_of(log), log.times.tolist()) == (
        {"u": ["a", "b"], "v": ["a", "b"]},
        [7, 7, 3, 9],
    )


def test_an_item_twice_in_a_list_is_no_duplicate(tmp_path: Path) -> None:
    """Items of a list have one time if it has none of its own."""
    header = f"{LISTS}\ttimestamp:float"
    log = read(recbole(tmp_path / "one", {"": atomic(header, "u|a b a|c|9")}))
    assert (histories_of(log), log.duplicates) == ({"u": list("abac")}, None)
    log = read(recbole(tmp_path / "own", {"": atomic(f"{header}\ttimestamp_list:float_seq", "u|a b a|c|9|1 2 2")}))
    assert log.duplicates is not None and log.duplicates.tolist() == [False] * 4


def test_rows_are_put_in_order_of_time(tmp_path: Path) -> None:
    log = read(recbole(tmp_path, {"": atomic(f"{LISTS}\ttimestamp:float", "u|x|y|9", "u|a b|c|4", "u|a|b|3")}))
    assert histories_of(log) == {"u": list("abcxy")}
    assert log.skipped == {"unconnected_list": 1}


def test_unknown_items_of_lists_have_the_line_of_their_row(tmp_path: Path) -> None:
    folder = recbole(tmp_path, {"": atomic(LISTS, "u|a|b", "v|a Q b|c", "v|a Q b c|R")})
    with pytest.raises(DataError, match=r"s.inter:3: expected an item id of .*s.item, found 'Q'; 2 of this kind"):
        read(folder)
