"""Which windows of a history are rows, and how often an item is in them."""

from collections import Counter

import numpy as np
import pytest

from small.train.losses import training, training_of
from tcf.data.histories import Histories
from tcf.train.batch import training_data
from tcf.train.batch.rows import UserRows
from tcf.train.batch.training_data import occurrences_in
from tcf.train.batch.windows import RandomWindows, all_windows, last_windows

LONG = training_of(np.array([4, 7, 9]), [[*range(10, 18)], [20, 21], [30, 31, 32, 33]], 40, positions=3)


def lists(rows: UserRows) -> list[tuple[int, list[int]]]:
    chosen = rows.choose(np.arange(len(rows)))
    return [(int(user), chosen.sequences.of(row).tolist()) for row, user in enumerate(chosen.users_B)]


def test_windows_by_hand() -> None:
    """Three items are read, so a window has up to four."""
    assert lists(last_windows(LONG)) == [(4, [14, 15, 16, 17]), (7, [20, 21]), (9, [30, 31, 32, 33])]
    assert lists(all_windows(LONG)) == [
        (4, [14, 15, 16, 17]),
        (4, [11, 12, 13, 14]),
        (4, [10, 11]),
        (7, [20, 21]),
        (9, [30, 31, 32, 33]),
    ]
    assert (last_windows(LONG).n_targets, all_windows(LONG).n_targets) == (7, 11)


@pytest.mark.parametrize("positions", [1, 2, 3, 5, 30])
def test_every_item_but_a_users_first_is_a_target_once_in_all_windows(positions: int) -> None:
    sequences = [[100 * user + place for place in range(length)] for user, length in enumerate([2, 3, 6, 7, 8, 21])]
    rows = all_windows(training(sequences, 600, positions))
    chosen = rows.choose(np.arange(len(rows)))
    assert chosen.sequences.lengths.max() <= positions + 1
    targets = chosen.sequences.items[chosen.target_S].tolist()
    assert sorted(targets) == [item for sequence in sequences for item in sequence[1:]]
    assert rows.n_targets == len(targets)
    # An item is read by the window that predicts the next one.
    read = Counter(chosen.sequences.items[chosen.read_S].tolist())
    assert read == Counter(item for sequence in sequences for item in sequence[:-1])


def test_short_histories_are_the_same_whatever_the_windows() -> None:
    data = training([[0, 1, 2, 1], [3, 0], [4, 4, 4]], 5, positions=3)
    expected = lists(last_windows(data))
    assert lists(all_windows(data)) == lists(RandomWindows(data).in_epoch(0, 1)) == expected


def test_random_windows_are_anywhere_with_equal_probability_and_of_seed_and_epoch_alone() -> None:
    rows = RandomWindows(LONG)
    assert (len(rows), rows.n_targets) == (3, 3 + 1 + 3)
    assert lists(rows.in_epoch(5, 3))[1:] == lists(last_windows(LONG))[1:]
    many = RandomWindows(training([range(10, 18)] * 1000, 40, positions=3))
    windows = [window for _, window in lists(many.in_epoch(5, 3))]
    assert all(window == list(range(window[0], window[0] + 4)) for window in windows)
    starts = Counter(window[0] for window in windows)
    # 200 times each; 4 degrees of freedom: more than 18.5 once in a thousand draws.
    assert sorted(starts) == [10, 11, 12, 13, 14]
    assert sum((count - 200) ** 2 / 200 for count in starts.values()) < 18.5
    again, later, other = ([w for _, w in lists(many.in_epoch(*place))] for place in ((5, 3), (5, 4), (6, 3)))
    assert again == windows and later != windows and other != windows


def test_the_counts_of_candidates_are_those_of_the_rows() -> None:
    for rows in (last_windows(LONG), all_windows(LONG)):
        items = [item for _, window in lists(rows) for item in window]
        assert rows.candidate_counts(40).tolist() == np.bincount(items, minlength=40).tolist()
    # The windows of the first user begin at 10 to 14: item 12 is in three of five.
    expected = np.zeros(40)
    expected[10:18] = np.array([1, 2, 3, 4, 4, 3, 2, 1]) / 5
    expected[[20, 21, 30, 31, 32, 33]] = 1
    np.testing.assert_allclose(RandomWindows(LONG).candidate_counts(40), expected)


def test_random_windows_hold_what_they_are_expected_to_hold() -> None:
    """As many users of each kind, in one epoch."""
    rows = RandomWindows(training([[*range(8)], [8, 9], [*range(10, 15)]] * 2000, 15, positions=3))
    drawn = rows.in_epoch(0, 1)
    np.testing.assert_allclose(drawn.candidate_counts(15) / 2000, rows.candidate_counts(15) / 2000, atol=0.05)


def test_counting_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five items at most, but of a longer row at once; rows without items too."""
    lengths = np.array([0, 3, 1, 9, 0, 2, 2, 2, 0])
    histories = Histories(np.cumsum([0, *lengths]), np.arange(19, dtype=np.int32) % 7)
    starts, stops = histories.offsets[:-1], histories.offsets[1:]
    whole = occurrences_in(histories, starts, stops, 8)
    random = RandomWindows(LONG).candidate_counts(40)
    monkeypatch.setattr(training_data, "_AT_ONCE", 5)
    parts = [(part.start, part.stop) for part in training_data.pieces(lengths)]
    assert parts == [(0, 3), (3, 4), (4, 7), (7, 9)]
    assert occurrences_in(histories, starts, stops, 8).tolist() == whole.tolist() == [3, 3, 3, 3, 3, 2, 2, 0]
    assert RandomWindows(LONG).candidate_counts(40).tolist() == random.tolist()
