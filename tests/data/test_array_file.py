from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcf.data.npy_files import ArrayFile


@pytest.mark.parametrize("parts", [[], [0], [3], [1, 0, 4], [7, 100_000]])
@pytest.mark.parametrize(("row", "dtype"), [((), np.int64), ((4,), np.uint64), ((2, 3), np.float16)])
def test_the_file_is_that_of_one_save(tmp_path: Path, parts: list[int], row: tuple[int, ...], dtype: Any) -> None:
    arrays = [(np.arange(n * int(np.prod(row))) % 2048).reshape(n, *row).astype(dtype) for n in parts]
    with ArrayFile(tmp_path / "grown.npy", row, dtype) as file:
        for array in arrays:
            file.append(array)
    np.save(tmp_path / "saved.npy", np.concatenate([np.zeros((0, *row), dtype), *arrays]))
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_rows_need_not_be_contiguous(tmp_path: Path) -> None:
    table = np.arange(12.0).reshape(3, 4)
    with ArrayFile(tmp_path / "a.npy", (2,), np.float64) as file:
        file.append(table[:, 1:3])
    assert np.load(tmp_path / "a.npy").tolist() == [[1, 2], [5, 6], [9, 10]]


def test_rows_of_another_form_are_refused(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", (2,), np.float32) as file:
        for rows in (np.zeros((1, 3), np.float32), np.zeros((1, 2)), np.zeros(2, np.float32)):
            with pytest.raises(ValueError, match="expected rows of"):
                file.append(rows)
    assert np.load(tmp_path / "a.npy").shape == (0, 2)
