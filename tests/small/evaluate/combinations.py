"""A dataset, runs on it, and combinations of these."""

from pathlib import Path

from small.train.evaluations import SMALL, make_runs
from small.train.runs import walks
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.train import TrainConfig
from tcf.evaluate.combination.combine import combine
from tcf.train.stage import train

__all__ = ["combined", "make_members"]


def make_members(folder: Path) -> None:
    """A dataset and a cache, and runs on it: `text`, `id`, and `users`, which learns a vector for each user."""
    make_runs(folder, walks())
    config = TrainConfig(items="id", user_tower="id", backbone="dssm", **(SMALL | {"epochs": 1}))
    train(data=folder / "data", caches=[], out=folder / "users", config=config)


def combined(out: Path, *runs: Path, weights: tuple[float, ...], baselines: tuple[CombinedBaseline, ...] = ()) -> Path:
    """A combination of runs with these weights."""
    config = CombineConfig(weights=weights, device="cpu")
    return combine(runs, out=out, config=config, baselines=baselines).path
