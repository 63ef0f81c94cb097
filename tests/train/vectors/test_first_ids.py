"""Ids that start from texts: principal components of the training items' vectors, against NumPy in float64."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.train.runs import make_cache, make_dataset
from tcf.common.errors import CacheError, ConfigError
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.first_ids import first_ids

CPU = torch.device("cpu")
N, V = 40, 12
TEXTS = [f"text {i % 35}" for i in range(N)]  # the last five items have the texts of the first five
ITEMS = np.arange(3, 30)


def sources(folder: Path, vectors: npt.NDArray[Any]) -> ItemSources:
    dataset = make_dataset(folder, [[0, 1, 2]], TEXTS)
    return ItemSources.find([make_cache(folder, dataset, vectors)], dataset)


def reference(vectors_NV: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """By a singular value decomposition of the training items, in place of the covariance's eigenvectors."""
    mean_V = vectors_NV[ITEMS].mean(0)
    axes_KV = np.linalg.svd(vectors_NV[ITEMS] - mean_V)[2][:width]
    axes_KV = axes_KV * np.sign([axis[np.abs(axis).argmax()] for axis in axes_KV])[:, None]
    found_NK = (vectors_NV - mean_V) @ axes_KV.T
    return np.asarray(found_NK * math.sqrt(2 / (N + width)) / np.sqrt((found_NK**2).mean()))


@pytest.mark.parametrize("width", [5, 12])
def test_components_of_all_items_by_numpy(tmp_path: Path, width: int) -> None:
    """Statistics are those of the training items; all items start there; items of equal text are equal."""
    vectors = (np.random.default_rng(0).normal(size=(35, V)) @ np.diag(np.arange(1, V + 1)) + 3).astype(np.float32)
    found = first_ids(sources(tmp_path, vectors), ITEMS, width, CPU)
    expected = reference(vectors.astype(np.float64)[[i % 35 for i in range(N)]], width)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.double().square().mean().sqrt().item() == pytest.approx(math.sqrt(2 / (N + width)), rel=1e-6)
    assert torch.equal(found[35:], found[:5])


def test_fewer_dimensions_than_the_width(tmp_path: Path) -> None:
    """The scale is that of an id of the whole width, whose other numbers stay random."""
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(35, 3)) @ random.normal(size=(3, V))).astype(np.float64).astype(np.float32)
    found = first_ids(sources(tmp_path, vectors), ITEMS, 64, CPU)
    assert found.shape[0] == N and 3 <= found.shape[1] < 64
    assert found.double().square().mean().sqrt().item() == pytest.approx(math.sqrt(2 / (N + 64)), rel=1e-6)


def test_vectors_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--init-from: expected .* the vectors of the 27 training items differ"):
        first_ids(sources(tmp_path, np.ones((35, V), np.float32)), ITEMS, 4, CPU)


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(35, V)).astype(np.float32)
    vectors[33, 2] = np.inf  # of an item outside of training
    with pytest.raises(CacheError, match="found infinite or undefined ones in the vector of item i33"):
        first_ids(sources(tmp_path, vectors), ITEMS, 4, CPU)
