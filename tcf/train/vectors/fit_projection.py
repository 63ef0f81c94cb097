"""Fits a projection of cached vectors: principal components of the training items, optionally whitened.

Whitening divides a component of variance s^2 by sqrt(s^2 + E m), so that its standard deviation becomes
s / sqrt(s^2 + E m); E is `whiten_epsilon`, and m the mean variance of the dimensions. The principal components are the
result's axes (PCA form), or they are turned back to the axes of the vectors (ZCA form): of all whitened vectors, those
that are nearest to the centred ones (Kessy et al., Optimal Whitening and Decorrelation, arXiv 1512.00809, of whose
natural whitening procedures these are two). In groups, each group of neighbouring dimensions is whitened as if it were
the whole vector, which leaves correlations between groups (relaxed whitening of WhitenRec, arXiv 2402.10602).

Shapes: R distinct items of all caches, U vectors at a time, V width of a cached vector, W of a group of its dimensions,
D width of the result, K rank or, of it, the components that are kept.
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
_OR_FULL = ", or full for as many as there are"


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
        config: `whiten` or `pca`, or neither; `whiten_epsilon`, `whiten_form`, `whiten_groups`, `whiten_sum`.
        device: where to compute the sums.

    Returns:
        One projection per cache; None if none is requested.

    Raises:
        CacheError: a vector holds a number that is not finite.
        ConfigError: more dimensions are requested than exist, or groups that cannot be equal.
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
    _check_width(source, config)
    fit = _Fit(source, vector_statistics(source, weights_R, device), int(weights_R.sum()), config)
    first = fit.whole() if config.whiten_groups == 1 or config.whiten_sum else fit.grouped()
    return Projection(
        torch.from_numpy(fit.statistics.mean_V),
        _as_float32(first.map_VD),
        _as_float32(fit.grouped().map_VD) if config.whiten_sum else None,
        first.components if config.whiten == "full" else None,
    )


def _check_width(source: VectorSource, config: TrainConfig) -> None:
    """Refuse what the width of the vectors rules out, before they are read."""
    path, stored, groups = source.cache.path, source.cache.width, config.whiten_groups
    name, wanted = ("--pca", config.pca) if config.whiten is None else ("--whiten", config.whiten)
    if isinstance(wanted, int) and wanted > stored:
        raise ConfigError(
            f"{name}: expected at most {stored}, the width of the vectors of {path}, found {wanted}; pass a smaller one"
            f"{_OR_FULL if config.whiten else ''}"
        )
    if stored % groups:
        raise ConfigError(
            f"--whiten-groups: expected a divisor of {stored}, the width of the vectors of {path}, so that groups are "
            f"equal, found {groups}; pass another one, such as {_divisor_near(stored, groups)}"
        )


@dataclass(frozen=True)
class _Map:
    """A map of centred vectors, and the number of components that it keeps."""

    map_VD: Floats
    components: int


@dataclass(frozen=True)
class _Fit:
    """What is fitted to the vectors of one cache, in float64.

    Attributes:
        source: the cache's rows.
        statistics: of the training items' vectors.
        items: number of training items.
        config: what is requested.
    """

    source: VectorSource
    statistics: Statistics
    items: int
    config: TrainConfig

    def whole(self) -> _Map:
        """The map of all dimensions at once."""
        wanted = self.config.pca if self.config.whiten is None else self.config.whiten
        [part] = self._parts(1)
        return self._checked(self._of(part, wanted))

    def grouped(self) -> _Map:
        """The map that whitens each group of dimensions by itself: blocks along the diagonal."""
        groups, stored = self.config.whiten_groups, self.source.cache.width
        wanted = self.config.whiten if self.config.whiten == "full" else (self.config.whiten or 0) // groups
        parts = self._parts(groups)
        blocks = [self._of(part, wanted, groups) for part in parts]
        map_VD, column = np.zeros((stored, sum(block.map_VD.shape[1] for block in blocks))), 0
        for part, block in zip(parts, blocks, strict=True):
            after = column + block.map_VD.shape[1]
            map_VD[part, column:after] = block.map_VD
            column = after
        return self._checked(_Map(map_VD, sum(block.components for block in blocks)))

    def _parts(self, groups: int) -> list[slice]:
        """The dimensions of each group."""
        width = self.source.cache.width // groups
        return [slice(place * width, (place + 1) * width) for place in range(groups)]

    def _axes(self, part: slice) -> tuple[Floats, Floats]:
        """The variances and the principal axes of some dimensions."""
        whole = self.statistics
        return principal_axes(Statistics(whole.mean_V[part], whole.covariance_VV[part, part], whole.distinct))

    def _checked(self, found: _Map) -> _Map:
        """Refuse a map without a component."""
        if found.components:
            return found
        raise ConfigError(
            f"--whiten full: expected training items whose vectors differ, found that the vectors of the {self.items} "
            f"training items in {self.source.cache.path} are all the same; leave --whiten out"
        )

    def _of(self, part: slice, wanted: int | str | None, groups: int = 1) -> _Map:
        """The map of some neighbouring dimensions, as if they were the whole vector."""
        covariance_WW = self.statistics.covariance_VV[part, part]
        variances_K, axes_WK = self._axes(part)
        kept = self._kept(wanted, len(variances_K), groups)
        axes_WK = axes_WK[:, :kept]
        if self.config.whiten is None:
            return _Map(axes_WK, kept)
        mean_variance = np.trace(covariance_WW) / len(covariance_WW)
        whitened_WK = axes_WK / np.sqrt(variances_K[:kept] + self.config.whiten_epsilon * mean_variance)
        return _Map(whitened_WK if self.config.whiten_form == "pca" else whitened_WK @ axes_WK.T, kept)

    def _kept(self, wanted: int | str | None, rank: int, groups: int) -> int:
        """The number of components to keep, of so many that there are."""
        if not isinstance(wanted, int):
            return rank
        if wanted <= rank:
            return wanted
        name, more = ("--pca", "") if self.config.whiten is None else ("--whiten", _OR_FULL)
        rank = min(len(self._axes(part)[0]) for part in self._parts(groups))
        each = f", {rank} for each of {groups} groups" if groups > 1 else ""
        raise ConfigError(
            f"{name}: expected at most {rank * groups}{each}, because the vectors of the {self.items} training items "
            f"in {self.source.cache.path} differ in no more dimensions, found {wanted * groups}; pass a smaller one"
            f"{more}"
        )


def _divisor_near(number: int, wanted: int) -> int:
    """The divisor of a number that is nearest to another number, but for 1."""
    divisors = (divisor for divisor in range(2, number + 1) if number % divisor == 0)
    return min(divisors, key=lambda divisor: abs(divisor - wanted), default=1)


def _as_float32(map_VD: Floats) -> Tensor:
    return torch.from_numpy(map_VD.astype(np.float32))


def _weights(weights_R: npt.NDArray[np.int64], places: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(weights_R[places].astype(np.float64)).to(device)
