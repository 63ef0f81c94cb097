"""Fits a projection of cached vectors: principal components of the training items, optionally whitened.

Shapes: R distinct items of all caches, U vectors at a time, V width of a cached vector, D requested width, K rank.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.train.vectors.cache_rows import ItemSources, VectorSource
from tcf.train.vectors.projection import Projection

__all__ = ["Statistics", "fit_projections", "principal_axes", "vector_statistics"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Statistics of items' vectors.

    Attributes:
        mean_V: their mean, float64.
        covariance_VV: their unbiased covariance (divided by their number minus one), float64.
        distinct: number of different cache rows.
    """

    mean_V: Floats
    covariance_VV: Floats
    distinct: int


def fit_projections(
    found: ItemSources, items: npt.NDArray[np.int64], config: TrainConfig, device: torch.device
) -> list[Projection | None]:
    """Fit the requested projection to each cache.

    Args:
        found: the caches' rows.
        items: the items that occur in training, each once; validation and test items are not used.
        config: `whiten` or `pca`, or neither; `whiten_epsilon`.
        device: where to compute the sums.

    Returns:
        One projection per cache; None if none is requested.

    Raises:
        CacheError: a vector holds a number that is not finite.
        ConfigError: more dimensions are requested than exist.
    """
    if config.whiten is None and config.pca is None:
        return [None] * len(found.sources)
    weights_R = np.bincount(found.rows_N[items], minlength=found.n_distinct)
    return [_fit(source, weights_R, config, device) for source in found.sources]


def vector_statistics(source: VectorSource, weights_R: npt.NDArray[np.int64], device: torch.device) -> Statistics:
    """Mean and covariance, in two passes over the cache's rows and in constant memory.

    Args:
        source: the cache's rows.
        weights_R: number of items that each distinct item represents; those with 0 are not read.
        device: where to compute the sums.

    Raises:
        CacheError: a vector holds a number that is not finite.
    """
    places = np.flatnonzero(weights_R)
    places = places[np.argsort(source.rows_R[places], kind="stable")]  # in the order of the files
    count, width = int(weights_R.sum()), source.cache.width
    sum_V = torch.zeros(width, dtype=torch.float64, device=device)
    for part, stored_UV in source.chunks(places, device):
        sum_V += _weights(weights_R, part, device) @ stored_UV.double()
    mean_V = sum_V / count
    products_VV = torch.zeros(width, width, dtype=torch.float64, device=device)
    for part, stored_UV in source.chunks(places, device):
        centred_UV = stored_UV.double() - mean_V
        products_VV += (centred_UV * _weights(weights_R, part, device)[:, None]).T @ centred_UV
    covariance_VV = (products_VV / max(count - 1, 1)).cpu().numpy()
    distinct = len(np.unique(source.rows_R[places]))
    return Statistics(mean_V.cpu().numpy(), (covariance_VV + covariance_VV.T) / 2, distinct)


def principal_axes(statistics: Statistics) -> tuple[Floats, Floats]:
    """The variances along the principal axes, (K,), in descending order, and the axes, (V, K).

    The entry of each axis with the largest absolute value is positive. K is the number of dimensions in which the
    vectors differ by more than rounding errors of float64.
    """
    variances_V, axes_VV = np.linalg.eigh(statistics.covariance_VV)
    variances_V, axes_VV = variances_V[::-1], axes_VV[:, ::-1]
    width = len(variances_V)
    beyond_rounding = variances_V > variances_V[0] * width * np.finfo(np.float64).eps
    rank = min(int(beyond_rounding.sum()), statistics.distinct - 1)
    axes_VK = axes_VV[:, :rank]
    # The sign of an axis is arbitrary; it is fixed, so that every run has the same axes.
    largest_K = axes_VK[np.abs(axes_VK).argmax(axis=0), np.arange(rank)]
    return variances_V[:rank], axes_VK * np.sign(largest_K)


def _fit(
    source: VectorSource, weights_R: npt.NDArray[np.int64], config: TrainConfig, device: torch.device
) -> Projection:
    name, wanted = ("--whiten", config.whiten) if config.whiten is not None else ("--pca", config.pca)
    path, stored = source.cache.path, source.cache.width
    if wanted is None or wanted > stored:
        raise ConfigError(
            f"{name}: expected at most {stored}, the width of the vectors of {path}, found {wanted}; pass a smaller one"
        )
    statistics = vector_statistics(source, weights_R, device)
    variances_K, axes_VK = principal_axes(statistics)
    if wanted > len(variances_K):
        raise ConfigError(
            f"{name}: expected at most {len(variances_K)}, because the vectors of the {int(weights_R.sum())} training "
            f"items in {path} differ in no more dimensions, found {wanted}; pass a smaller one"
        )
    map_VD = axes_VK[:, :wanted]
    if config.whiten is not None:
        mean_variance = np.trace(statistics.covariance_VV) / stored
        map_VD = map_VD / np.sqrt(variances_K[:wanted] + config.whiten_epsilon * mean_variance)
    return Projection(torch.from_numpy(statistics.mean_V), torch.from_numpy(map_VD.astype(np.float32)))


def _weights(weights_R: npt.NDArray[np.int64], places: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(weights_R[places].astype(np.float64)).to(device)
