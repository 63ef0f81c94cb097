"""The training stage: from a dataset, and caches for items as text, to a run."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.common.devices import resolve_device
from tcf.common.manifest import Manifest
from tcf.config.fields import to_mapping
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.data.split import further_targets_words
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.metrics import named_as_validation
from tcf.train.assemble import TrainingSetup, assemble, training_data
from tcf.train.determinism import deterministic_operations, isolated_generators
from tcf.train.fit import TrainingOutcome, Watch, fit, measure
from tcf.train.inputs import Inputs
from tcf.train.parallel import Group
from tcf.train.run.open_run import ordered_metadata
from tcf.train.run.records import FolderRecords
from tcf.train.run.run_folder import RunFolder
from tcf.train.vectors.projection import Projection

__all__ = ["TrainResult", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """The result of a training.

    Attributes:
        path: the run's directory.
        manifest: its manifest; `facts` holds the best epoch and its metrics.
        trained: False if the run was already finished.
    """

    path: Path
    manifest: Manifest
    trained: bool

    @property
    def metadata(self) -> dict[str, Any]:
        """The manifest's facts, for people: the best epoch and its metrics first."""
        return ordered_metadata(self.manifest.facts)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values; metrics are named as those of validation, so that nobody takes them for a test's."""
        return {"run": str(self.path), **named_as_validation(self.metadata), "trained": self.trained}


def _run_metadata(
    assembled: TrainingSetup, outcome: TrainingOutcome, best: Mapping[str, float]
) -> dict[str, int | float | str]:
    """The facts of a run's manifest.

    Args:
        assembled: what was trained.
        outcome: its epochs.
        best: the best epoch's metrics over all users, by name.
    """
    trainer = assembled.trainer
    return {
        "best_epoch": outcome.best_epoch,
        **best,
        "epochs": outcome.epochs,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "targets": trainer.feed.rows.n_targets,
        "device": trainer.config.devices,
        "threads": torch.get_num_threads(),
        "users": len(assembled.data.sequences),
        "users_left_out": assembled.data.left_out,
    }


def train(
    *,
    data: Path,
    caches: Sequence[Path] = (),
    out: Path,
    config: TrainConfig,
    watch: Watch | None = None,
    group: Group | None = None,
) -> TrainResult:
    """Train a recommender and publish the run; a finished run with the same settings and inputs is left unchanged.

    Equal settings, inputs, device and threads give equal bytes of the model, even if an attempt was interrupted and
    resumed. Torch's global generators and settings are restored afterwards.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text, whose vectors are concatenated; empty for items as ids.
        out: the run's directory.
        config: settings.
        watch: called with each epoch when it ends; for a resumed training, first with the finished epochs. An error
            that it raises ends the training, which the same call resumes.
        group: the processes that train together, of which this is the first; None for one process on one device.

    Raises:
        ConfigError: settings contradict one another, or the device does not exist.
        DataError: the dataset is missing, damaged or too small.
        CacheError: a cache is missing or damaged, lacks items, or has vectors that are not finite.
        RunError: `out` holds something else, another process is training there, the files of an interrupted attempt
            are damaged, or the loss is not finite.
        TcfError: FAISS is not installed.
    """
    device = resolve_device(config.devices, option="--devices") if group is None else group.device
    devices = str(device) if group is None else group.devices
    config = dataclasses.replace(config, devices=devices, patience=config.resolved_patience)
    inputs = Inputs.open(config.items, data, caches, config.verify)
    folder = RunFolder(out, to_mapping(config), inputs.paths_from(out), inputs.fingerprints)
    finished = folder.finished()
    if finished is not None:
        return _there_already(out, finished)
    load_faiss()  # validation ranks after the first epoch; without FAISS there is no sense in beginning
    with deterministic_operations(config.deterministic), isolated_generators(device):
        training = training_data(inputs, config)
        _say_what_is_not_evaluated(inputs.dataset)
        # Without a saved state, it is not known whether existing projections were fitted to these inputs.
        fitted = folder.read_projections() if folder.state.exists() else {}
        projections = fitted or inputs.fit(config, training.items, device)
        assembled = assemble(inputs, training, projections, config, device, group)
        with folder.held():
            finished = folder.finished()
            if finished is not None:
                return _there_already(out, finished)
            return _train(assembled, projections, folder, watch)


def _say_what_is_not_evaluated(dataset: Dataset) -> None:
    further = further_targets_words(dataset.split, "validation")
    if further is not None:
        logger.info(f"{dataset.path}: {further}")


def _there_already(out: Path, manifest: Manifest) -> TrainResult:
    logger.info(f"{out}: already trained with these settings and inputs; nothing to do")
    return TrainResult(out, manifest, trained=False)


def _train(
    assembled: TrainingSetup, projections: Mapping[str, Projection], folder: RunFolder, watch: Watch | None
) -> TrainResult:
    """Train in a folder that this process holds."""
    trainer, validation = assembled.trainer, assembled.validation
    if folder.start():
        logger.warning(f"{folder.path}: removed an unfinished attempt at this run; training starts again")
    folder.write_projections(projections)
    records = FolderRecords(folder, trainer.config.save_minutes)
    some = validation.sample(trainer.config.validation_users, trainer.config.seed)
    outcome = fit(trainer, some, records, watch)
    folder.write_optimizer(trainer.optimizer.adamw, trainer.model)
    trainer.model.load_state_dict(folder.read_model(outcome.best_epoch))
    if some is not validation:
        logger.info(f"train: validating epoch {outcome.best_epoch}, the best, on all {len(validation.users):,} users")
    best = measure(validation, trainer, outcome.best_epoch)
    return TrainResult(folder.path, folder.publish(_run_metadata(assembled, outcome, best)), trained=True)
