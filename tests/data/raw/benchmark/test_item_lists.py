"""Events of rows with lists: the engine, which reads most users' rows alone, gives what `connect_lists` says."""

import random
from collections import Counter
from pathlib import Path

import pytest

from small.data.raw import histories_of
from small.data.recbole import LISTS, atomic, parts_of, read, recbole
from tcf.data.raw.benchmark.connect_lists import ListRow, connect_lists

PARTS = {".train": 1, ".valid": 2, ".test": 3}


def rows_of(seed: int) -> list[tuple[str, ListRow]]:
    """Rows of users in one order of the file, some of whose lists are cut, frozen, torn out or of another history."""
    chance, found = random.Random(seed), list[tuple[str, ListRow]]()
    for user in range(40):
        items = [chance.choice("abcdefg") for _ in range(chance.randint(2, 7))]
        rows = [
            (min(3, 1 + 3 * at // len(items)), items[max(0, at - chance.choice([9, 9, 9, 2])) : at], items[at])
            for at in range(1, len(items))
        ]
        if chance.random() < 0.3:
            rows.insert(chance.randrange(len(rows)), (1, ["x", "y"], "z"))
        if chance.random() < 0.5:
            rows.reverse()
        found += [(f"u{user}", ListRow(0, part, 0, " ".join(listed), target)) for part, listed, target in rows]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_histories_parts_and_counts_are_those_of_the_rules(tmp_path: Path, seed: int) -> None:
    rows = rows_of(seed)
    files = {
        suffix: atomic(LISTS, *(f"{user}|{row.items}|{row.target}" for user, row in rows if row.part == part))
        for suffix, part in PARTS.items()
    }
    log = read(recbole(tmp_path, files))
    expected, counts = dict[str, str](), Counter[str]()
    for user in dict.fromkeys(user for user, _ in sorted(rows, key=lambda row: row[1].part)):
        own = sorted((row for other, row in rows if other == user), key=lambda row: row.part)
        numbered = [ListRow(at, row.part, 0, row.items, row.target) for at, row in enumerate(own)]
        words = []
        for taken in connect_lists(numbered):
            row = numbered[taken.row]
            listed = row.items.split()[len(row.items.split()) - taken.n_items :]
            words += [f"{item}{int(row.part == 1)}" for item in listed]
            words += [f"{row.target}{row.part}"] if taken.has_target else []
            counts[taken.reason] += 1
        expected[user] = " ".join(words)
    assert list(parts_of(log).items()) == list(expected.items())
    assert len(expected) == 40
    assert log.skipped == {reason: number for reason, number in counts.items() if reason}
    assert counts["unconnected_list"] and counts["list_not_in_history"]


def test_a_user_whose_rows_are_not_in_one_order(tmp_path: Path) -> None:
    """Rows for training are there backwards, those for test forwards; v's are regular."""
    files = {
        ".train": atomic(LISTS, "u|a b|c", "v|a|b", "u|a|b"),
        ".test": atomic(LISTS, "u|a b c|d", "u|a b c d|e", "v|a b|c"),
    }
    log = read(recbole(tmp_path, files))
    assert histories_of(log) == {"u": list("abcde"), "v": list("abc")}
    assert log.skipped == {}
