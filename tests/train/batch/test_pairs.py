"""Pairs of a user and an item: which there are, what the model reads for them, and what is masked."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from small.train.losses import training_of
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.rows import ChosenRows

Reads = Literal["nothing", "all", "earlier"]
# Two items of a history are read; user 3's has seven training items, user 8's one, user 9's two.
DATA = training_of(np.array([3, 8, 9]), [[10, 11, 12, 10, 14, 15, 16], [20], [30, 31]], 40, positions=2)


def pairs(rows: PairRows) -> ChosenRows:
    return rows.choose(np.arange(len(rows)))


def marked(chosen: ChosenRows, marks: npt.NDArray[np.bool_]) -> list[list[int]]:
    """The marked items of each row."""
    return [chosen.sequences.items[marks & (chosen.owners_S == row)].tolist() for row in range(len(chosen.sequences))]


def test_every_training_interaction_is_a_pair_however_many_items_the_model_reads() -> None:
    chosen = pairs(PairRows(DATA, "nothing"))
    assert chosen.users_B.tolist() == [3] * 7 + [8] + [9] * 2
    assert chosen.sequences.items[chosen.target_S].tolist() == [10, 11, 12, 10, 14, 15, 16, 20, 30, 31]
    assert not chosen.read_S.any()


def test_all_other_training_items_of_the_user_are_masked() -> None:
    """Not only those of a window: the items of a user are never negatives of that user."""
    chosen = pairs(PairRows(DATA, "nothing"))
    masked = marked(chosen, chosen.masked_S)
    assert masked[0] == [11, 12, 14, 15, 16] and masked[6] == [10, 11, 12, 10, 14, 15]
    assert masked[7:] == [[], [31], [30]]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        # Three items around the target, less the target wherever it is.
        ("all", [[11, 12], [10, 12], [11, 10], [12, 14], [10, 15], [14, 16], [14, 15], [], [31], [30]]),
        # Not the first of each user; then one or two items, whatever they are.
        ("earlier", [[10], [10, 11], [11, 12], [12, 10], [10, 14], [14, 15], [30]]),
    ],
)
def test_what_a_tower_of_histories_reads(reads: Reads, expected: Sequence[Sequence[int]]) -> None:
    rows = PairRows(DATA, reads)
    chosen = pairs(rows)
    read = marked(chosen, chosen.read_S)
    assert (len(rows), rows.n_targets) == (len(expected), len(expected))
    assert read == expected
    assert chosen.target_S.sum() == len(expected)


def test_an_earlier_place_of_the_target_is_read_as_in_evaluation() -> None:
    rows = PairRows(training_of(np.array([0]), [[1, 2, 1]], 3, positions=5), "earlier")
    chosen = rows.choose(np.array([1]))
    assert marked(chosen, chosen.read_S) == [[1, 2]]
    assert marked(chosen, chosen.target_S) == [[1]] and marked(chosen, chosen.masked_S) == [[2]]


@pytest.mark.parametrize("reads", ["nothing", "all", "earlier"])
def test_the_counts_of_candidates_are_those_of_the_pairs(reads: Reads) -> None:
    rows = PairRows(DATA, reads)
    chosen = pairs(rows)
    targets = chosen.sequences.items[chosen.candidate_S]
    assert rows.candidate_counts(40).tolist() == np.bincount(targets, minlength=40).tolist()


@pytest.mark.parametrize("reads", ["nothing", "all", "earlier"])
def test_rows_in_any_order_are_those_rows(reads: Reads) -> None:
    rows = PairRows(DATA, reads)
    whole, some = pairs(rows), rows.choose(np.array([4, 0, 5, 4]))
    for of_whole, of_some in ((whole.target_S, some.target_S), (whole.read_S, some.read_S)):
        every = marked(whole, of_whole)
        assert marked(some, of_some) == [every[row] for row in (4, 0, 5, 4)]
