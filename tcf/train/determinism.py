"""Torch's settings that a training changes and puts back: generators, and which operations are allowed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["deterministic_operations", "isolated_generators"]

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = ":4096:8"  # of the two values with which cuBLAS gives the same bytes each time, the faster one


@contextmanager
def isolated_generators(device: torch.device) -> Iterator[None]:
    """Torch's global generators go on after the block as if it had drawn nothing."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def deterministic_operations(asked: bool) -> Iterator[None]:
    """Within the block, if asked for, only operations that give the same bytes each time.

    What has no such form raises an error. cuBLAS reads its part of this when it is first used in a process.

    Args:
        asked: False changes nothing.
    """
    if not asked:
        yield
        return
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_WORKSPACE)
    os.environ.setdefault(_WORKSPACE, _FIXED)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        if workspace is None:
            del os.environ[_WORKSPACE]
