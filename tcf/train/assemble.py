"""Assembles what a training needs: data, model, loss, batches and validation queries."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tcf.config.train import TrainConfig
from tcf.train.batch.feed import Feed
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.rows import BatchRows
from tcf.train.batch.training_data import TrainingData, trained_users
from tcf.train.batch.windows import RandomWindows, all_windows, last_windows
from tcf.train.inputs import Inputs
from tcf.train.loss.losses import Loss, build_loss
from tcf.train.model.build import build_model
from tcf.train.model.item_tower import DTL
from tcf.train.model.sasrec import SASRec
from tcf.train.parallel import Parallel, SingleProcess
from tcf.train.trainer import Trainer
from tcf.train.validation import Validation
from tcf.train.vectors.item_vectors import ItemVectors
from tcf.train.vectors.projection import Projection

__all__ = ["TrainingSetup", "assemble", "batch_rows", "compile_parts", "feed_of", "training_data"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training needs.

    Attributes:
        data: the training part of the dataset.
        trainer: model, loss, optimiser and batches.
        validation: the validation queries of all users; None for a refit.
    """

    data: TrainingData
    trainer: Trainer
    validation: Validation | None


def training_data(inputs: Inputs, config: TrainConfig) -> TrainingData:
    """The training part of the dataset; logs how many users have none, and how many items are no targets.

    Raises:
        DataError: no user has a target.
    """
    dataset, fewest = inputs.dataset, 1 if config.learns_users else 2
    data = TrainingData.build(dataset.split, dataset.n_items, config.history, fewest)
    if data.left_out:
        what = (
            "no training item, so that the model represents them by random numbers"
            if config.learns_users
            else "fewer than two training items and so no target"
        )
        logger.info(f"{data.left_out:,} of {dataset.n_users:,} users have {what}; they are left out of training")
    if config.tower_reads == "earlier":
        first, every = f"{len(data.users):,}", f"{data.lengths.sum():,}"
        logger.info(f"{first} of {every} training items have no earlier item to read and are no targets")
    return data


def batch_rows(config: TrainConfig, data: TrainingData) -> BatchRows:
    """The rows that backbone and settings name."""
    if config.backbone == "dssm":
        return PairRows(data, "nothing" if config.learns_users else config.tower_reads)
    match config.windows:
        case "last":
            return last_windows(data)
        case "all":
            return all_windows(data)
        case "random":
            return RandomWindows(data)


def assemble(
    inputs: Inputs,
    data: TrainingData,
    projections: Mapping[str, Projection],
    config: TrainConfig,
    device: torch.device,
    parallel: Parallel | None = None,
) -> TrainingSetup:
    """Assemble a training; writes nothing.

    Args:
        inputs: dataset and caches.
        data: the dataset's training part.
        projections: the projections fitted to the caches, by role.
        config: settings.
        device: where to compute.
        parallel: the processes that train together; this process alone if None.

    Raises:
        TcfError: the settings do not suit the inputs, or these cannot be used.
    """
    dataset, parallel = inputs.dataset, SingleProcess() if parallel is None else parallel
    vectors = inputs.training_vectors(config, projections, device)
    first_ids_NK = inputs.first_ids(config, data.items, device)
    model = build_model(
        config,
        dataset.n_items,
        dataset.n_users,
        vectors,
        device,
        counts_N=data.counts,
        first_ids_NK=first_ids_NK,
    )
    if config.compile:
        compile_parts(model)
    rows = batch_rows(config, data)
    loss = build_loss(config, data, rows, device)
    feed = feed_of(config, rows, vectors, loss, device, parallel.rank_and_size)
    validation = None if config.refit else _validation(inputs, config)
    return TrainingSetup(data, Trainer(model, loss, feed, config, device, parallel), validation)


def _validation(inputs: Inputs, config: TrainConfig) -> Validation:
    """The validation queries; logs how many are of users whom the model does not learn."""
    split = inputs.dataset.split
    validation, trained = Validation.build(split, config.history), trained_users(split, config)
    untrained = len(validation.users) - int(trained[validation.users].sum())
    if not untrained:
        return validation
    logger.info(
        f"validation: {untrained:,} of {len(validation.users):,} users have no training item, so that --user-tower id "
        f"represents them by random numbers; --untrained-users {config.untrained_users}"
    )
    return validation if config.untrained_users == "keep" else validation.among(trained)


def feed_of(
    config: TrainConfig,
    rows: BatchRows,
    vectors: ItemVectors | None,
    loss: Loss,
    device: torch.device,
    rank_and_size: tuple[int, int] = (0, 1),
) -> Feed:
    """The batches of a training.

    Args:
        config: settings.
        rows: the rows of every epoch.
        vectors: the items' cached vectors; None for items as ids.
        loss: draws the items that it needs besides the targets.
        device: device of the batches.
        rank_and_size: i and n: build the share of the i-th of n devices.
    """
    return Feed(
        rows=rows,
        candidates=loss.candidates,
        positions=config.history,
        batch_size=config.batch_size,
        seed=config.seed,
        vectors=None if vectors is None or vectors.on_device else vectors,
        device=device,
        rank_and_size=rank_and_size,
    )


def compile_parts(model: nn.Module) -> None:
    """Compile a model's DTLs and SASRec blocks in place; compilation happens at their first use.

    These parts depend on tensors alone, whose number of rows differs from batch to batch; the code that selects rows is
    not compiled. Names of parameters do not change.
    """
    for module in list(model.modules()):
        match module:
            case DTL():
                module.compile(dynamic=True)
            case SASRec():
                for block in module.blocks:
                    block.compile(dynamic=True)
