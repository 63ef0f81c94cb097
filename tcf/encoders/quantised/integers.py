"""Small integers packed into 32-bit words."""

import torch
from torch import Tensor

__all__ = ["unpack"]


def unpack(words: Tensor, bits: int, dim: int) -> Tensor:
    """Return the unsigned integers in 32-bit words, the lowest bits first, along a dimension.

    Args:
        words: int32 of any shape.
        bits: 2, 4 or 8.
        dim: the packed dimension, 0 or 1 of two; it becomes 32 / bits times as long.
    """
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    found: Tensor = (words.unsqueeze(-1) >> shifts) & (2**bits - 1)  # (..., 32 / bits)
    return found.flatten(1) if dim == 1 else found.transpose(1, 2).flatten(0, 1)
