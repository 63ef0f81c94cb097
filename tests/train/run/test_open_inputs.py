"""Inputs that stay open from one run to the next."""

import dataclasses
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from small.train.evaluations import SMALL, TEXTS
from small.train.runs import make_dataset, walks
from tcf.common.errors import ConfigError, RunError
from tcf.config.train import TrainConfig
from tcf.train.model.item_tower import TextItems
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.open_run import Run, open_run
from tcf.train.run.recorded_run import read_run
from tcf.train.stage import train

ONE_EPOCH = SMALL | {"epochs": 1}


def trained(folder: Path, name: str, config: TrainConfig, data: str = "data") -> Path:
    caches = [folder / "cache"] if config.reads_text else []
    return train(data=folder / data, caches=caches, out=folder / name, config=config).path


def opened(inputs: OpenInputs, run: Path) -> Run:
    return inputs.run(read_run(run), "cpu")


def test_runs_of_one_dataset_share_it_and_what_they_read(runs: Path) -> None:
    whitened, again = (
        trained(runs, f"whitened-{seed}", TrainConfig(items="text", whiten=4, seed=seed, **ONE_EPOCH))
        for seed in (1, 2)
    )
    inputs = OpenInputs()
    found = [opened(inputs, run) for run in (runs / "text", whitened, again, runs / "id")]
    text, one, other, ids = found
    assert len({id(run.dataset) for run in found}) == 1
    assert len({id(cache) for run in found for cache in run.inputs.caches}) == 1
    assert text.inputs is one.inputs is other.inputs is not ids.inputs
    # Each has the numbers that it has alone.
    for run in found:
        np.testing.assert_array_equal(run.item_vectors(), open_run(run.path, device="cpu").item_vectors())
    # Vectors are read once for runs that transform them alike, and not kept beside others.
    vectors = [cast(TextItems, run.model.items).vectors for run in (text, one, other)]
    assert vectors[1] is vectors[2] is not vectors[0]


def test_a_refit_sees_its_own_part_of_the_dataset(runs: Path) -> None:
    refit = trained(runs, "refit", TrainConfig(items="id", **(ONE_EPOCH | {"refit": True})))
    inputs = OpenInputs()
    for path in (runs / "id", refit, runs / "id"):
        run, alone = opened(inputs, path), open_run(path, device="cpu")
        np.testing.assert_array_equal(run.dataset.training_interactions, alone.dataset.training_interactions)
    assert opened(inputs, refit).dataset is opened(inputs, refit).dataset


def test_one_dataset_is_open_at_a_time(runs: Path) -> None:
    make_dataset(runs, walks()[1:], TEXTS, name="other")
    other = trained(runs, "of-other", TrainConfig(items="id", **ONE_EPOCH), data="other")
    inputs = OpenInputs()
    first = opened(inputs, runs / "text").dataset
    assert inputs.has(runs / "." / "data")
    assert opened(inputs, other).dataset.path.resolve() == runs / "other"
    assert not inputs.has(runs / "data") and not inputs._caches
    assert opened(inputs, runs / "text").dataset is not first


def test_other_inputs_than_those_of_the_training_are_refused(runs: Path) -> None:
    make_dataset(runs, walks()[1:], TEXTS, name="other")
    inputs = OpenInputs()
    opened(inputs, runs / "text")
    recorded = read_run(runs / "text")
    with pytest.raises(RunError, match=r"other: expected the dataset that .*text was trained on"):
        inputs.run(dataclasses.replace(recorded, data=runs / "other"), "cpu")
    with pytest.raises(ConfigError, match="--items id: expected no cache"):
        inputs.run(read_run(runs / "id", caches=[runs / "cache"]), "cpu")
    (runs / "text" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="model.safetensors"):
        inputs.run(recorded, "cpu")
