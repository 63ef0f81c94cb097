import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.ranking import catalogue
from tcf.ranking.catalogue import Catalogue, ScoreRows


def test_equal_vectors_share_a_row_and_the_others_keep_their_order() -> None:
    vectors = np.array([[1, 0], [2, 0], [1, 0], [3, 0], [2, 0], [1, 0]], np.float32)
    built = Catalogue.build(vectors)
    assert built.rows.row_of_item.tolist() == [0, 1, 0, 2, 1, 0]
    assert built.rows.offsets.tolist() == [0, 3, 5, 6]
    assert built.rows.items.tolist() == [0, 2, 5, 1, 4, 3]
    assert built.rows.n_shared == 2
    assert built.rows.sizes.tolist() == [3, 2, 1]
    assert built.vectors_RD.tolist() == [[1, 0], [2, 0], [3, 0]]
    assert (built.n_items, built.width, built.rows.n_rows) == (6, 2, 3)


def test_shared_rows_come_before_rows_of_one_item() -> None:
    built = Catalogue.build(np.array([[5], [7], [6], [7]], np.float32))
    assert built.vectors_RD.ravel().tolist() == [7, 5, 6]
    assert built.rows.row_of_item.tolist() == [1, 0, 2, 0]


def test_negative_zero_equals_zero_and_neighbouring_floats_do_not() -> None:
    next_up = np.nextafter(np.float32(1), np.float32(2))
    built = Catalogue.build(np.array([[0.0, 1], [-0.0, 1], [0.0, next_up]], np.float32))
    assert built.rows.row_of_item.tolist() == [0, 0, 1]
    assert not np.signbit(built.vectors_RD).any()


def test_rows_agree_with_numpy_unique_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 5), dtype=np.float32)[rng.integers(0, 40, 200)]
    built = Catalogue.build(vectors)
    assert built.rows.n_rows == len(np.unique(vectors, axis=0))
    assert np.array_equal(built.vectors_RD[built.rows.row_of_item], vectors)
    for row in range(built.rows.n_rows):
        members = built.rows.items[built.rows.offsets[row] : built.rows.offsets[row + 1]]
        assert members.tolist() == np.flatnonzero(built.rows.row_of_item == row).tolist()


def test_a_collision_of_hashes_folds_nothing_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, seeds = catalogue._hashes, []

    def colliding(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.uint64]:
        seeds.append(seed)
        return np.zeros(len(vectors), np.uint64) if seed == 0 else honest(vectors, seed)

    monkeypatch.setattr(catalogue, "_hashes", colliding)
    built = Catalogue.build(np.array([[1], [2], [1]], np.float32))
    assert built.rows.row_of_item.tolist() == [0, 1, 0]
    assert seeds == [0, 1]


def test_one_each_numbers_rows_like_items() -> None:
    rows = ScoreRows.one_each(3)
    assert rows.row_of_item.tolist() == rows.items.tolist() == [0, 1, 2]
    assert (rows.n_items, rows.n_rows, rows.n_shared) == (3, 3, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_first_item_and_their_number(bad: float) -> None:
    vectors = np.ones((9000, 2), np.float32)
    vectors[[8500, 8700], 1] = bad
    with pytest.raises(RunError, match=r"item 8500: .* in 2 of 9000 vectors"):
        Catalogue.build(vectors)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0)])
def test_anything_but_a_matrix_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RunError, match="item vectors: expected a float32 matrix"):
        Catalogue.build(np.zeros(shape, np.float32))


def test_another_type_is_refused() -> None:
    with pytest.raises(RunError, match="found float64"):
        Catalogue.build(np.zeros((2, 2)))  # type: ignore[arg-type]
