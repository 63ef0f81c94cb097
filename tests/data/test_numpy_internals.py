"""What `tcf.data.numpy_internals` leans on is there in NumPy and behaves as tcf uses it."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tcf.data.numpy_internals import is_about_pickles


@pytest.mark.parametrize("content", ["not an array", "a pickle", "objects"])
def test_what_would_be_unpickled_is_known_by_a_word(tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.npy"
    match content:
        case "a pickle":
            file.write_bytes(pickle.dumps([1]))
        case "objects":
            np.save(file, np.array([{}], object), allow_pickle=True)
        case _:
            file.write_text("once upon a time")
    with pytest.raises(ValueError) as caught:
        np.load(file, allow_pickle=False)
    assert is_about_pickles(caught.value), (
        f"NumPy {np.__version__}: np.load no longer speaks of pickles but says {str(caught.value)!r}; "
        "tcf/data/numpy_internals.py keeps its advice to load them from users by that word"
    )


def test_other_errors_are_not_about_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(100))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    with pytest.raises(ValueError) as caught:
        np.load(tmp_path / "x.npy", allow_pickle=False)
    assert not is_about_pickles(caught.value)
