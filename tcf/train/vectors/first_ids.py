"""First values of learned ids: the principal components of the items' cached vectors.

Shapes: N items, R distinct items, U vectors at a time, V width of a cached vector, D width of an id, K of its numbers
that components fill.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.errors import ConfigError
from tcf.train.vectors.cache_rows import ItemSources, VectorSource
from tcf.train.vectors.fit_projection import principal_axes, vector_statistics

__all__ = ["first_ids"]


def first_ids(found: ItemSources, items: npt.NDArray[np.int64], width: int, device: torch.device) -> Tensor:
    """The first numbers of the id of each item, those outside of training as well.

    Components are those of the training items, in descending order of variance. All are multiplied by one factor, so
    that their root mean square over all items is that of the usual random values, sqrt(2 / (N + D)) (Xavier normal).

    Args:
        found: every item's row in one cache.
        items: the items that occur in training, each once.
        width: D.
        device: where to compute.

    Returns:
        (N, K) float32 on the CPU; K is D, or less if the vectors differ in fewer dimensions.

    Raises:
        CacheError: a vector holds a number that is not finite.
        ConfigError: the vectors of the training items do not differ.
    """
    (source,) = found.sources
    weights_R = np.bincount(found.rows_N[items], minlength=found.n_distinct)
    statistics = vector_statistics(source, weights_R, device)
    axes_VK = principal_axes(statistics)[1][:, :width]
    if not axes_VK.shape[1]:
        raise ConfigError(
            f"--init-from: expected a cache in which the vectors of the {len(items):,} training items differ, found "
            f"{source.cache.path}, where they are equal; name another cache, or leave --init-from out"
        )
    components_RK, squares_R = _components(source, statistics.mean_V, axes_VK, device)
    items_R = np.bincount(found.rows_N, minlength=found.n_distinct)
    mean_square = float(items_R @ squares_R) / (len(found.rows_N) * axes_VK.shape[1])
    usual = math.sqrt(2 / (len(found.rows_N) + width))
    return components_RK.mul_(usual / math.sqrt(mean_square))[torch.from_numpy(found.rows_N)]


def _components(
    source: VectorSource, mean_V: npt.NDArray[np.float64], axes_VK: npt.NDArray[np.float64], device: torch.device
) -> tuple[Tensor, npt.NDArray[np.float64]]:
    """The components of all distinct items, (R, K) float32 on the CPU, and the sum of each row's squares, (R,)."""
    mean, axes = torch.from_numpy(mean_V).to(device), torch.from_numpy(axes_VK.copy()).to(device)
    components_RK, squares_R = torch.empty(len(source.rows_R), axes_VK.shape[1]), np.empty(len(source.rows_R))
    for part, stored_UV in source.chunks(np.arange(len(source.rows_R)), device):
        components_UK = (stored_UV.double() - mean) @ axes
        components_RK[int(part[0]) : int(part[-1]) + 1] = components_UK.float().cpu()
        squares_R[part] = (components_UK**2).sum(1).cpu().numpy()
    return components_RK, squares_R
