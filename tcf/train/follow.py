"""A process that trains together with the first one: it runs the same steps, but evaluates and writes nothing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tcf.config.fields import to_mapping
from tcf.config.train import TrainConfig
from tcf.train.assemble import assemble, training_data
from tcf.train.determinism import deterministic_operations, isolated_generators
from tcf.train.inputs import Inputs
from tcf.train.loss_meter import LossMeter
from tcf.train.parallel import EpochTask, Group
from tcf.train.run.file_names import SELECTION
from tcf.train.run.run_folder import RunFolder
from tcf.train.trainer import Trainer

__all__ = ["follow"]


def follow(*, data: Path, caches: Sequence[Path] = (), out: Path, config: TrainConfig, group: Group) -> None:
    """Follow the first process until it announces that the work is done.

    Nothing is opened before the first process has a training to run: it checks the settings and inputs, and by then the
    projections that it fitted are in the run's folder.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text, or the one that ids start from.
        out: the run's directory, which belongs to the first process.
        config: settings.
        group: the processes that train together; this one is not the first.

    Raises:
        TcfError: as `tcf.train.stage.train` does.
    """
    task = group.next_task()
    if task is None:
        return
    config = dataclasses.replace(config, devices=group.devices, patience=config.resolved_patience)
    with deterministic_operations(config.deterministic), isolated_generators(group.device):
        trainer: Trainer | None = None
        while task is not None:
            if trainer is None or trainer.config.refit != task.refit:
                trainer = None  # before the next one asks for memory
                place = out / SELECTION if config.refit and not task.refit else out
                trainer = _trainer(data, caches, place, dataclasses.replace(config, refit=task.refit), group)
            _run(trainer, task)
            task = group.next_task()


def _trainer(data: Path, caches: Sequence[Path], out: Path, config: TrainConfig, group: Group) -> Trainer:
    inputs = Inputs.of_training(config, data, caches).as_trained_on(config)
    folder = RunFolder(out, to_mapping(config), inputs.paths_from(out), inputs.fingerprints)
    training = training_data(inputs, config)
    projections = folder.read_projections() or inputs.fit(config, training.items, group.device)
    return assemble(inputs, training, projections, config, group.device, group).trainer


def _run(trainer: Trainer, task: EpochTask) -> None:
    if task.step < trainer.feed.steps:
        trainer.run_epoch(task.epoch, LossMeter(task.epoch, trainer.config.learning_rate, steps=task.step))
