"""What torch's types of numbers are called in files and messages."""

import torch

__all__ = ["dtype_name"]


def dtype_name(dtype: torch.dtype) -> str:
    """`float16` for `torch.float16`: the name under which torch, NumPy and safetensors know it."""
    return str(dtype).removeprefix("torch.")
