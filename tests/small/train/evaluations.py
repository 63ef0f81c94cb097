"""A dataset, a cache and runs to be evaluated."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from small.train.runs import make_cache, make_dataset
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.train.stage import train

__all__ = [
    "CPU",
    "SMALL",
    "TEXTS",
    "VECTORS",
    "Split",
    "make_runs",
]


TEXTS = [f"text {i // 2}" for i in range(30)]  # every text twice


VECTORS = np.random.default_rng(0).normal(size=(15, 12)).astype(np.float16)


SMALL: dict[str, Any] = {"width": 16, "batch_size": 16, "epochs": 2, "devices": "cpu", "learning_rate": 0.01}


CPU = EvaluateConfig(device="cpu")


Split = Literal["test", "validation"]


def make_runs(folder: Path, histories: list[list[int]]) -> None:
    """A dataset, a cache, a run on text and one on ids."""
    dataset = make_dataset(folder, histories, TEXTS)
    make_cache(folder, dataset, VECTORS)
    for items, caches in (("text", [folder / "cache"]), ("id", [])):
        config = TrainConfig(items=items, **SMALL)  # type: ignore[arg-type]
        train(data=dataset.path, caches=caches, out=folder / items, config=config)
