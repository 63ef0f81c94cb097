import pytest

from tcf.common.text_table import text_table


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_with_their_last_letter() -> None:
    rows = [["run", "state", "best"], ["a/very/long/name", "-", ""], ["b", "finished", "epoch 3"]]
    assert text_table(rows).splitlines() == [
        "run               state     best",
        "a/very/long/name  -",
        "b                 finished  epoch 3",
    ]


def test_padded_cells_stand_at_the_right_of_their_column() -> None:
    rows = [["ranking", f"{'users':>9}"], ["popularity", f"{12:>9}"]]
    assert text_table(rows, gap=" ").splitlines() == ["ranking        users", "popularity        12"]


def test_a_head_alone_is_a_table_and_a_row_that_lacks_a_cell_is_none() -> None:
    assert text_table([["a", "b"]]) == "a  b"
    with pytest.raises(ValueError, match="zip"):
        text_table([["a", "b"], ["c"]])
