"""Trainings of a second on a small dataset."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.train.runs import make_cache, make_dataset, walks
from tcf.config.train import TrainConfig
from tcf.train import trainer
from tcf.train.fit import Watch
from tcf.train.run import records
from tcf.train.stage import TrainResult, train

__all__ = [
    "SMALL",
    "TEXTS",
    "TRAINED",
    "Killed",
    "Train",
    "epochs_of",
    "interrupted_at",
    "measured",
    "same",
    "stopped",
    "trainings",
]

TEXTS = [f"text {i}" for i in range(30)]
SMALL: dict[str, Any] = {"width": 16, "batch_size": 16, "devices": "cpu", "learning_rate": 0.01, "epochs": 2}
TRAINED = ("model.safetensors", "optimizer.safetensors", "epochs.jsonl")
Train = Callable[..., TrainResult]


def trainings(folder: Path) -> Train:
    """A function that trains on the walks; further arguments are settings, or inputs other than the usual ones."""
    dataset = make_dataset(folder, walks(), TEXTS)
    cache = make_cache(folder, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float16))

    def call(
        out: str = "run",
        data: Path = dataset.path,
        cache: Path | None = cache.path,
        watch: Watch | None = None,
        **settings: Any,
    ) -> TrainResult:
        config = TrainConfig(**(SMALL | settings))
        caches = (cache,) if cache is not None and config.needs_cache else ()
        return train(data=data, caches=caches, out=folder / out, config=config, watch=watch)

    return call


def epochs_of(run: Path) -> list[dict[str, float]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]


def measured(hr: float, ndcg: float = 0.0) -> dict[str, float]:
    """What validation finds."""
    return {"hr@10": hr, "ndcg@10": ndcg}


class Killed(BaseException):
    """Nothing of tcf handles it."""


def interrupted_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """End the training before the n-th step of this process, as an interrupt would."""
    step, calls = trainer.Trainer.step, []

    def counted(self: trainer.Trainer, *rest: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return step(self, *rest)

    monkeypatch.setattr(trainer.Trainer, "step", counted)


def same(one: TrainResult, other: TrainResult) -> None:
    """Both runs have the same bytes, but for times."""
    for name in TRAINED:
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert one.manifest.fingerprint == other.manifest.fingerprint
    assert one.manifest.facts == other.manifest.facts
    assert sorted(p.name for p in one.path.iterdir()) == sorted(p.name for p in other.path.iterdir())


def stopped(run_train: Train, monkeypatch: pytest.MonkeyPatch, step: int = 6) -> Path:
    """The folder of a training that ended after its first epoch."""
    paths: list[Path] = []
    with monkeypatch.context() as patch:
        interrupted_at(patch, step)
        start = records.FolderRecords.__init__

        def spy(self: Any, folder: Any, minutes: float) -> None:
            start(self, folder, minutes)
            paths.append(folder.path)

        patch.setattr(records.FolderRecords, "__init__", spy)
        with pytest.raises(Killed):
            run_train("killed")
    return paths[0]
