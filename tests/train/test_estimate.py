from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from small.train.trainings import SMALL, Train
from tcf.commands.app import app
from tcf.common.errors import CacheError, ConfigError
from tcf.common.units import as_bytes
from tcf.config.train import TrainConfig
from tcf.train.estimate import Estimate, estimate


@pytest.fixture
def here(run_train: Train, tmp_path: Path) -> Path:
    """A folder with a dataset and a cache of 30 vectors of width 12 in float16."""
    return tmp_path


def of(here: Path, **settings: Any) -> Estimate:
    config = TrainConfig(**(SMALL | settings))
    return estimate(data=here / "data", caches=(here / "cache",) if config.reads_text else (), config=config)


def test_text_by_hand(here: Path) -> None:
    found = of(here, blocks=1)
    assert (found.users, found.users_left_out, found.rows, found.targets) == (60, 0, 60, 264)
    assert (found.steps, found.epochs) == (4, 2)
    # Two layers, 12 to 16 and 16 to 16. Twenty positions; the input's norm; four maps without bias, two norms, and the
    # feed-forward with biases, 16 to 64 and back.
    assert found.items_parameters == (12 + 1) * 16 + (16 + 1) * 16
    assert found.backbone_parameters == 20 * 16 + 32 + 4 * 256 + 2 * 32 + (16 + 1) * 64 + (64 + 1) * 16
    numbers = 4 * (found.items_parameters + found.backbone_parameters)
    assert found.memory == {
        "parameters": numbers,
        "gradients": numbers,
        "optimiser": 2 * numbers,
        "vectors": 30 * 12 * 2,
        "scores": 4 * found.batch_targets * found.batch_items,
    }
    assert 0 < found.batch_items <= 30 and found.batch_targets <= 16 * 19


def test_ids_and_pairs_by_hand(here: Path) -> None:
    found = of(here, items="id", backbone="dssm", batch_size=100)
    assert (found.rows, found.targets, found.steps) == (324, 324, 4)
    assert (found.items_parameters, found.backbone_parameters) == (30 * 16, 60 * 16)
    assert found.memory["vectors"] == 0
    assert found.batch_targets == 100


def test_it_is_what_training_finds(here: Path, run_train: Train) -> None:
    found, facts = of(here, whiten=5), run_train(whiten=5).manifest.facts
    assert found.items_parameters + found.backbone_parameters == facts["parameters"]
    assert (found.users, found.targets) == (facts["users"], facts["targets"])
    assert found.memory["vectors"] == 30 * 5 * 4


def test_vectors_that_stay_in_the_cache_take_no_memory(here: Path) -> None:
    assert of(here, table="cache").memory["vectors"] == 0


def test_the_scores_of_large_batches_come_in_chunks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcf.train.estimate.CHUNK_SCORES", 100)
    assert of(here).memory["scores"] == 400


def test_items_drawn_for_each_target_are_scored_beside_it(here: Path) -> None:
    found = of(here, loss="gbce", negatives=3)
    # 48 bytes for sorting a pair, and its place of 8 bytes twice.
    assert found.memory["scores"] == (48 + 2 * 8) * found.batch_targets * (1 + 3)


def test_it_refuses_what_training_refuses(here: Path) -> None:
    with pytest.raises(ConfigError, match="--devices: expected"):
        of(here, devices="abacus")
    with pytest.raises(CacheError, match="expected a directory of format tcf-cache"):
        estimate(data=here / "data", caches=(here / "nowhere",), config=TrainConfig(**SMALL))


def test_the_command_prints_and_writes_nothing(here: Path) -> None:
    before = sorted(here.rglob("*"))
    words = ["train", "--cache", here / "cache", "--data", here / "data", "--out", here / "run", "--dry-run"]
    done = CliRunner().invoke(app, [*map(str, words), "--width", "16", "--devices", "cpu"])
    assert done.exit_code == 0, done.output
    assert sorted(here.rglob("*")) == before
    found = of(here, batch_size=64)
    parameters = found.items_parameters + found.backbone_parameters
    split = f"(item tower {found.items_parameters:,}, backbone {found.backbone_parameters:,})"
    assert f"parameters: {parameters:,} {split}" in done.output
    assert "steps: 1 an epoch, 200 epochs at most" in done.output
    assert f"  optimiser: {as_bytes(8 * parameters)}\n" in done.output
    assert f"  total: {as_bytes(sum(found.memory.values()))}, plus activations\n" in done.output
    assert "  vectors: " in done.output
    assert "vectors" not in of(here, items="id").for_people()["memory"]
