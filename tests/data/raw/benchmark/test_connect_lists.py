"""Rows of lists to histories: prefixes in any order, cut or not, and rows that are no prefixes of one another."""

import random
from collections.abc import Sequence

import pytest

from tcf.data.raw.benchmark.connect_lists import ListRow, connect_lists

TRAIN, VALID, TEST = 1, 2, 3


def rows_of(*rows: str, part: int = TRAIN, first: int = 0, times: Sequence[float] = ()) -> list[ListRow]:
    """Rows from `a b > c`."""
    pairs = [row.split(">") for row in rows]
    return [
        ListRow(first + at, part, times[at] if times else 0, items.strip(), target.strip())
        for at, (items, target) in enumerate(pairs)
    ]


def history_of(rows: Sequence[ListRow], *, are_sessions: bool = False) -> tuple[str, list[str]]:
    """The history that results, and what is counted; items of a history that is another session follow a bar."""
    by_row, words, counted, session = {row.row: row for row in rows}, list[str](), list[str](), 0
    for taken in connect_lists(rows, are_sessions=are_sessions):
        if taken.session_from != session:
            words, session = [*words, "|"], taken.session_from
        row = by_row[taken.row]
        words += row.items.split()[len(row.items.split()) - taken.n_items :] + (
            [row.target] if taken.has_target else []
        )
        counted += [taken.reason] if taken.reason else []
    return " ".join(words), counted


@pytest.mark.parametrize(
    ("rows", "history"),
    [
        (["a > b"], "a b"),
        ([" > a"], "a"),
        ([" > a", "a > b", "a b > c"], "a b c"),
        (["a > b", "a b > c", "a b c > d"], "a b c d"),
        (["a b c > d", "a b > c", "a > b"], "a b c d"),
        (["a b > c", "a b c > d", "a > b"], "a b c d"),
        # Lists of at most two items.
        (["a > b", "a b > c", "b c > d", "c d > e"], "a b c d e"),
        (["c d > e", "b c > d", "a b > c", "a > b"], "a b c d e"),
        (["c d > e", "a > b", "b c > d", "a b > c"], "a b c d e"),
        # Items that come again, so that only the order of rows tells what follows.
        (["a > b", "a b > a", "b a > b", "a b > c"], "a b a b c"),
        (["a > a", "a a > a", "a a a > b"], "a a a b"),
        # Only some items are targets.
        (["a b > c", "a b c d > e", "a b c d e f > g"], "a b c d e f g"),
        (["a b > c", "b c d > e"], "a b c d e"),
        # Rows that are there twice.
        (["a > b", "a > b", "a b > c", "a b > c"], "a b c"),
    ],
)
def test_each_event_is_there_once(rows: list[str], history: str) -> None:
    assert history_of(rows_of(*rows)) == (history, [])


@pytest.mark.parametrize("longest", [1, 2, 3, 50])
@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_long_histories_are_found_again(longest: int, order: str) -> None:
    items = random.Random(longest).sample([f"i{at}" for at in range(100)], 60)
    rows = [f"{' '.join(items[max(0, at - longest) : at])} > {items[at]}" for at in range(1, len(items))]
    if order == "backwards":
        rows.reverse()
    if order == "shuffled":
        random.Random(0).shuffle(rows)
    assert history_of(rows_of(*rows)) == (" ".join(items), [])


def test_times_come_before_the_order_of_the_file() -> None:
    rows = sorted(rows_of("x y > z", "a > b", times=[2, 1]), key=lambda row: row.time)
    assert history_of(rows) == ("a b x y z", ["unconnected_list"])
    same = rows_of("a b c > d", "a b > c", "a > b", times=[7, 7, 7])
    assert history_of(same) == ("a b c d", [])


@pytest.mark.parametrize(
    ("rows", "history", "counted"),
    [
        (["a b > c", "x y > z"], "a b c x y z", 1),
        (["a b > c", "x y > z", "x y z > w"], "a b c x y z w", 1),
        (["a b > c", "a b > d"], "a b c d", 1),
        (["a b > c", "b a > d"], "a b c b a d", 1),
    ],
)
def test_rows_of_no_one_history_follow_one_another_and_are_counted(rows: list[str], history: str, counted: int) -> None:
    assert history_of(rows_of(*rows)) == (history, ["unconnected_list"] * counted)


def parts(train: list[str], valid: list[str], test: list[str]) -> list[ListRow]:
    return [
        *rows_of(*train),
        *rows_of(*valid, part=VALID, first=100),
        *rows_of(*test, part=TEST, first=200),
    ]


@pytest.mark.parametrize(
    ("rows", "history", "counted"),
    [
        (parts(["a > b"], ["a b > c"], ["a b c > d"]), "a b c d", 0),
        # The same training items before every target, as some files have it; several targets.
        (parts(["a > b"], ["a b > c"], ["a b > d", "a b > e"]), "a b c d e", 0),
        (parts(["a > b"], [], ["a b c > d", "a b > c"]), "a b c d", 0),
        (parts([], ["a > b"], ["a b > c"]), "a b c", 0),
        (parts([], [], ["a b c > d", "a b > c", "a > b"]), "a b c d", 0),
        # In another order, and with an item that no other row has.
        (parts(["a b > c"], ["c b a > d"], ["a b c d x > e"]), "a b c d e", 2),
    ],
)
def test_validation_and_test_rows_add_targets(rows: list[ListRow], history: str, counted: int) -> None:
    assert history_of(rows) == (history, ["list_not_in_history"] * counted)


def test_sessions_of_one_id_in_two_files_are_two() -> None:
    rows = parts(["a > b"], ["a b > c"], ["x y > z"])
    assert history_of(rows, are_sessions=True) == ("a b c | x y z", [])
    assert history_of(rows) == ("a b c z", ["list_not_in_history"])
