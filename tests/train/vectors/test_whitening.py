"""Forms of whitening, against float64 algebra that needs no principal axes.

With S the covariance of the training items' vectors and m its mean variance, whitening with shrinkage E gives vectors
of covariance S (S + E m)^-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.linalg import block_diag

from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.train.vectors.cache_rows import ItemSources, VectorSource
from tcf.train.vectors.fit_projection import fit_projections
from tcf.train.vectors.projection import Projection, Transform, projections_from, write_projections

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")
V = 6
# The last two items occur in no training; the seven others have five texts, which differ in four dimensions.
TEXT_OF_ITEM = np.array([0, 1, 2, 0, 3, 4, 1, 5, 6])
TRAINED = np.arange(7)


def vectors(width: int = V) -> npt.NDArray[np.float32]:
    """Seven texts' vectors, whose dimensions are correlated and far from zero."""
    rng = np.random.default_rng(3)
    found = rng.normal(size=(7, width)) @ rng.normal(size=(width, width)) + 4 * rng.normal(size=width)
    return found.astype(np.float32)


@dataclass(frozen=True)
class InMemory(VectorSource):
    """Vectors as of a cache, without its files."""

    given: npt.NDArray[np.float32] = field(default_factory=vectors)

    def read(self, places_U: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
        return torch.from_numpy(self.given[places_U]).to(device)


def found_of(given: npt.NDArray[np.float32]) -> ItemSources:
    cache: Any = SimpleNamespace(path=Path("the-cache"), width=given.shape[1])
    dataset: Any = None
    rows = np.arange(len(given))
    return ItemSources((InMemory(cache, rows, dataset, rows, given),), TEXT_OF_ITEM)


def fit(found: ItemSources, items: Sequence[int] | npt.NDArray[np.int64] = TRAINED, **settings: Any) -> Projection:
    (projection,) = fit_projections(found, np.asarray(items), TrainConfig(**settings), CPU)
    assert projection is not None
    return projection


def of_form(form: str, epsilon: float = 1e-5) -> dict[str, Any]:
    return {"whiten_form": form, "whiten_epsilon": epsilon}


def mapped(projection: Projection, given: npt.NDArray[np.float32]) -> Floats:
    """The transformed vectors of the training items."""
    trained = torch.from_numpy(given[TEXT_OF_ITEM[TRAINED]])
    return np.asarray(Transform(projection, False)(trained).double().numpy())


def covariance(given: npt.NDArray[np.floating[Any]]) -> Floats:
    """That of the training items, each of which counts."""
    return np.asarray(np.cov(given[TEXT_OF_ITEM[TRAINED]].astype(np.float64), rowvar=False))


def shrunk(covariances: Floats, epsilon: float) -> Floats:
    """S (S + E m)^-1."""
    mean_variance = np.trace(covariances) / len(covariances)
    regular = covariances + epsilon * mean_variance * np.eye(len(covariances))
    return np.asarray(np.linalg.solve(regular, covariances))


@pytest.mark.parametrize("epsilon", [0.03, 1.0])
def test_components_keep_the_variance_that_the_formula_says(epsilon: float) -> None:
    """A component of variance s^2 gets s^2 / (s^2 + E m), and is uncorrelated with the others."""
    given = vectors()
    variances = np.sort(np.linalg.eigvalsh(covariance(given)))[::-1][:4]
    expected = variances / (variances + epsilon * np.trace(covariance(given)) / V)
    for wanted in (3, "full"):
        whitened = mapped(fit(found_of(given), whiten=wanted, whiten_epsilon=epsilon), given)
        kept = 4 if wanted == "full" else 3
        np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.diag(expected[:kept]), atol=1e-5)


def test_full_is_as_many_dimensions_as_there_are() -> None:
    """Five different vectors lie in four dimensions; asking for four is the same, for five an error that says so."""
    found = found_of(vectors())
    full, four = fit(found, whiten="full"), fit(found, whiten=4)
    assert torch.equal(full.map_VD, four.map_VD) and torch.equal(full.mean_V, four.mean_V)
    assert (full.components, four.components) == (4, None)
    with pytest.raises(ConfigError, match=r"--whiten: expected at most 4, .* found 5; .* or full for as many as there"):
        fit(found, whiten=5)
    with pytest.raises(ConfigError, match=r"--whiten: expected at most 6, the width .* found 8; .*, or full"):
        fit(found, whiten=8)
    with pytest.raises(ConfigError, match=r"--pca: expected at most 4, .* found 5; pass a smaller one$"):
        fit(found, pca=5)


@pytest.mark.parametrize("epsilon", [0.03, 1.0])
def test_zca_is_the_symmetric_root(epsilon: float) -> None:
    """The only symmetric map without negative axes whose square is (S + E m)^-1 where vectors differ, 0 elsewhere."""
    given = vectors()
    projection = fit(found_of(given), whiten="full", whiten_form="zca", whiten_epsilon=epsilon)
    root_VV, found = projection.map_VD.double().numpy(), covariance(given)
    assert (root_VV.shape, projection.components) == ((V, V), 4)
    np.testing.assert_allclose(root_VV, root_VV.T, atol=1e-6)
    assert np.linalg.eigvalsh(root_VV).min() > -1e-6
    np.testing.assert_allclose(root_VV @ root_VV @ found, shrunk(found, epsilon), atol=1e-5)
    np.testing.assert_allclose(root_VV @ np.linalg.pinv(found, rcond=1e-9) @ found, root_VV, atol=1e-5)
    np.testing.assert_allclose(np.cov(mapped(projection, given), rowvar=False), shrunk(found, epsilon), atol=1e-5)


@pytest.mark.parametrize("wanted", [2, "full"])
def test_zca_is_pca_turned_back(wanted: Any) -> None:
    found, kept = found_of(vectors()), 4 if wanted == "full" else wanted
    axes_VK = fit(found, pca=kept).map_VD.double()
    whitened_VK = fit(found, whiten=wanted, whiten_epsilon=0.1).map_VD.double()
    back_VV = fit(found, whiten=wanted, whiten_form="zca", whiten_epsilon=0.1).map_VD.double()
    torch.testing.assert_close(back_VV, whitened_VK @ axes_VK.T, atol=1e-6, rtol=1e-5)
    assert np.linalg.matrix_rank(back_VV.numpy(), tol=1e-4) == kept


@pytest.mark.parametrize("form", ["pca", "zca"])
@pytest.mark.parametrize(("wanted", "each"), [("full", "full"), (4, 2)])
def test_each_group_is_whitened_as_if_it_were_alone(form: str, wanted: Any, each: Any) -> None:
    """Three dimensions and three: blocks, each fitted to a cache that has these dimensions only."""
    given, settings = vectors(), of_form(form, 0.2)
    projection = fit(found_of(given), whiten=wanted, whiten_groups=2, **settings)
    halves = [given[:, :3].copy(), given[:, 3:].copy()]
    blocks = [fit(found_of(half), whiten=each, **settings).map_VD for half in halves]
    np.testing.assert_allclose(projection.map_VD, block_diag(*blocks), atol=1e-6, rtol=1e-5)
    assert projection.components == (6 if wanted == "full" else None) and projection.forms == 1


def test_groups_are_whitened_and_remain_correlated() -> None:
    given = vectors()
    projection = fit(found_of(given), whiten="full", whiten_groups=3, whiten_form="zca", whiten_epsilon=0.1)
    after, before = np.cov(mapped(projection, given), rowvar=False), covariance(given)
    for first in (0, 2, 4):
        part = slice(first, first + 2)
        np.testing.assert_allclose(after[part, part], shrunk(before[part, part], 0.1), atol=1e-5)
    assert np.abs(after[:2, 2:]).max() > 0.1


def test_both_forms_of_a_sum_are_those_that_each_has_alone() -> None:
    given, settings = vectors(), of_form("zca", 0.1)
    found = found_of(given)
    both = fit(found, whiten="full", whiten_groups=3, whiten_sum=True, **settings)
    whole, grouped = fit(found, whiten="full", **settings), fit(found, whiten="full", whiten_groups=3, **settings)
    assert torch.equal(both.map_VD, whole.map_VD) and (both.forms, both.components) == (2, 4)
    assert both.grouped_VD is not None and torch.equal(both.grouped_VD, grouped.map_VD)
    some = torch.from_numpy(given)
    for normalise in (False, True):
        side_by_side = torch.cat([Transform(one, normalise)(some) for one in (whole, grouped)], dim=1)
        assert torch.equal(Transform(both, normalise)(some), side_by_side)
    assert Transform(both, True).width(V) == V


@pytest.mark.parametrize("settings", [{}, {"whiten_groups": 2}, {"whiten_groups": 2, "whiten_sum": True}], ids=str)
def test_items_of_no_training_have_no_say(settings: dict[str, Any]) -> None:
    given = vectors()
    one = fit(found_of(given), whiten="full", whiten_form="zca", **settings)
    given[5:] = 1000
    assert one.equals(fit(found_of(given), whiten="full", whiten_form="zca", **settings))
    given[:1] = 1000
    assert not one.equals(fit(found_of(given), whiten="full", whiten_form="zca", **settings))


def test_a_group_in_which_nothing_differs_has_no_dimension() -> None:
    given = vectors()
    given[:, :2] = 7
    found = found_of(given)
    projection = fit(found, whiten="full", whiten_groups=3)
    assert projection.map_VD.shape == (V, 4) and not projection.map_VD[:2].any()
    assert not fit(found, whiten="full", whiten_groups=3, whiten_form="zca").map_VD[:, :2].any()


@pytest.mark.parametrize(
    ("settings", "items", "message"),
    [
        (
            {"whiten": 6, "whiten_groups": 2},
            [0, 1, 2],
            r"--whiten: expected at most 4, 2 for each of 2 groups, because .* the 3 training .* found 6; .* or full",
        ),
        (
            {"whiten": 4, "whiten_groups": 4},
            TRAINED,
            r"--whiten-groups: expected a divisor of 6, the width .*cache, .* found 4; pass another one, such as 3",
        ),
        ({"whiten": "full"}, [0, 3], r"--whiten full: .* the 2 training items in .*cache are all the same; leave"),
        ({"whiten": "full", "whiten_groups": 2}, [0, 3], r"--whiten full: .* are all the same"),
    ],
)
def test_what_cannot_be_whitened_is_refused(settings: dict[str, Any], items: Sequence[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(found_of(vectors()), items, **settings)


def test_the_group_of_fewest_dimensions_decides_how_many_there_are() -> None:
    """Of the groups 1, 2 and 3, the last has no dimension; the first is asked for more than it has as well."""
    given = vectors()
    given[:, 4:] = 7
    given[:, 1] = given[:, 0]
    with pytest.raises(ConfigError, match="--whiten: expected at most 0, 0 for each of 3 groups, .* found 6"):
        fit(found_of(given), whiten=6, whiten_groups=3)


def test_every_form_is_read_back_to_the_bit(tmp_path: Path) -> None:
    found, settings = found_of(vectors()), of_form("zca") | {"whiten_groups": 2}
    fitted = {
        "cache": fit(found, whiten="full", whiten_sum=True, **settings),
        "cache.2": fit(found, whiten=4, **settings),
        "cache.10": fit(found, whiten="full"),
    }
    write_projections(tmp_path / "file", fitted)
    read = projections_from(tmp_path / "file")
    assert read.keys() == fitted.keys()
    for role, projection in fitted.items():
        assert read[role].equals(projection)
        assert (read[role].forms, read[role].components) == (projection.forms, projection.components)
