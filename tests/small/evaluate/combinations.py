"""Combinations of small runs."""

from pathlib import Path

from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.evaluate.combination.combine import combine

__all__ = ["combined"]


def combined(out: Path, *runs: Path, weights: tuple[float, ...], baselines: tuple[CombinedBaseline, ...] = ()) -> Path:
    """A combination of runs, and of baselines after these, with these weights."""
    return combine(runs, out=out, config=CombineConfig(weights=weights, device="cpu"), baselines=baselines).path
