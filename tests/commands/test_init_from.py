"""Ids that start from a cache, from the command line, from files that tcf wrote, and from Python."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tcf
from small.command_line import run_program
from small.train.runs import make_cache, make_dataset, walks
from tcf.common.errors import ConfigError

SMALL = "--items id --width 8 --epochs 1 --devices cpu --batch-size 32".split()
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    dataset = make_dataset(tmp_path, walks(), [f"text {i}" for i in range(30)])
    make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float16))
    return tmp_path


@pytest.fixture
def train(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `tcf train` in a folder with `data` and `cache`; gives status, output and standard error."""
    monkeypatch.chdir(place)

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with run_program(monkeypatch) as program:
            status = program(["train", *words])
        return status, *capfd.readouterr()

    return run


def model(place: Path) -> bytes:
    return (place / "model.safetensors").read_bytes()


def test_options_files_and_python_agree(train: Run, place: Path) -> None:
    status, _, said = train("--init-from", "cache", "--out", "run", *SMALL)  # the dataset is that of the cache
    assert status == 0, said
    settings = (place / "run/config.toml").read_text()
    assert 'id_init = "text"' in settings and 'init_from = "../cache"' in settings
    assert train("--config", "run/config.toml", "--out", "again")[0] == 0
    config = tcf.TrainConfig(items="id", width=8, epochs=1, devices="cpu", batch_size=32)
    run = tcf.train_recommender(out="python", config=config, init_from="cache")
    assert run.config.id_init == "text"
    assert model(place / "run") == model(place / "again") == model(place / "python")
    # Options go before the file: without a start from texts, its cache is left alone.
    shutil.rmtree(place / "cache")
    assert train("--config", "run/config.toml", "--id-init", "random", "--out", "random")[0] == 0
    assert "init_from" not in (place / "random/config.toml").read_text()
    assert tcf.open_run("run", device="cpu").item_vectors().shape == (30, 8)


def test_a_dry_run(train: Run) -> None:
    status, printed, said = train("--init-from", "cache", "--dry-run", "--out", "run", "--json", *SMALL)
    assert status == 0, said
    assert json.loads(printed)["item_tower_parameters"] == 30 * 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cache", "cache", "--init-from", "cache"), "--init-from: expected --items id, found --items text; leave"),
        (
            ("--items", "id", "--data", "data", "--id-init", "text"),
            "--id-init text: expected the vector cache",
        ),
        (("--items", "id", "--init-from", "missing"), "missing"),
        (("--items", "id", "--data", "data", "--init-from", "data"), "data"),
    ],
)
def test_refused(train: Run, place: Path, words: tuple[str, ...], message: str) -> None:
    status, _, said = train(*words, "--out", "run", "--devices", "cpu")
    [line] = [line for line in said.splitlines() if line.startswith("tcf: error: ")]
    assert status != 0 and message in line
    assert not (place / "run").exists()


def test_python_refuses_caches_beside_it(place: Path) -> None:
    config, cache = tcf.TrainConfig(items="id", devices="cpu"), place / "cache"
    with pytest.raises(ConfigError, match="--items id: expected no cache, because ids need none, found"):
        tcf.train_recommender(place / "data", cache, out=place / "run", config=config, init_from=cache)
    with pytest.raises(ConfigError, match="init_from: expected a path"):
        tcf.train_recommender(place / "data", out=place / "run", config=config, init_from=3)  # type: ignore[arg-type]
