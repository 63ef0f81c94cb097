"""Global settings of torch that a training changes and restores: generators and deterministic operations."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["deterministic_operations", "isolated_generators"]

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = ":4096:8"  # the faster of the two values with which cuBLAS is deterministic


@contextmanager
def isolated_generators(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators after the context."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def deterministic_operations(enabled: bool) -> Iterator[None]:
    """Allow only deterministic operations within the context.

    An operation without a deterministic implementation raises an error. cuBLAS reads its setting when it is first used
    in a process.

    Args:
        enabled: if False, nothing changes.
    """
    if not enabled:
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
