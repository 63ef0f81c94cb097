"""The training stage: a dataset, and a cache for items as text, become a run."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.config import TrainConfig
from tcf.errors import RunError
from tcf.manifest import Manifest
from tcf.models.device import resolve_device
from tcf.settings_fields import to_mapping
from tcf.train.batches import TrainingData
from tcf.train.early_stopping import EarlyStopping
from tcf.train.folder import RunFolder
from tcf.train.inputs import Inputs
from tcf.train.log import Epoch, EpochLog
from tcf.train.loop import Trainer
from tcf.train.model import build_model
from tcf.train.validation import Metrics, Validation

__all__ = ["TrainResult", "train"]

# The order in which people read them; a manifest sorts them.
_FACTS = (
    "best_epoch",
    "hr@10",
    "ndcg@10",
    "epochs",
    "parameters",
    "users",
    "users_left_out",
    "targets",
    "device",
    "threads",
)


@dataclass(frozen=True)
class TrainResult:
    """What became of a training.

    Attributes:
        path: the run's directory.
        manifest: its manifest; `facts` holds the best epoch and its metrics.
        trained: False if the run was there already.
    """

    path: Path
    manifest: Manifest
    trained: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest's facts, for people: the best epoch and its metrics first."""
        facts = dict(self.manifest.facts)
        return {name: facts[name] for name in sorted(facts, key=_place)}


@dataclass(frozen=True)
class _Outcome:
    """The best epoch and its metrics, and how many epochs there were."""

    best_epoch: int
    best: Metrics
    epochs: int


def train(*, data: Path, cache: Path | None, out: Path, config: TrainConfig) -> TrainResult:
    """Train a recommender and publish the run; a finished run of the same settings and inputs is left as it is.

    Equal settings, inputs, device and threads give equal bytes of the model. Initialisation draws from a generator of
    its own; dropout draws from torch's global one, which is seeded here and put back afterwards.

    Args:
        data: a dataset directory.
        cache: a cache directory for items as text; None for items as ids.
        out: the run's directory.
        config: settings.

    Raises:
        ConfigError: settings contradict one another, or the device is not there.
        DataError: the dataset is missing, damaged or too small.
        CacheError: the cache is missing or damaged, or lacks items, or has vectors that are not finite.
        RunError: something else is at `out`, or the loss is not finite.
    """
    device = resolve_device(config.device)
    config = dataclasses.replace(config, device=str(device), patience=config.resolved_patience)
    inputs = Inputs.open(config.items, data, cache)
    folder = RunFolder(out, to_mapping(config), inputs.paths_from(out), inputs.fingerprints)
    finished = folder.finished()
    if finished is not None:
        print(f"{out}: trained already with these settings and inputs; nothing to do", file=sys.stderr)
        return TrainResult(out, finished, trained=False)
    trainer, validation = _prepare(inputs, config, device)
    if folder.start():
        print(f"{out}: removed an unfinished attempt at this run; training starts again", file=sys.stderr)
    with _seeded(config.seed, device):
        outcome = _fit(trainer, validation, folder)
    folder.write_optimizer(trainer.optimizer, trainer.model)
    return TrainResult(out, folder.publish(_facts(trainer, outcome)), trained=True)


def _prepare(inputs: Inputs, config: TrainConfig, device: torch.device) -> tuple[Trainer, Validation]:
    dataset = inputs.dataset
    training = TrainingData.build(dataset.histories, dataset.n_items, config.history)
    if training.left_out:
        who = f"{training.left_out} of {dataset.n_users} users"
        print(f"{who} have fewer than two training items: no target, left out of training", file=sys.stderr)
    model = build_model(config, dataset.n_items, inputs.item_vectors(device), device)
    return Trainer(model, training, config, device), Validation.build(dataset.histories, config.history)


def _fit(trainer: Trainer, validation: Validation, folder: RunFolder) -> _Outcome:
    """Train until patience or epochs run out; the best epoch's parameters are on disk then."""
    stopping = EarlyStopping(trainer.config.resolved_patience)
    best, number = Metrics(0.0, 0.0), 0
    with EpochLog(folder.path) as log:
        while number < trainer.config.epochs and not stopping.should_stop:
            number += 1
            done = trainer.run_epoch(number)
            metrics = _measure(validation, trainer, number)
            if stopping.update(number, metrics.hr):
                best = metrics
                folder.write_model(trainer.model)
            epoch = Epoch(number, done.loss, metrics.hr, metrics.ndcg, done.targets / done.seconds)
            log.write(epoch, stopping.best, stopping.best_epoch)
    return _Outcome(stopping.best_epoch, best, number)


def _measure(validation: Validation, trainer: Trainer, epoch: int) -> Metrics:
    try:
        return validation.measure(trainer.model, "cuda" if trainer.device.type == "cuda" else "cpu")
    except RunError as error:
        raise RunError(
            f"epoch {epoch}: {error}; nothing was published; try a lower --learning-rate "
            f"(now {trainer.config.learning_rate:g})"
        ) from None


def _place(fact: str) -> int:
    return _FACTS.index(fact) if fact in _FACTS else len(_FACTS)


def _facts(trainer: Trainer, outcome: _Outcome) -> dict[str, int | float | str]:
    return {
        "best_epoch": outcome.best_epoch,
        "hr@10": outcome.best.hr,
        "ndcg@10": outcome.best.ndcg,
        "epochs": outcome.epochs,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "users": len(trainer.data.sequences),
        "users_left_out": trainer.data.left_out,
        "targets": int((trainer.data.sequences.lengths - 1).sum()),
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
    }


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators start from the seed inside the block, and go on as before after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
