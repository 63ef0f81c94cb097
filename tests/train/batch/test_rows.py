"""What the items of a row are there for, by hand, and what training sees of a dataset."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from small.train.losses import training_of
from small.train.runs import csr
from tcf.common.errors import DataError
from tcf.config.train import TrainConfig
from tcf.data.dataset import Histories
from tcf.data.split import leave_one_out
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.training_data import TrainingData, trained_users
from tcf.train.batch.windows import last_windows

# Users 2, 5 and 6 of all; the first has item 7 twice.
DATA = training_of(np.array([2, 5, 6]), [[7, 3, 7], [3, 9], [4, 4]], 10, positions=4)


def as_lists(histories: Histories) -> list[list[int]]:
    return [histories.of(user).tolist() for user in range(len(histories))]


def marked(marks: npt.NDArray[np.bool_]) -> str:
    return "".join("x" if mark else "." for mark in marks)


def test_users_by_hand() -> None:
    rows = last_windows(DATA)
    assert (len(rows), rows.n_targets) == (3, 4)
    chosen = rows.choose(np.array([1, 0]))
    assert chosen.users_B.tolist() == [5, 2]
    assert as_lists(chosen.sequences) == [[3, 9], [7, 3, 7]]
    assert marked(chosen.read_S) == "x." + "xx."
    assert marked(chosen.target_S) == ".x" + ".xx"
    assert marked(chosen.candidate_S) == marked(chosen.masked_S) == "xxxxx"


@pytest.mark.parametrize("reads", ["nothing", "all"])
def test_pairs_by_hand(reads: Literal["nothing", "all"]) -> None:
    rows = PairRows(DATA, reads)
    assert (len(rows), rows.n_targets) == (7, 7)
    # The last 7 of user 2, user 5's 3, user 2's 3, the first 4 of user 6.
    chosen = rows.choose(np.array([2, 3, 1, 5]))
    assert chosen.users_B.tolist() == [2, 5, 2, 6]
    assert as_lists(chosen.sequences) == [[7, 3, 7], [3, 9], [7, 3, 7], [4, 4]]
    assert marked(chosen.target_S) == marked(chosen.candidate_S) == "..x" + "x." + ".x." + "x."
    # Every place of the target is left out of what is masked, and of what is read.
    assert marked(chosen.masked_S) == ".x." + ".x" + "x.x" + ".."
    assert marked(chosen.read_S) == (marked(chosen.masked_S) if reads == "all" else "." * 10)


def test_every_pair_is_a_row() -> None:
    chosen = PairRows(DATA, reads="nothing").choose(np.arange(7))
    assert chosen.sequences.items[chosen.target_S].tolist() == DATA.histories.items.tolist()
    assert chosen.users_B.tolist() == [2, 2, 2, 5, 5, 6, 6]


def test_training_data_by_hand() -> None:
    data = TrainingData.build(leave_one_out(csr([[0, 1, 2, 3, 4, 5], [1, 2, 0], [1, 0, 3, 4]])), 6, positions=2)
    # Without the last two: [0, 1, 2, 3], [1], [1, 0]; user 1 has no target.
    assert as_lists(data.histories.slice(data.starts, data.stops)) == [[0, 1, 2, 3], [1, 0]]
    assert data.users.tolist() == [0, 2]
    assert data.left_out == 1
    # All training items count, those of users without a target too.
    assert data.counts.tolist() == [2, 3, 1, 1, 0, 0]
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
