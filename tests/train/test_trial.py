"""Trials: a few real steps, on real vectors or a stand-in for a cache that is not there yet."""

from pathlib import Path
from typing import Any

import pytest
import torch

from small.train.trainings import SMALL, Train
from tcf.config.train import TrainConfig
from tcf.data.dataset import open_dataset
from tcf.train.batch.training_data import TrainingData
from tcf.train.estimate import Estimate, estimate, estimate_sizes
from tcf.train.trainer import Trainer
from tcf.train.trial import Pace, StandInVectors, lacks_memory, run_trial

CPU = torch.device("cpu")


@pytest.fixture
def here(run_train: Train, tmp_path: Path) -> Path:
    """A folder with a dataset and a cache."""
    return tmp_path


def of(here: Path, **settings: Any) -> Estimate:
    config = TrainConfig(**(SMALL | settings))
    return estimate(data=here / "data", caches=(here / "cache",) if config.reads_text else (), config=config)


def test_an_epoch_and_a_ranking_by_hand() -> None:
    pace = Pace(step=0.5, item=0.25, user=0.125, pair=1 / 64)
    assert pace.ranking(users=8, items=4) == 4 * 0.25 + 8 * 0.125 + 32 / 64
    assert pace.epoch(steps=10, users=8, items=4) == 5 + pace.ranking(8, 4)
    assert pace.epoch(steps=10, users=0, items=4) == 5, "a refit ranks nothing"


@pytest.mark.parametrize(
    "settings",
    [{}, {"items": "text+id", "loss": "full"}, {"loss": "gbce"}, {"backbone": "dssm", "user_tower": "history"}],
    ids=str,
)
def test_a_cache_is_not_needed(here: Path, settings: dict[str, Any]) -> None:
    config, dataset = TrainConfig(**(SMALL | settings)), open_dataset(here / "data")
    data = TrainingData.build(dataset.split, dataset.n_items, config.history)
    pace = run_trial(dataset, data, StandInVectors.build(dataset.n_items, 12, CPU), config, CPU)
    assert min(pace.step, pace.item, pace.user, pace.pair) > 0


def test_nor_are_several_caches_in_two_forms(here: Path) -> None:
    """As many parameters as a real training has, that reads twice three caches of width 4."""
    summed: dict[str, Any] = {"whiten": "full", "whiten_form": "zca", "whiten_groups": 2, "whiten_sum": True}
    config, dataset = TrainConfig(**(SMALL | summed | {"mix": "weights"})), open_dataset(here / "data")
    data = TrainingData.build(dataset.split, dataset.n_items, config.history)
    vectors = StandInVectors.build(dataset.n_items, 24, CPU, forms=2, caches=3)
    found = estimate_sizes(dataset, data, vectors, config, CPU)
    assert found.items_parameters == (4 * 16 + 16) + (16 * 16 + 16) + 3
    assert found.memory["vectors"] == 30 * 24 * 2
    assert run_trial(dataset, data, vectors, config, CPU).step > 0


def test_the_steps_that_count_are_not_the_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = [0.0], Trainer.step
    taken: list[float] = []

    def step(self: Trainer, *rest: Any) -> torch.Tensor:
        taken.append(100.0 if not taken else 0.25)  # the first step of a process takes longer
        clock[0] += taken[-1]
        return real(self, *rest)

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr("tcf.train.trial.time.perf_counter", lambda: clock[0])
    found = of(here, items="id", epochs=7)
    assert len(taken) == 2 and found.pace is not None and found.pace.step == 0.25
    assert found.seconds_per_epoch == 4 * 0.25 and found.seconds == 7.0
    assert found.as_json()["seconds_per_epoch"] == 1.0 and found.as_json()["seconds_at_most"] == 7.0
    assert found.for_people()["time"] == "about 0:00:01 an epoch; 0:00:07 for all 7, less if it stops early"


def test_a_refit_takes_steps_like_the_first_training(here: Path) -> None:
    found = of(here, refit=True)
    assert found.refit is not None and found.refit.pace == found.pace is not None
    assert found.refit.validation_users == 0 < found.validation_users


def test_no_steps_without_memory_for_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcf.train.trial.host_memory", lambda: (2**30, 2**12))
    assert lacks_memory({"parameters": 2**11}, CPU) == ""
    monkeypatch.setattr(Trainer, "step", None)
    found = of(here)
    assert (found.seconds_per_epoch, found.seconds, found.as_json()["seconds_per_epoch"]) == (None, None, None)
    why = found.for_people()["time"]
    assert why.startswith("not known: timing steps takes ") and why.endswith(
        " plus activations, of which 4.0 KiB are free"
    )
