"""The training stage: from a dataset, and caches for items as text, to a run."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tcf.common.devices import resolve_device
from tcf.common.files import check_early
from tcf.common.manifest import Manifest
from tcf.common.units import counted
from tcf.config.fields import to_mapping
from tcf.config.train import TrainConfig
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.metrics import VALIDATION_METRICS, named_as_validation
from tcf.train.assemble import TrainingSetup, assemble, training_data
from tcf.train.determinism import deterministic_operations, isolated_generators
from tcf.train.fit import Watch, fit, measure
from tcf.train.inputs import Inputs
from tcf.train.model.cache_mix import cache_weights
from tcf.train.parallel import Group
from tcf.train.run.file_names import SELECTION
from tcf.train.run.open_run import ordered_metadata
from tcf.train.run.records import FolderRecords
from tcf.train.run.run_folder import RunFolder
from tcf.train.validation import Validation
from tcf.train.vectors.projection import Projection

__all__ = ["TrainResult", "train"]

logger = logging.getLogger(__name__)

_TRAINED_ON = "training and validation"


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
    assembled: TrainingSetup, epochs: int, chosen: Mapping[str, Any], of_caches: Mapping[str, Any]
) -> dict[str, Any]:
    """The facts of a run's manifest.

    Args:
        assembled: what was trained.
        epochs: the number of epochs.
        chosen: the epoch whose model was kept, and the metrics that chose it.
        of_caches: what was found of each cache, if anything was.
    """
    trainer = assembled.trainer
    return {
        **chosen,
        "epochs": epochs,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "targets": trainer.feed.rows.n_targets,
        "device": trainer.config.devices,
        "threads": torch.get_num_threads(),
        "users": len(assembled.data.users),
        "users_left_out": assembled.data.left_out,
        **of_caches,
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

    For a refit, this is done twice: a run in `out / SELECTION` finds the best epoch, then that of `out` is trained on
    training and validation items for as many epochs.

    Equal settings, inputs, device and threads give equal bytes of the model, even if an attempt was interrupted and
    resumed. Torch's global generators and settings are restored afterwards.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text, whose vectors are concatenated; the one that ids start from, with
            `id_init` text; empty for other items as ids.
        out: the run's directory.
        config: settings.
        watch: see `Watch`, called when an epoch ends; for a resumed training, first with the finished epochs. An error
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
    check_early(out)
    device = resolve_device(config.devices, option="--devices") if group is None else group.device
    devices = str(device) if group is None else group.devices
    config = dataclasses.replace(config, devices=devices, patience=config.resolved_patience)
    inputs = Inputs.of_training(config, data, caches).as_trained_on(config)
    folder = RunFolder(out, to_mapping(config), inputs.paths_from(out), inputs.fingerprints)
    finished = folder.finished()
    if finished is not None:
        return _there_already(out, finished)
    load_faiss()  # validation ranks after the first epoch; without FAISS there is no sense in beginning
    selection = None
    if config.refit:
        selection = _select_epoch(data, caches, out / SELECTION, config, watch, group)
        folder = dataclasses.replace(folder, selection=selection.fingerprint)
    with deterministic_operations(config.deterministic), isolated_generators(device):
        training = training_data(inputs, config)
        # Without a saved state, it is not known whether existing projections were fitted to these inputs.
        fitted = folder.read_projections() if folder.state.exists() else {}
        projections = fitted or inputs.fit(config, training.items, device)
        assembled = assemble(inputs, training, projections, config, device, group)
        with folder.held():
            finished = folder.finished()
            if finished is not None:
                return _there_already(out, finished)
            return _train(assembled, projections, folder, selection, watch)


def _select_epoch(
    data: Path, caches: Sequence[Path], out: Path, config: TrainConfig, watch: Watch | None, group: Group | None
) -> Manifest:
    """Train the run that finds the best epoch for a refit; returns its manifest."""
    logger.info(f"train: choosing the number of epochs -> {out}")
    first = dataclasses.replace(config, refit=False)
    return train(data=data, caches=caches, out=out, config=first, watch=watch, group=group).manifest


def _there_already(out: Path, manifest: Manifest) -> TrainResult:
    logger.info(f"{out}: already trained with these settings and inputs; nothing to do")
    return TrainResult(out, manifest, trained=False)


def _train(
    assembled: TrainingSetup,
    projections: Mapping[str, Projection],
    folder: RunFolder,
    selection: Manifest | None,
    watch: Watch | None,
) -> TrainResult:
    """Train in a folder that this process holds."""
    if folder.start():
        logger.warning(f"{folder.path}: removed an unfinished attempt at this run; training starts again")
    folder.write_projections(projections)
    trainer, validation = assembled.trainer, assembled.validation
    goal = _goal(trainer.config, validation, selection)
    outcome = fit(
        trainer, goal, FolderRecords(folder, trainer.config.save_minutes), None if validation is None else watch
    )
    folder.write_optimizer(trainer.optimizer.adamw, trainer.model)
    chosen = {} if selection is None else _of_selection(selection)
    if validation is not None:
        if goal is not validation:
            users = f"all {len(validation.users):,} users"
            logger.info(f"train: validating epoch {outcome.best_epoch}, the best, on {users}")
        trainer.model.load_state_dict(folder.read_model(outcome.best_epoch))
        chosen = {"best_epoch": outcome.best_epoch, **measure(validation, trainer, outcome.best_epoch)}
    of_caches = _of_caches(trainer.model, projections, folder.paths)
    facts = _run_metadata(assembled, outcome.epochs, chosen, of_caches)
    return TrainResult(folder.path, folder.publish(facts), trained=True)


def _of_caches(
    model: nn.Module, projections: Mapping[str, Projection], paths: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """By cache: how many dimensions `--whiten full` found, and what weight `--mix weights` has learned; logs these."""
    found: dict[str, dict[str, float]] = {}
    whitened = {role: fitted.components for role, fitted in projections.items() if fitted.components is not None}
    if whitened:
        found["whitened_dimensions"] = {**whitened}
    if weights := cache_weights(model):
        roles = [role for role in paths if role != "data"]
        found["cache_weights"] = dict(zip(roles, weights, strict=True))
        shown = ", ".join(f"{weight:.3f} {paths[role]}" for role, weight in found["cache_weights"].items())
        logger.info(f"train: learned weights of the caches, whose sum is 1: {shown}")
    return found


def _goal(config: TrainConfig, validation: Validation | None, selection: Manifest | None) -> Validation | int:
    """The queries that choose the best epoch; for a refit, the number of epochs that a first run has chosen."""
    match validation, selection:
        case Validation() as queries, None:
            return queries.sample(config.validation_users, config.seed)
        case None, Manifest(facts=facts):
            epochs = int(facts["best_epoch"])
            logger.info(f"train: refit on {_TRAINED_ON} items for {counted(epochs, 'epoch')}")
            return epochs
        case _:
            raise ValueError("a training expects either validation queries or the run that chose its number of epochs")


def _of_selection(selection: Manifest) -> dict[str, Any]:
    """What a refit's manifest says of the run that chose its number of epochs."""
    facts = selection.facts
    return {
        "trained_on": _TRAINED_ON,
        "selection": selection.fingerprint,
        "selected_epoch": facts["best_epoch"],
        **{f"selection_{metric.validation_key}": facts[metric.name] for metric in VALIDATION_METRICS},
    }
