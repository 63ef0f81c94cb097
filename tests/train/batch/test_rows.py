"""What the items of a row are there for, by hand, and what training sees of a dataset."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from small.train.runs import csr
from tcf.common.errors import DataError
from tcf.config.train import TrainConfig
from tcf.data.dataset import Histories
from tcf.data.split import leave_one_out
from tcf.train.batch.rows import PairRows, UserRows
from tcf.train.batch.training_data import TrainingData, trained_users

# Users 2, 5 and 6 of all; the first has item 7 twice.
DATA = TrainingData(csr([[7, 3, 7], [3, 9], [4, 4]]), np.array([2, 5, 6]), np.bincount([7, 3, 7, 3, 9, 4, 4]), 4, 4)


def as_lists(histories: Histories) -> list[list[int]]:
    return [histories.of(user).tolist() for user in range(len(histories))]


def marked(marks: npt.NDArray[np.bool_]) -> str:
    return "".join("x" if mark else "." for mark in marks)


def test_users_by_hand() -> None:
    rows = UserRows(DATA)
    assert (len(rows), rows.n_targets) == (3, 4)
    chosen = rows.choose(np.array([1, 0]))
    assert chosen.users_B.tolist() == [5, 2]
    assert as_lists(chosen.sequences) == [[3, 9], [7, 3, 7]]
    assert marked(chosen.read_S) == "x." + "xx."
    assert marked(chosen.target_S) == ".x" + ".xx"
    assert marked(chosen.candidate_S) == marked(chosen.masked_S) == "xxxxx"


@pytest.mark.parametrize("reads_history", [False, True])
def test_pairs_by_hand(reads_history: bool) -> None:
    rows = PairRows(DATA, reads_history)
    assert (len(rows), rows.n_targets) == (7, 7)
    # The last 7 of user 2, user 5's 3, user 2's 3, the first 4 of user 6.
    chosen = rows.choose(np.array([2, 3, 1, 5]))
    assert chosen.users_B.tolist() == [2, 5, 2, 6]
    assert as_lists(chosen.sequences) == [[7, 3, 7], [3, 9], [7, 3, 7], [4, 4]]
    assert marked(chosen.target_S) == marked(chosen.candidate_S) == "..x" + "x." + ".x." + "x."
    # Every place of the target is left out of what is masked, and of what is read.
    assert marked(chosen.masked_S) == ".x." + ".x" + "x.x" + ".."
    assert marked(chosen.read_S) == (marked(chosen.masked_S) if reads_history else "." * 10)


def test_every_pair_is_a_row() -> None:
    chosen = PairRows(DATA, reads_history=False).choose(np.arange(7))
    assert chosen.sequences.items[chosen.target_S].tolist() == DATA.sequences.items.tolist()
    assert chosen.users_B.tolist() == [2, 2, 2, 5, 5, 6, 6]


def test_training_data_by_hand() -> None:
    data = TrainingData.build(leave_one_out(csr([[0, 1, 2, 3, 4, 5], [1, 2, 0], [1, 0, 3, 4]])), 6, positions=2)
    # Without the last two: [0, 1, 2, 3], [1], [1, 0]; the latest three are used; user 1 has no target.
    assert as_lists(data.sequences) == [[1, 2, 3], [1, 0]]
    assert data.users.tolist() == [0, 2]
    assert data.left_out == 1
    # All training items count, whether they are used as inputs or not: 0 twice, 1 three times, 2 and 3 once, of 7.
    np.testing.assert_allclose(np.exp(data.log_popularity), np.array([2, 3, 1, 1, 0, 0]) / 7, rtol=1e-6)
    assert data.items.tolist() == [0, 1, 2, 3]


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(DataError, match="expected users with at least two training items"):
        TrainingData.build(leave_one_out(csr([[0, 1, 2], [1, 2, 0]])), 3, 5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"backbone": "dssm"}, [True, False, True, False]),
        ({"backbone": "dssm", "user_tower": "history"}, [True] * 4),
        ({"backbone": "sasrec"}, [True] * 4),
    ],
)
def test_only_a_table_of_users_leaves_users_untrained(settings: dict[str, Any], expected: list[bool]) -> None:
    """Without the last two items, users 1 and 3 have nothing to learn from, user 2 one item."""
    split = leave_one_out(csr([[0, 1, 2, 3], [1, 2], [2, 0, 1], [3]]))
    assert trained_users(split, TrainConfig(items="id", **settings)).tolist() == expected
