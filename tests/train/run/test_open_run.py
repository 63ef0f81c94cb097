import dataclasses
import json
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from small.manifests import reseal
from small.train.runs import make_cache, make_dataset, walks
from tcf.commands.app import app
from tcf.common.errors import ConfigError, RunError
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import write_shard
from tcf.data.dataset import Dataset
from tcf.data.keys import text_keys
from tcf.data.split import Queries, held_out
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.metrics import VALIDATION_METRICS, means
from tcf.ranking.ranks import rank_targets
from tcf.ranking.scorers import InnerProduct
from tcf.train import inputs as inputs_module
from tcf.train.run.open_run import open_run
from tcf.train.stage import train

TEXTS = [f"text {i // 2}" for i in range(30)]
CONFIG = TrainConfig(width=16, batch_size=16, epochs=3, devices="cpu", learning_rate=0.01)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    found: Dataset = make_dataset(tmp_path, walks(), TEXTS)
    make_cache(tmp_path, found, np.random.default_rng(0).normal(size=(15, 12)).astype(np.float16))
    return found


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Path:
    return train(data=dataset.path, caches=[tmp_path / "cache"], out=tmp_path / "run", config=CONFIG).path


def validated(vectors: npt.NDArray[np.float32], states: npt.NDArray[np.float32], queries: Queries) -> dict[str, float]:
    ranker = FaissRanker(InnerProduct(Catalogue.build(vectors), states))
    return means(rank_targets(ranker, queries.earlier, queries.targets), VALIDATION_METRICS)


def test_an_opened_run_repeats_its_validation(run: Path, dataset: Dataset) -> None:
    opened = open_run(run, device="cpu")
    queries = held_out(dataset.split, "validation")
    states, vectors = opened.user_states(np.arange(60), queries.earlier), opened.item_vectors()
    assert (states.shape, vectors.shape) == ((60, 16), (30, 16))
    assert states.dtype == vectors.dtype == np.float32
    found = validated(vectors, states, queries)
    assert found["hr@10"] == opened.manifest.facts["hr@10"]
    assert found["ndcg@10"] == pytest.approx(opened.manifest.facts["ndcg@10"])
    assert np.array_equal(vectors[::2], vectors[1::2])
    assert (opened.config.width, opened.config.patience, opened.dataset.n_items) == (16, 5, 30)
    again = open_run(run, device="cpu")
    assert np.array_equal(again.user_states(np.arange(60), queries.earlier), states)


def test_a_run_moves_with_its_inputs_and_finds_them_elsewhere(run: Path, dataset: Dataset, tmp_path: Path) -> None:
    vectors = open_run(run, device="cpu").item_vectors()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("run", "data", "cache"):
        shutil.move(tmp_path / name, moved / name)
    assert np.array_equal(open_run(moved / "run", device="cpu").item_vectors(), vectors)
    shutil.move(moved / "data", tmp_path / "elsewhere")
    opened = open_run(moved / "run", data=tmp_path / "elsewhere", caches=[moved / "cache"], device="cpu")
    assert np.array_equal(opened.item_vectors(), vectors)


@pytest.mark.parametrize(("name", "option"), [("data", "--data"), ("cache", "--cache, for several in the order")])
def test_an_input_that_was_moved_is_named(run: Path, tmp_path: Path, name: str, option: str) -> None:
    what = "dataset" if name == "data" else "cache"
    (tmp_path / name).rename(tmp_path / "elsewhere")
    recorded = f"{run}: expected the {what} that it was trained on at {tmp_path / name}, as recorded in config.toml, "
    with pytest.raises(RunError, match=rf"^{recorded}found nothing there; .* its new place with {option}"):
        open_run(run)
    (tmp_path / name).write_text("")
    with pytest.raises(RunError, match=rf"^{recorded}found no {what} there; if it was moved"):
        open_run(run)
    found = {"data": tmp_path / "elsewhere"} if name == "data" else {"caches": [tmp_path / "elsewhere"]}
    assert open_run(run, device="cpu", **found).path == run


def test_another_dataset_or_cache_is_refused(run: Path, dataset: Dataset, tmp_path: Path) -> None:
    other = make_dataset(tmp_path, walks()[:-1], TEXTS, name="other")
    with pytest.raises(RunError, match=rf"{other.path}: expected the dataset that {run} was trained on.*--data"):
        open_run(run, data=other.path)
    cache = make_cache(tmp_path, dataset, np.ones((15, 12), np.float16), name="encoder", pooling="first")
    with pytest.raises(RunError, match=rf"{cache.path}: expected the cache that {run} was trained on.*--cache"):
        open_run(run, caches=[cache.path])


def test_a_cache_that_has_grown_changes_nothing(run: Path, dataset: Dataset, tmp_path: Path) -> None:
    before = open_run(run, device="cpu").item_vectors()
    other = make_dataset(tmp_path, [[0, 1, 2]], ["new a", "new b", "new c"], name="other")
    keys = text_keys(other.texts)
    write_shard(tmp_path / "cache", keys, np.ones((3, 12), np.float16))
    write_text_map(tmp_path / "cache", other, texts=keys, sequences=keys, metadata={})
    assert np.array_equal(open_run(run, device="cpu").item_vectors(), before)


def test_a_damaged_run_is_refused(run: Path) -> None:
    model = run / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(RunError, match="model.safetensors: its sha256 differs"):
        open_run(run)
    model.unlink()
    with pytest.raises(RunError, match="model.safetensors: expected a file, .*, found none"):
        open_run(run)


def test_no_run_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(RunError, match="found nothing; run `tcf train` first"):
        open_run(tmp_path / "nothing")
    with pytest.raises(RunError, match="tcf-dataset"):
        open_run(dataset.path)


def test_an_id_run_needs_no_cache(dataset: Dataset, tmp_path: Path) -> None:
    config = TrainConfig(items="id", width=8, epochs=1, devices="cpu")
    path = train(data=dataset.path, out=tmp_path / "ids", config=config).path
    shutil.rmtree(tmp_path / "cache")
    assert open_run(path, device="cpu").item_vectors().shape == (30, 8)
    assert "cache" not in json.loads((path / "manifest.json").read_text())["inputs"]


@pytest.mark.parametrize(
    ("section", "content", "message"),
    [
        ("files", {}, r"expected files\.config\.toml, a mapping, found nothing"),
        ("inputs", {}, r"expected inputs\.dataset, a string, found nothing"),
        ("config", {}, r"config differs from .*config\.toml: .*width: nothing found, 16 requested"),
        ("config", [], r"expected config, a mapping, found \[\]"),
    ],
)
def test_a_damaged_manifest_is_one_error(run: Path, section: str, content: object, message: str) -> None:
    reseal(run, **{section: content})
    with pytest.raises(RunError, match=rf"manifest\.json: {message}.*; restore it from a copy, or remove {run} and"):
        open_run(run, device="cpu")


def test_a_manifest_that_does_not_name_its_cache(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["inputs"]["cache"]
    reseal(run, inputs=manifest["inputs"])
    with pytest.raises(
        RunError, match=r"expected the cache that .* was trained on \(fingerprint none\), found another"
    ):
        open_run(run, device="cpu")


@pytest.fixture
def second(dataset: Dataset, tmp_path: Path) -> Path:
    """Another encoder's cache."""
    vectors = np.random.default_rng(1).normal(size=(15, 5)).astype(np.float32)
    return make_cache(tmp_path, dataset, vectors, name="second", pooling="first").path


def test_a_run_on_several_caches_names_each(dataset: Dataset, second: Path, tmp_path: Path) -> None:
    first = tmp_path / "cache"
    done = train(data=dataset.path, caches=[first, second], out=tmp_path / "run", config=CONFIG)
    prints = [VectorCache.open(path).manifest.fingerprint for path in (first, second)]
    assert dict(done.manifest.inputs) == {"dataset": dataset.fingerprint, "cache": prints[0], "cache.2": prints[1]}
    assert tomllib.loads((done.path / "config.toml").read_text())["inputs"] == {
        "data": "../data",
        "cache": "../cache",
        "cache.2": "../second",
    }
    weights = safetensors.numpy.load_file(done.path / "model.safetensors")
    assert weights["items.dtl.layers.0.weight"].shape == (16, 12 + 5)
    vectors = open_run(done.path, device="cpu").item_vectors()
    for name in ("cache", "second"):
        shutil.move(tmp_path / name, tmp_path / f"moved-{name}")
    moved = [tmp_path / "moved-cache", tmp_path / "moved-second"]
    assert np.array_equal(open_run(done.path, caches=moved, device="cpu").item_vectors(), vectors)
    with pytest.raises(RunError, match=r"moved-second: expected the cache that .* was trained on .* found another"):
        open_run(done.path, caches=moved[::-1], device="cpu")
    with pytest.raises(RunError, match=r"expected the 2 caches that it was trained on, found 1; name all of them"):
        open_run(done.path, caches=moved[:1], device="cpu")


def test_one_cache_too_many_is_refused(run: Path, second: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"{second}: expected the cache that .* \(fingerprint none\), found another"):
        open_run(run, caches=[tmp_path / "cache", second], device="cpu")


def test_the_order_of_caches_decides_the_run(dataset: Dataset, second: Path, tmp_path: Path) -> None:
    train(data=dataset.path, caches=[tmp_path / "cache", second], out=tmp_path / "run", config=CONFIG)
    with pytest.raises(RunError, match="holds a finished run of other settings or inputs: cache: "):
        train(data=dataset.path, caches=[second, tmp_path / "cache"], out=tmp_path / "run", config=CONFIG)


@pytest.mark.parametrize("settings", [{"whiten": 4}, {"pca": 5, "normalise": True}])
def test_what_was_fitted_is_read_and_never_fitted_again(
    settings: dict[str, Any], dataset: Dataset, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, **settings)
    done = train(data=dataset.path, caches=[tmp_path / "cache", second], out=tmp_path / "run", config=config)
    assert "inputs.safetensors" in done.manifest.files
    fitted = safetensors.numpy.load_file(done.path / "inputs.safetensors")
    width = settings.get("whiten", settings.get("pca"))
    assert {name: values.shape for name, values in fitted.items()} == {
        "cache.mean": (12,),
        "cache.map": (12, width),
        "cache.2.mean": (5,),
        "cache.2.map": (5, width),
    }
    queries = held_out(dataset.split, "validation")
    monkeypatch.setattr(inputs_module, "fit_projections", None)
    opened = open_run(done.path, device="cpu")
    found = validated(opened.item_vectors(), opened.user_states(np.arange(60), queries.earlier), queries)
    assert found["hr@10"] == done.manifest.facts["hr@10"]
    file = done.path / "inputs.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="inputs.safetensors: its sha256 differs"):
        open_run(done.path)


def test_a_model_reads_what_its_settings_say(dataset: Dataset, second: Path, tmp_path: Path) -> None:
    """The first layer of an untrained model over transformed vectors, against NumPy."""
    config = dataclasses.replace(CONFIG, pca=3, normalise=True, epochs=1, dtl_layers=1)
    path = train(data=dataset.path, caches=[second], out=tmp_path / "run", config=config).path
    stored = VectorCache.open(second).vectors_for(dataset).astype(np.float64)
    trained = np.unique(np.concatenate([history[:-2] for history in walks()]))
    centred = stored - stored[trained].mean(axis=0)
    axes = np.linalg.eigh(np.cov(stored[trained], rowvar=False))[1][:, ::-1][:, :3]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(3)])
    inputs = centred @ axes
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    weights = safetensors.numpy.load_file(path / "model.safetensors")
    linear = inputs @ weights["items.dtl.layers.0.weight"].T + weights["items.dtl.layers.0.bias"]
    expected = linear * 0.5 * (1 + np.vectorize(math.erf)(linear / math.sqrt(2)))
    np.testing.assert_allclose(open_run(path, device="cpu").item_vectors(), expected, atol=1e-5)


def test_commands_take_several_caches(dataset: Dataset, second: Path, tmp_path: Path) -> None:
    caches = ["--cache", str(tmp_path / "cache"), "--cache", str(second)]
    small = ["--width", "8", "--epochs", "1", "--devices", "cpu"]
    run = tmp_path / "run"

    def call(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    call("train", *caches, "--out", str(run), *small)
    shutil.move(run, tmp_path / "far" / "away" / "run")
    run = tmp_path / "far" / "away" / "run"
    where = ["--data", str(dataset.path), *caches, "--device", "cpu"]
    assert "hr@10" in call("evaluate", str(run), "--out", str(tmp_path / "e"), *where)
    assert "60 users" in call("recommend", str(run), "--out", str(tmp_path / "r.parquet"), *where)
    with pytest.raises(ConfigError, match="leave one out"):
        call("train", *caches, *caches[:2], "--out", str(tmp_path / "other"), *small)


def test_an_interrupted_training_goes_on_with_what_it_had_fitted(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, caches = dataclasses.replace(CONFIG, whiten=4), [tmp_path / "cache"]

    def stop(epoch: object, goes_on: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data=dataset.path, caches=caches, out=tmp_path / "run", config=config, watch=stop)
    before = (tmp_path / "run" / "inputs.safetensors").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(inputs_module, "fit_projections", None)
        train(data=dataset.path, caches=caches, out=tmp_path / "run", config=config)
    assert (tmp_path / "run" / "inputs.safetensors").read_bytes() == before
    train(data=dataset.path, caches=caches, out=tmp_path / "whole", config=config)
    for name in ("inputs.safetensors", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": "dssm"},
        {"backbone": "dssm", "user_tower": "history", "mlp_layers": 1},
        {"items": "text+id", "norm": "pre"},
        {"block": "ligr", "position": "rotary", "similarity": "cosine"},
    ],
)
def test_every_kind_of_model_repeats_its_validation(settings: dict[str, Any], dataset: Dataset, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, **settings)
    path = train(data=dataset.path, caches=[tmp_path / "cache"], out=tmp_path / "run", config=config).path
    opened, queries = open_run(path, device="cpu"), held_out(dataset.split, "validation")
    whole = opened.user_states(np.arange(60), queries.earlier)
    found = validated(opened.item_vectors(), whole, queries)
    assert found["hr@10"] == opened.manifest.facts["hr@10"]
    assert found["ndcg@10"] == pytest.approx(opened.manifest.facts["ndcg@10"])
    # Users out of order: each has the own state.
    some = np.array([40, 3])
    states = opened.user_states(some, queries.earlier.take(some))
    np.testing.assert_allclose(states, whole[some], atol=1e-6)
