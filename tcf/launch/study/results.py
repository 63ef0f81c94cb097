"""The results of a study: one table of all settings, and comparisons."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_results"]


def write_results(file: Path, overrides: Sequence[str]) -> None:
    """Write the results of what has been evaluated."""
    raise NotImplementedError(file, overrides)
