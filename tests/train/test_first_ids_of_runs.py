"""Runs whose ids start from texts, or stand beside them: inputs, resuming, opening, refits, and cold items."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file

from small.train.runs import make_cache, make_dataset, walks
from small.train.trainings import SMALL, TEXTS, Killed, Train, interrupted_at
from tcf.common.errors import CacheError, ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import open_dataset
from tcf.evaluate.recommend import recommend
from tcf.evaluate.stage import evaluate_run
from tcf.train.estimate import estimate
from tcf.train.inputs import Inputs
from tcf.train.run.list_runs import find_runs
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.open_run import open_run
from tcf.train.run.recorded_run import read_run
from tcf.train.stage import train

FROM_TEXT = {"items": "id", "id_init": "text"}


def first_parameters(run: Path) -> npt.NDArray[np.float32]:
    return np.asarray(load_file(run / "state.safetensors")["model.items.embedding.weight"])


def test_training_begins_at_the_components(run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate of 0, ids stay where they start; those without a dimension of the vectors are random."""
    with monkeypatch.context() as patch:
        interrupted_at(patch, 3)
        with pytest.raises(Killed):
            run_train("killed", **FROM_TEXT, learning_rate=0.0, weight_decay=0.0, save_minutes=0.0)
    inputs = Inputs.of_training(TrainConfig(**SMALL | FROM_TEXT), tmp_path / "data", [tmp_path / "cache"])
    counts = np.bincount(np.concatenate([items[:-2] for items in walks()]), minlength=30)
    found = first_parameters(tmp_path / "killed")
    expected = inputs.first_ids(TrainConfig(**SMALL | FROM_TEXT), np.flatnonzero(counts), torch.device("cpu"))
    assert expected is not None and expected.shape == (30, 12)
    assert np.array_equal(found[:, :12], expected.numpy())
    run_train("random", items="id", learning_rate=0.0, weight_decay=0.0, epochs=1)
    random = load_file(tmp_path / "random" / "model.safetensors")["items.embedding.weight"]
    assert np.array_equal(found[:, 12:], random[:, 12:]) and not np.isclose(found[:, :12], random[:, :12]).any()


def test_a_finished_run_does_without_the_cache(run_train: Train, tmp_path: Path) -> None:
    run = run_train(**FROM_TEXT).path
    evaluate_run(run, out=tmp_path / "before", config=EvaluateConfig(device="cpu"))
    vectors = open_run(run, device="cpu").item_vectors()
    recorded = read_run(run)
    assert set(recorded.manifest.inputs) == {"dataset", "init_from"} and recorded.caches == ()
    assert find_runs(tmp_path)[-1].settings["init_from"] == str(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(open_run(run, device="cpu").item_vectors(), vectors)
    assert np.array_equal(OpenInputs().run(read_run(run), "cpu").item_vectors(), vectors)
    evaluate_run(run, out=tmp_path / "after", config=EvaluateConfig(device="cpu"))
    assert (tmp_path / "before/ranks.parquet").read_bytes() == (tmp_path / "after/ranks.parquet").read_bytes()
    assert recommend(run, out=None, k=3, device="cpu")


def test_another_cache_makes_another_run(run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = run_train(**FROM_TEXT)
    assert not run_train(**FROM_TEXT).trained
    with monkeypatch.context() as patch:
        interrupted_at(patch, 6)
        with pytest.raises(Killed):
            run_train("killed", **FROM_TEXT)
    vectors = np.random.default_rng(1).normal(size=(30, 12)).astype(np.float16)
    other = make_cache(tmp_path, open_dataset(tmp_path / "data"), vectors, name="other", pooling="max").path
    with pytest.raises(RunError, match="holds a finished run of other settings or inputs: init_from"):
        run_train(cache=other, **FROM_TEXT)
    with pytest.raises(RunError, match="holds an unfinished run of other settings or inputs: init_from"):
        run_train("killed", cache=other, **FROM_TEXT)
    assert run_train("elsewhere", cache=other, **FROM_TEXT).manifest.fingerprint != finished.manifest.fingerprint


@pytest.mark.parametrize("number", [0, 2])
def test_ids_start_from_one_cache(tmp_path: Path, number: int) -> None:
    make_dataset(tmp_path, walks(), TEXTS)
    config = TrainConfig(**SMALL | FROM_TEXT)
    with pytest.raises(ConfigError, match="--id-init text: expected one vector cache for ids to start from, found"):
        train(data=tmp_path / "data", caches=[tmp_path / "a"] * number, out=tmp_path / "run", config=config)


def test_every_item_must_be_in_the_cache(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, walks(), TEXTS)
    fewer = make_dataset(tmp_path, walks(), [f"other {i}" for i in range(30)], name="other")
    cache = make_cache(tmp_path, fewer, np.random.default_rng(1).normal(size=(30, 12)).astype(np.float16))
    config = TrainConfig(**SMALL | FROM_TEXT)
    for refused in (
        lambda: estimate(data=dataset.path, caches=[cache.path], config=config),
        lambda: train(data=dataset.path, caches=[cache.path], out=tmp_path / "run", config=config),
    ):
        with pytest.raises(CacheError):
            refused()


def test_a_refit_counts_validation_items_for_its_gate(run_train: Train, tmp_path: Path) -> None:
    """Its gate is that of all items but the last of each user; that of the run that chose the epochs of fewer."""
    settings = {"items": "text+id", "id_gate": 5.0, "epochs": 1}
    run = run_train(**settings, refit=True).path
    for place, left in ((run, 1), (run / "selection", 2)):
        counts = np.bincount(np.concatenate([items[:-left] for items in walks()]), minlength=30)
        gate = np.where(counts > 0, counts / (counts + 5.0), 0).astype(np.float32)
        np.testing.assert_allclose(load_file(place / "model.safetensors")["items.gate_N"], gate, rtol=1e-7)
    opened = open_run(run, device="cpu")
    parameters = load_file(run / "model.safetensors")
    text = opened.model.items.text.all_item_vectors().detach().numpy()  # type: ignore[attr-defined]
    ids = parameters["items.gate_N"][:, None] * parameters["items.ids.embedding.weight"]
    np.testing.assert_allclose(opened.item_vectors(), text + ids, atol=1e-6)


def test_cold_items_rest_on_their_texts(tmp_path: Path) -> None:
    """Items 28 and 29 occur in no training part; they have the texts of items 0 and 1, and so these texts' vectors."""
    lists = [[item for item in items if item < 28] for items in walks()]
    lists = [items for items in lists if len(items) > 3]
    dataset = make_dataset(tmp_path, lists, [f"text {i % 28}" for i in range(30)])
    cache = make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(28, 12)).astype(np.float16))
    config = TrainConfig(**SMALL | {"items": "text+id", "id_gate": 0.0, "id_dropout": 0.2, "epochs": 1})
    run = open_run(train(data=dataset.path, caches=[cache.path], out=tmp_path / "run", config=config).path)
    text = run.model.items.text.all_item_vectors().detach().numpy()  # type: ignore[attr-defined]
    assert np.array_equal(run.item_vectors()[28:], text[:2])
    assert not np.isclose(run.item_vectors()[:2], text[:2]).all(axis=1).any()
