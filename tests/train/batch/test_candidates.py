"""What is drawn, how often, and for whom."""

import numpy as np
import numpy.typing as npt
import pytest

from small.train.runs import csr
from tcf.common.errors import DataError
from tcf.train.batch.candidates import AllItems, OwnItems, PerBatch, PerTarget

ITEMS = np.array([1, 3, 4, 7, 8])
SEQUENCES = csr([[3, 3], [7, 1, 8], [4]])
ROWS = np.array([0, 1, 1, 2])


def squared_distance(counts: npt.NDArray[np.int64], expected: npt.NDArray[np.float64]) -> float:
    """Pearson's chi-square."""
    return float(((counts - expected) ** 2 / expected).sum())


def test_the_batch_alone_and_all_items() -> None:
    generator = np.random.default_rng(0)
    assert not len(OwnItems().draw(SEQUENCES, ROWS, generator).items)
    drawn = AllItems(ITEMS).draw(SEQUENCES, ROWS, generator)
    assert drawn.constant and drawn.items.tolist() == ITEMS.tolist()


def test_items_for_a_batch_are_drawn_by_their_chances() -> None:
    chances = np.array([0.5, 0.25, 0.0, 0.2, 0.05])
    drawn = PerBatch.build(ITEMS, chances, 40_000).draw(SEQUENCES, ROWS, np.random.default_rng(0))
    counts = np.bincount(drawn.items, minlength=9)
    assert drawn.items.shape == (40_000,) and not drawn.constant
    assert counts[ITEMS].sum() == 40_000 and counts[4] == 0
    drawable = chances > 0
    # 3 degrees of freedom: more than 16.3 once in a thousand draws.
    assert squared_distance(counts[ITEMS][drawable], 40_000 * chances[drawable]) < 16.3


def test_items_for_a_target_are_alike_likely_and_none_of_its_row() -> None:
    """Every item of the catalogue, whether it occurs in training or not."""
    drawn = PerTarget(9, 20_000).draw(SEQUENCES, ROWS, np.random.default_rng(0))
    assert drawn.items.shape == (4, 20_000)
    for target, row in enumerate(ROWS):
        left = np.setdiff1d(np.arange(9), SEQUENCES.of(row))
        counts = np.bincount(drawn.items[target], minlength=9)
        assert counts[left].sum() == 20_000
        # At most 7 degrees of freedom: more than 24.3 once in a thousand draws.
        assert squared_distance(counts[left], np.full(len(left), 20_000 / len(left))) < 24.3
    assert not np.array_equal(drawn.items[1], drawn.items[2])


def test_the_only_item_left_is_found_in_a_large_catalogue() -> None:
    items = np.arange(5_000)
    sequences = csr([np.delete(items, 2_777).tolist(), [0]])
    drawn = PerTarget(5_000, 3).draw(sequences, np.array([0, 1]), np.random.default_rng(0))
    assert drawn.items[0].tolist() == [2_777] * 3
    assert (drawn.items[1] > 0).all()


def test_no_item_left_is_refused() -> None:
    sequences = csr([[1, 3], [4, 2, 3, 1, 0, 0]])
    with pytest.raises(DataError, match="a user with all 5 items of the catalogue"):
        PerTarget(5, 1).draw(sequences, np.array([0, 1]), np.random.default_rng(0))
    # A row that has everything harms nobody while none of its items is a target.
    assert PerTarget(5, 1).draw(sequences, np.array([0]), np.random.default_rng(0)).items.shape == (1, 1)


def test_draws_follow_from_the_generator_alone() -> None:
    for candidates in (PerBatch.build(ITEMS, np.full(5, 0.2), 30), PerTarget(9, 30)):
        first, again, other = (
            candidates.draw(SEQUENCES, ROWS, np.random.default_rng(seed)).items for seed in (1, 1, 2)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
