from pathlib import Path

import numpy as np
import pytest

from small_models import save_dataset
from tcf.data import Dataset
from tcf.errors import ModelError
from tcf.extract.store import to_storage

TEXTS = ["zero", "one", "two", "three"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)


def test_float32_is_kept(dataset: Dataset) -> None:
    vectors = np.array([[1e30, -0.1]], np.float32)
    stored = to_storage(vectors, "float32", dataset=dataset, items=np.array([2]))
    assert stored.dtype == np.float32
    assert (stored == vectors).all()


def test_float16_rounds_to_the_nearest(dataset: Dataset) -> None:
    vectors = np.array([[0.1, 65_504.0, -65_504.0, 1e-9, 0.0]], np.float32)
    stored = to_storage(vectors, "float16", dataset=dataset, items=np.array([0]))
    assert stored.dtype == np.float16
    # The float16 next to 0.1 is 1638 / 2^14.
    assert stored.tolist() == [[1638 / 16384, 65_504.0, -65_504.0, 0.0, 0.0]]


@pytest.mark.parametrize("value", [65_505.0, -1e6, 65_519.0])
def test_what_does_not_fit_float16_names_the_item_and_the_way_out(dataset: Dataset, value: float) -> None:
    vectors = np.array([[1, 2], [value, 0], [3, value]], np.float32)
    with pytest.raises(ModelError) as caught:
        to_storage(vectors, "float16", dataset=dataset, items=np.array([3, 1, 2]))
    message = str(caught.value)
    assert f"{dataset.path}: item i1 ('one') and 1 more: a value of {abs(value):.3g} does not fit float16" in message
    assert "--storage float32" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_what_is_not_finite_names_the_item(dataset: Dataset, value: float, storage: str) -> None:
    vectors = np.array([[1, 2], [3, value]], np.float32)
    with pytest.raises(ModelError, match=r"item i3 \('three'\): the language model gave a value that is not finite"):
        to_storage(vectors, storage, dataset=dataset, items=np.array([0, 3]))  # type: ignore[arg-type]


def test_no_vectors(dataset: Dataset) -> None:
    none = np.zeros((0, 3), np.float32)
    assert to_storage(none, "float16", dataset=dataset, items=np.zeros(0, np.int64)).shape == (0, 3)
