"""Evaluation of many runs and baselines: in this process, or shared out over worker processes."""

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from tcf.common.devices import resolve_device, resolve_devices
from tcf.common.errors import ConfigError
from tcf.common.progress import Progress
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.evaluate.batch.batch import Batch, EvaluatedBatch, plan_batch
from tcf.evaluate.lists.list_vectors import open_list_vectors
from tcf.evaluate.stage import Evaluator
from tcf.launch.evaluation.evaluation_workers import evaluate_in_workers
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import ProcessStarter
from tcf.ranking.engines import resolve_search
from tcf.train.run.open_inputs import OpenInputs

__all__ = ["evaluate_runs", "evaluation_devices"]

logger = logging.getLogger(__name__)

_HIDDEN = 10.0  # seconds for which the steps of one of many evaluations are not shown


def evaluate_runs(
    runs: Sequence[Path],
    baselines: Sequence[Baseline] = (),
    *,
    out: Path,
    config: EvaluateConfig,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    seed: int = 0,
    workers: int = 1,
    devices: str = "",
    vectors: Path | None = None,
    starter: ProcessStarter = DEFAULT_STARTER,
) -> EvaluatedBatch:
    """Evaluate runs, and baselines on their datasets, each in a directory of its own; what is there is found.

    One that fails is said at once, and the others go on. Datasets and caches are opened once in each process.

    Args:
        runs: directories of runs.
        baselines: baselines.
        out: the folder of all results.
        config: settings of all.
        data: the dataset, if it has moved since the training, or if there is no run.
        caches: the caches, if they have moved, in the order of training; for the runs that have any.
        seed: seed of the random ranking.
        workers: number of worker processes; 1 for none besides this one, unless there are several devices.
        devices: the workers' devices, in turn, with commas between them; empty for that of the settings.
        vectors: a cache, for the diversity of lists; None: it is not measured.
        starter: starts the workers if there are several.

    Raises:
        ConfigError: there is nothing to evaluate, a run or a baseline is given twice, a device does not exist, a result
            cannot be named, no dataset is known for a baseline, or vectors are named without lists.
        RunError: `out` is one evaluation or a file, or no worker can be started.
        TcfError: FAISS is to search, and not installed.
    """
    if not runs and not baselines:
        raise ConfigError("runs: expected runs or baselines to evaluate, found neither")
    if runs:
        resolve_search(config.search)
    places = evaluation_devices(config, workers, devices)
    config = dataclasses.replace(config, device=places[0])
    inputs = OpenInputs(config.verify)
    cache = open_list_vectors(vectors, config)
    evaluator = Evaluator(config, inputs, cache, partial(Progress, unit="users", hidden_for=_HIDDEN))
    batch = plan_batch(runs, baselines, out=out, evaluator=evaluator, data=data, caches=caches, seed=seed)
    ended = len(batch.finished) + len(batch.failures)
    with Progress("evaluate", len(batch.names), "evaluations", done=ended) as progress:
        batch.on_end = partial(progress.advance, 1)
        _evaluate(batch, evaluator, places, starter)
    return batch.result()


def _evaluate(batch: Batch, evaluator: Evaluator, devices: Sequence[str], starter: ProcessStarter) -> None:
    """Evaluate all that wait, with as many processes as there are devices and evaluations."""
    used = devices[: len(batch.waiting)]
    if len(used) > 1:
        place = None if evaluator.vectors is None else evaluator.vectors.path
        evaluate_in_workers(batch, evaluator.config, used, torch.get_num_threads(), starter, place)
    else:
        batch.evaluate_all(evaluator)


def evaluation_devices(config: EvaluateConfig, workers: int, devices: str) -> list[str]:
    """Return the device of each worker; one for this process alone.

    Args:
        config: settings, with the device of all if no devices are named.
        workers: number of workers.
        devices: devices of workers, in turn, with commas between them; as many workers, if that is more.

    Raises:
        ConfigError: a device does not exist, or `--device` is given as well.
    """
    if not devices:
        resolve_device(config.device)
        return [config.device] * workers
    if config.device != "auto":
        raise ConfigError(
            f"--devices: expected no --device besides, found {config.device}; name all devices with --devices"
        )
    named = [*map(str, resolve_devices(devices))]
    return [named[number % len(named)] for number in range(max(workers, len(named)))]
