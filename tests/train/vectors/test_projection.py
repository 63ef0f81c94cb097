from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

from small.data.caches import flip_bit
from small.train.runs import make_cache, make_dataset
from tcf.common.errors import CacheError, ConfigError, RunError
from tcf.config.train import TrainConfig
from tcf.train.vectors import cache_rows as sources_module
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.fit_projection import Statistics, fit_projections, principal_axes, vector_statistics
from tcf.train.vectors.projection import Projection, Transform, projections_from, write_projections

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")
V = 6
# Items 3 and 7 have the text of item 0; items 8 and 9 occur in no training.
TEXTS = ["a", "b", "c", "a", "d", "e", "f", "a", "g", "h"]
TRAINED = np.arange(8)
TEXT_OF_ITEM = np.array([0, 1, 2, 0, 3, 4, 5, 0, 6, 7])


def made(folder: Path, vectors: npt.NDArray[np.floating], name: str = "cache") -> ItemSources:
    dataset = make_dataset(folder, [[0, 1, 2]], TEXTS, name=f"data-{name}")
    return ItemSources.find([make_cache(folder, dataset, vectors, name=name)], dataset)


def random_vectors(rows: int = 8, seed: int = 0) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, V)) @ rng.normal(size=(V, V)) + rng.normal(size=V) * 5
    return mixed.astype(np.float32)


def fit(found: ItemSources, items: Sequence[int] | npt.NDArray[np.int64] = TRAINED, **settings: Any) -> Projection:
    (projection,) = fit_projections(found, np.asarray(items), TrainConfig(**settings), CPU)
    assert projection is not None
    return projection


def reference(trained: Floats, all_vectors: Floats, width: int, epsilon: float | None) -> Floats:
    """Principal components by NumPy's covariance and eigenvectors, in float64; signs are as they come."""
    covariance = np.cov(trained, rowvar=False)
    variances, axes = np.linalg.eigh(covariance)
    order = np.argsort(-variances)[:width]
    projected = (all_vectors - trained.mean(axis=0)) @ axes[:, order]
    if epsilon is None:
        return np.asarray(projected)
    return np.asarray(projected / np.sqrt(variances[order] + epsilon * variances.mean()))


def same_but_for_signs(mine: Floats, theirs: Floats, atol: float) -> None:
    signs = np.sign((mine * theirs).sum(axis=0))
    np.testing.assert_allclose(mine, theirs * signs, atol=atol)


@pytest.mark.parametrize("settings", [{"pca": 3}, {"pca": 5}, {"whiten": 4}, {"whiten": 2, "whiten_epsilon": 0.3}])
def test_projections_equal_numpy(settings: dict[str, Any], tmp_path: Path) -> None:
    """Statistics are over the training items, each once, so a text of three items counts three times."""
    vectors = random_vectors()
    found = made(tmp_path, vectors)
    projection = fit(found, **settings)
    all_items = vectors[TEXT_OF_ITEM]
    mine = Transform(projection, False)(torch.from_numpy(all_items))
    assert mine.dtype == torch.float32
    epsilon = settings.get("whiten_epsilon", 1e-5) if "whiten" in settings else None
    width = int(settings.get("whiten", settings.get("pca", 0)))
    expected = reference(all_items[TRAINED].astype(float), all_items.astype(float), width, epsilon)
    same_but_for_signs(mine.double().numpy(), expected, atol=2e-5)


def test_many_items_in_parts_are_added_up_like_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part holds at least 256 vectors, so 1,000 make several; the means of the parts differ."""
    rng = np.random.default_rng(1)
    vectors = (rng.normal(size=(1000, V)) + np.linspace(-40, 40, 1000)[:, None]).astype(np.float16)
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(1000)])
    found = ItemSources.find([make_cache(tmp_path, dataset, vectors)], dataset)
    monkeypatch.setattr(sources_module, "_NUMBERS_AT_ONCE", 1)
    weights = rng.integers(0, 3, 1000)
    statistics = vector_statistics(found.sources[0], weights, CPU)
    repeated = np.repeat(vectors[found.sources[0].items_R], weights, axis=0).astype(np.float64)
    np.testing.assert_allclose(statistics.mean_V, repeated.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance_VV, np.cov(repeated, rowvar=False), rtol=1e-11)
    assert statistics.distinct == (weights > 0).sum()


def test_whitened_training_items_have_the_identity_as_their_covariance(tmp_path: Path) -> None:
    vectors = random_vectors()
    projection = fit(made(tmp_path, vectors), whiten=4, whiten_epsilon=0)
    trained = torch.from_numpy(vectors[TEXT_OF_ITEM[TRAINED]])
    whitened = Transform(projection, False)(trained).double().numpy()
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.eye(4), atol=1e-4)


def test_axes_point_the_same_way_whatever_the_solver_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path, random_vectors())
    one = fit(found, pca=3)
    eigh = np.linalg.eigh

    def turned(matrix: Floats) -> tuple[Floats, Floats]:
        variances, axes = eigh(matrix)
        return variances, -axes

    monkeypatch.setattr(np.linalg, "eigh", turned)
    assert torch.equal(fit(found, pca=3).map_VD, one.map_VD)
    largest = one.map_VD.abs().argmax(dim=0)
    assert (one.map_VD[largest, torch.arange(3)] > 0).all()


def test_items_of_no_training_have_no_say(tmp_path: Path) -> None:
    vectors = random_vectors()
    one = fit(made(tmp_path, vectors), whiten=3)
    vectors[6:] = 1000
    other = fit(made(tmp_path, vectors, name="other"), whiten=3)
    assert torch.equal(one.map_VD, other.map_VD)
    assert torch.equal(one.mean_V, other.mean_V)


def test_each_cache_has_its_own_projection(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], TEXTS)
    one, other = random_vectors(), random_vectors(seed=1)
    caches = [make_cache(tmp_path, dataset, one), make_cache(tmp_path, dataset, other, name="b", pooling="first")]
    config = TrainConfig(pca=2)
    both = fit_projections(ItemSources.find(caches, dataset), TRAINED, config, CPU)
    for cache, projection in zip(caches, both, strict=True):
        (alone,) = fit_projections(ItemSources.find([cache], dataset), TRAINED, config, CPU)
        assert alone is not None and projection is not None
        torch.testing.assert_close(projection.map_VD, alone.map_VD)
        torch.testing.assert_close(projection.mean_V, alone.mean_V)
    assert fit_projections(ItemSources.find(caches, dataset), TRAINED, TrainConfig(), CPU) == [None, None]


@pytest.mark.parametrize(
    ("settings", "items", "message"),
    [
        ({"whiten": 7}, TRAINED, r"--whiten: expected at most 6, the width of the vectors of .*cache, found 7"),
        ({"pca": 100}, TRAINED, r"--pca: expected at most 6, the width"),
        # Five items of three texts lie in a plane.
        ({"pca": 3}, [0, 1, 2, 3, 7], r"--pca: expected at most 2, because .* the 5 training items .* found 3"),
        ({"whiten": 1}, [0, 3], r"--whiten: expected at most 0, because .* the 2 training items"),
    ],
)
def test_more_dimensions_than_there_are(
    settings: dict[str, Any], items: Sequence[int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(made(tmp_path, random_vectors()), items, **settings)


def test_the_dimensions_of_vectors_of_low_rank_are_counted(tmp_path: Path) -> None:
    """Rounding gives the other dimensions a little variance, which is no dimension to whiten."""
    rng = np.random.default_rng(0)
    vectors = (rng.integers(-5, 5, (8, 2)) @ rng.integers(-5, 5, (2, V)) + 1000).astype(np.float32)
    found = made(tmp_path, vectors)
    assert fit(found, whiten=2).map_VD.shape == (V, 2)
    with pytest.raises(ConfigError, match="--whiten: expected at most 2"):
        fit(found, whiten=3)


def test_a_number_that_is_not_finite_is_refused_before_it_spoils_the_statistics(tmp_path: Path) -> None:
    vectors = random_vectors()
    vectors[2, 1] = np.nan
    with pytest.raises(CacheError, match=r"vector of item i2; run `tcf extract` again with --repair"):
        fit(made(tmp_path, vectors), pca=2)


def test_large_numbers_do_not_overflow(tmp_path: Path) -> None:
    """A dimension of 24,176 in float16 is past float16's range when squared, and hides small differences in others."""
    vectors = random_vectors().astype(np.float16)
    vectors[:, 0] = 24176
    vectors[::2, 0] -= 16
    found = made(tmp_path, vectors)
    trained = vectors[TEXT_OF_ITEM[TRAINED]]
    asked: tuple[tuple[dict[str, Any], float | None], ...] = (({"whiten": 4}, 1e-5), ({"pca": 4}, None))
    for settings, epsilon in asked:
        mine = Transform(fit(found, **settings), False)(torch.from_numpy(trained)).double().numpy()
        expected = reference(trained.astype(float), trained.astype(float), 4, epsilon)
        same_but_for_signs(mine, expected, atol=2e-4)
    lengths = Transform(None, True)(torch.from_numpy(trained)).double().norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(8, dtype=torch.float64), atol=1e-6, rtol=0)


def test_length_1_by_hand() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2e38, 0.0], [3e38, 3e38], [1e-40, 0.0]])
    root = 2**-0.5
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0], [root, root], [1.0, 0.0]])
    torch.testing.assert_close(Transform(None, True)(vectors), expected)
    assert Transform(None, True)(vectors[:2].half()).dtype == torch.float32


def test_length_1_comes_after_the_projection() -> None:
    projection = Projection(torch.tensor([1.0, 1.0], dtype=torch.float64), torch.tensor([[2.0], [0.0]]))
    vectors = torch.tensor([[4.0, 9.0], [0.0, 1.0]])
    assert Transform(projection, False)(vectors).tolist() == [[6.0], [-2.0]]
    assert Transform(projection, True)(vectors).tolist() == [[1.0], [-1.0]]


def test_nothing_is_done_without_either() -> None:
    vectors = torch.ones(2, 3, dtype=torch.float16)
    transform = Transform(None, False)
    assert transform(vectors) is vectors
    assert (transform.width(3), transform.dtype(torch.float16)) == (3, torch.float16)


def test_a_transform_is_exact_within_autocast() -> None:
    rng = np.random.default_rng(0)
    projection = Projection(torch.zeros(64, dtype=torch.float64), torch.from_numpy(rng.normal(size=(64, 8))).float())
    vectors = torch.from_numpy(rng.normal(size=(5, 64)))
    plain = Transform(projection, True)(vectors)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Transform(projection, True)(vectors), plain)


def test_what_was_fitted_is_read_back_to_the_bit(tmp_path: Path) -> None:
    found = made(tmp_path, random_vectors())
    fitted = {"cache": fit(found, whiten=3), "cache.2": fit(found, pca=2)}
    write_projections(tmp_path / "file", fitted)
    assert set(safetensors.torch.load_file(tmp_path / "file")) == {
        "cache.mean",
        "cache.map",
        "cache.2.mean",
        "cache.2.map",
    }
    read = projections_from(tmp_path / "file")
    assert set(read) == set(fitted)
    for role, projection in fitted.items():
        assert torch.equal(read[role].mean_V, projection.mean_V) and read[role].mean_V.dtype == torch.float64
        assert torch.equal(read[role].map_VD, projection.map_VD)
    whole = (tmp_path / "file").read_bytes()
    flip_bit(tmp_path / "file", len(whole) - 1)
    with pytest.raises(RunError, match=r"file: unreadable \(damaged, or not written by tcf\)"):
        projections_from(tmp_path / "file")
    (tmp_path / "file").write_bytes(whole[:-10])
    with pytest.raises(RunError, match=rf"file: unreadable .* remove {tmp_path} and run `tcf train` again"):
        projections_from(tmp_path / "file")


def test_there_are_never_as_many_dimensions_as_different_vectors() -> None:
    """Rounding may leave a variance where there is none; 3 vectors lie in a plane all the same."""
    variances, axes = principal_axes(Statistics(np.zeros(4), np.diag([1.0, 4.0, 2.0, 3.0]), distinct=3))
    assert variances.tolist() == [4.0, 3.0]
    assert axes.T.tolist() == [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
