"""Trainings on whitened sums and mixed caches: from the device or the files, killed and resumed, opened again."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
import torch

from small.train.runs import make_cache, make_dataset, walks
from small.train.trainings import SMALL, TRAINED, Killed, interrupted_at
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.train.model.item_tower import TextItems
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.open_run import open_run
from tcf.train.run.recorded_run import read_run
from tcf.train.stage import TrainResult, train

GROUPED: dict[str, Any] = {"whiten": "full", "whiten_form": "zca", "whiten_groups": 2, "whiten_epsilon": 0.1}
SUMMED = GROUPED | {"whiten_sum": True, "normalise": True}
ROWS = np.arange(30) // 2  # two items share a text


def random_vectors(width: int, seed: int) -> npt.NDArray[np.float16]:
    return np.random.default_rng(seed).normal(size=(15, width)).astype(np.float16)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and three caches of 15 texts, two of which have the same width."""
    folder = tmp_path_factory.mktemp("inputs")
    dataset = make_dataset(folder, walks(), [f"text {row}" for row in ROWS])
    for name, width in (("cache", 12), ("second", 12), ("narrow", 4)):
        make_cache(folder, dataset, random_vectors(width, len(name)), name=name, pooling=name)
    return folder


Trained = Callable[..., TrainResult]


@pytest.fixture
def trained(inputs: Path, tmp_path: Path) -> Trained:
    """A function that trains a run of a name on caches of some names, with further settings."""

    def call(out: str, *caches: str, **settings: Any) -> TrainResult:
        config, read = TrainConfig(**(SMALL | settings)), [inputs / name for name in caches]
        return train(data=inputs / "data", caches=read, out=tmp_path / out, config=config)

    return call


def forms_of(run: Path, role: str, vectors: npt.NDArray[np.floating[Any]], normalise: bool) -> npt.NDArray[np.float64]:
    """The forms of a cache's vectors, (2, items, width), by what the run has fitted, in float64."""
    fitted = safetensors.numpy.load_file(run / "inputs.safetensors")
    centred = vectors[ROWS].astype(np.float64) - fitted[f"{role}.mean"]
    forms = np.stack([centred @ fitted[f"{role}.map"], centred @ fitted[f"{role}.grouped"]])
    return forms / np.linalg.norm(forms, axis=2, keepdims=True) if normalise else forms


def through_dtl(run: Path, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The DTL of a run, of one layer, in float64."""
    saved = safetensors.numpy.load_file(run / "model.safetensors")
    weight, bias = (torch.from_numpy(saved[f"items.dtl.layers.0.{name}"]).double() for name in ("weight", "bias"))
    return np.asarray(torch.nn.functional.gelu(torch.from_numpy(vectors) @ weight.T + bias))


@pytest.mark.parametrize("mix", ["concat", "weights"])
def test_items_are_the_sums_that_the_run_says(mix: str, trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    """The trained model's item vectors, by what is saved, in float64; and the weights that the run tells."""
    with caplog.at_level(logging.INFO):
        done = trained("run", "cache", "second", mix=mix, dtl_layers=1, **SUMMED)
    facts, path = done.manifest.facts, done.path
    one, other = (
        forms_of(path, role, random_vectors(12, len(name)), True)
        for role, name in (("cache", "cache"), ("cache.2", "second"))
    )
    both = np.concatenate([one, other], axis=2)
    if mix == "weights":
        logits = safetensors.numpy.load_file(path / "model.safetensors")["items.mix.logits"]
        weights = np.exp(logits) / np.exp(logits).sum()
        assert np.abs(logits).max() > 0, "they are learned"
        np.testing.assert_allclose([*facts["cache_weights"].values()], weights, rtol=1e-6)
        assert [*facts["cache_weights"]] == ["cache", "cache.2"]
        assert f"learned weights of the caches, whose sum is 1: {weights[0]:.3f} " in caplog.text
        both = weights[0] * one + weights[1] * other
    expected = through_dtl(path, both).sum(axis=0)
    np.testing.assert_allclose(open_run(path, device="cpu").item_vectors(), expected, atol=1e-5)
    # Fifteen texts differ in more than twelve dimensions.
    assert facts["whitened_dimensions"] == {"cache": 12, "cache.2": 12}
    assert ("cache_weights" in facts) == (mix == "weights")


@pytest.mark.parametrize(
    "settings", [SUMMED | {"mix": "weights"}, SUMMED, {"mix": "weights", "dropout": 0.3}, GROUPED | {"dropout": 0.0}]
)
def test_training_from_the_files_equals_training_from_the_device(settings: dict[str, Any], trained: Trained) -> None:
    names = ["cache", "second"] if "mix" in settings else ["cache", "narrow"]
    on_device, on_files = (
        safetensors.numpy.load_file(trained(f"on-{table}", *names, table=table, **settings).path / TRAINED[0])
        for table in ("device", "cache")
    )
    for name, values in on_device.items():
        np.testing.assert_allclose(values, on_files[name], atol=1e-3 if "whiten" in settings else 0, err_msg=name)


def test_a_killed_training_goes_on_to_the_same_end(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SUMMED | {"mix": "weights", "dropout": 0.3, "save_minutes": 0.0}
    whole = trained("whole", "cache", "second", **settings)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 7)
        with pytest.raises(Killed):
            trained("killed", "cache", "second", **settings)
    # What was fitted is read, not fitted again.
    monkeypatch.setattr("tcf.train.inputs.fit_projections", None)
    resumed = trained("killed", "cache", "second", **settings)
    assert resumed.manifest.fingerprint == whole.manifest.fingerprint
    assert resumed.manifest.facts == whole.manifest.facts
    for name in (*TRAINED, "inputs.safetensors"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_runs_share_vectors_of_the_same_forms_only(trained: Trained) -> None:
    grouped, summed, again = (
        trained(f"run-{place}", "cache", epochs=1, **settings).path
        for place, settings in enumerate((GROUPED, SUMMED | {"normalise": False}, SUMMED | {"normalise": False}))
    )
    opened = [OpenInputs().run(read_run(path), "cpu") for path in (grouped, summed)]
    kept = OpenInputs()
    shared = [kept.run(read_run(path), "cpu") for path in (grouped, summed, again)]
    for alone, one in zip(opened, shared, strict=False):
        np.testing.assert_array_equal(one.item_vectors(), alone.item_vectors())
    read = [cast(TextItems, run.model.items).vectors for run in shared]
    assert read[0] is not read[1] is read[2]


@pytest.mark.parametrize(
    ("caches", "settings", "message"),
    [
        (["cache"], {}, "--mix weights: expected several caches to add up, found .*cache only; add another --cache"),
        (
            ["cache", "narrow"],
            {},
            "--mix weights: expected vectors of equal width, .* 12 of .* and 4 of .*narrow;",
        ),
        (["cache", "narrow"], {"whiten": "full"}, "12 of .*cache and 4 of .*narrow; pass --whiten or --pca with"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    caches: list[str], settings: dict[str, Any], message: str, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        trained("run", *caches, mix="weights", **settings)
    assert not (tmp_path / "run").exists()


def test_caches_of_different_widths_are_mixed_once_they_are_transformed(trained: Trained) -> None:
    done = trained("run", "cache", "narrow", mix="weights", pca=3, epochs=1)
    assert sum(done.manifest.facts["cache_weights"].values()) == pytest.approx(1)
