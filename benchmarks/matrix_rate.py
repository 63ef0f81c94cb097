"""The rate at which a machine multiplies the matrices of a transformer block, for benchmarks.

Shapes: M rows, K inputs, N outputs.
"""

import statistics
import time
from collections.abc import Callable

import torch
from geometries import Geometry
from torch import Tensor
from torch.nn import functional as F

from tcf.common.torch_internals import linear_with_activation, reorder_linear_weight

__all__ = ["matrix_rate", "seconds_of"]

_ROUNDS = 15


def matrix_rate(geometry: Geometry, rows: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP per second of a block's matrix products, the faster of torch's and, on a CPU, oneDNN's packed products.

    Args:
        geometry: geometry of the model.
        rows: number of tokens in a product, M.
        dtype: type of the matrices.
        device: device to multiply on.
    """
    layers = [(torch.randn(rows, k), torch.randn(n, k) * 0.02, times) for k, n, times in geometry.products]
    layers = [(x_MK.to(device, dtype), weight_NK.to(device, dtype), times) for x_MK, weight_NK, times in layers]
    flops = geometry.flops / geometry.blocks * rows
    best = flops / _products(layers, lambda x_MK, weight_NK: F.linear(x_MK, weight_NK), device)
    if device.type == "cpu":
        packed = [(x_MK, reorder_linear_weight(w_NK, rows), times) for x_MK, w_NK, times in layers]
        best = max(best, flops / _products(packed, _packed_product, device))
    return best


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Duration of a call in seconds, including all work that it has started on the device."""
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _packed_product(x_MK: Tensor, weight: Tensor) -> Tensor:
    return linear_with_activation(x_MK, weight, None, "none", "")


def _products(
    layers: list[tuple[Tensor, Tensor, int]], product: Callable[[Tensor, Tensor], Tensor], device: torch.device
) -> float:
    """Seconds for the products of a block: the median of several rounds, each over all shapes."""

    def once() -> None:
        for x_MK, weight, times in layers:
            for _ in range(times):
                product(x_MK, weight)

    with torch.inference_mode():
        once()
        return statistics.median(seconds_of(once, device) for _ in range(_ROUNDS))
