"""Small runs to be combined."""

from pathlib import Path
from typing import Any

import numpy as np

from small.train.runs import make_cache, make_dataset
from tcf.config.train import TrainConfig
from tcf.train.stage import train

__all__ = ["prepared", "trained"]

SETTINGS: dict[str, Any] = {"width": 8, "batch_size": 16, "devices": "cpu", "learning_rate": 0.01, "epochs": 1}
TEXTS = [f"text {i % 28}" for i in range(30)]  # the last two are equal to the first two


def prepared(folder: Path, histories: list[list[int]]) -> tuple[Path, Path]:
    """A dataset with these histories, and its cache."""
    dataset = make_dataset(folder, histories, TEXTS)
    return dataset.path, make_cache(
        folder, dataset, np.random.default_rng(0).normal(size=(28, 6)).astype(np.float16)
    ).path


def trained(folder: Path, name: str, data: Path, cache: Path, **settings: Any) -> Path:
    """A run below the folder."""
    config = TrainConfig(**{**SETTINGS, **settings})
    caches = () if (config.items, config.id_init) == ("id", "random") else (cache,)
    return train(data=data, caches=caches, out=folder / name, config=config).path
