"""Synthetic users, items and vectors, and the setup of a training on them."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from gpu_parts.part import Setting
from small.train.runs import make_cache
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, Histories, open_dataset, write_dataset
from tcf.data.split import leave_one_out
from tcf.train.assemble import TrainingSetup, assemble, training_data
from tcf.train.inputs import Inputs

__all__ = ["training_inputs", "training_setup"]

_VECTOR_WIDTH, _LONGEST = 96, 12


def training_inputs(setting: Setting, *, users: int, items: int) -> tuple[Dataset, VectorCache]:
    """A dataset and a cache of normally distributed vectors, created once.

    Each history is a run of consecutive items on a circle of all items, from a random start, so that there is something
    to learn.

    Args:
        setting: device and scratch folder.
        users: number of users, each with 4 to 12 items.
        items: number of items.
    """
    folder = setting.scratch / f"train-{users}-{items}"
    if not folder.exists():
        _make_inputs(folder, users, items)
    return open_dataset(folder / "data"), VectorCache.open(folder / "cache")


def training_setup(setting: Setting, config: TrainConfig, *, users: int, items: int) -> TrainingSetup:
    """Set up training on the setting's device; the initial weights depend only on the seed, not on the device."""
    dataset, cache = training_inputs(setting, users=users, items=items)
    inputs = Inputs.open(config.items, dataset.path, [cache.path])
    return assemble(inputs, training_data(inputs, config), {}, config, setting.device)


def _make_inputs(folder: Path, users: int, items: int) -> None:
    draw = np.random.default_rng(5)
    lengths = draw.integers(4, _LONGEST + 1, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = np.repeat(draw.integers(0, items, users), lengths)
    steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    dataset = write_dataset(
        folder / "data",
        item_ids=pa.array([f"i{row}" for row in range(items)], pa.large_string()),
        texts=pa.array([f"text {row}" for row in range(items)], pa.large_string()),
        user_ids=pa.array([f"u{row}" for row in range(users)], pa.large_string()),
        split=leave_one_out(Histories(offsets, ((starts + steps) % items).astype(np.int32))),
        inputs={},
        config={},
        statistics={},
    )
    make_cache(folder, dataset, draw.normal(size=(items, _VECTOR_WIDTH)).astype(np.float16))
