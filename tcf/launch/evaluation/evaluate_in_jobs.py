"""Evaluation of runs and baselines in jobs of Slurm, one for each or for several short ones."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from tcf.common.files import is_published
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.launch import LaunchConfig
from tcf.evaluate.batch.batch import EvaluatedBatch, plan_batch
from tcf.evaluate.batch.requests import BaselineRequest, Request, RunRequest
from tcf.evaluate.evaluation import Evaluation, open_evaluation
from tcf.evaluate.finished_run import caches_of
from tcf.evaluate.lists.list_vectors import open_list_vectors
from tcf.evaluate.stage import Evaluator
from tcf.launch.launchers.run_command import run_command_units, try_command_units
from tcf.launch.units.tasks import EvaluateTask
from tcf.launch.units.unit import Unit
from tcf.train.run.open_inputs import OpenInputs

__all__ = ["evaluate_in_job", "evaluate_runs_in_jobs"]

logger = logging.getLogger(__name__)


def evaluate_in_job(task: EvaluateTask, launch: LaunchConfig, again: str) -> Evaluation:
    """Evaluate one run or baseline in a job.

    Args:
        task: what is evaluated, with paths as typed.
        launch: where and how the job runs.
        again: the command line, for messages.

    Raises:
        RunError: it failed, with the words of its own error.
        TcfError: see `try_command_units`.
    """
    run_command_units([Unit("evaluate", _absolute(task))], launch, task.out, again)
    return open_evaluation(task.out)


def evaluate_runs_in_jobs(
    runs: Sequence[Path],
    baselines: Sequence[Baseline] = (),
    *,
    out: Path,
    config: EvaluateConfig,
    launch: LaunchConfig,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    seed: int = 0,
    vectors: Path | None = None,
) -> EvaluatedBatch:
    """Evaluate runs, and baselines on their datasets, each in a directory of its own; what is there is found.

    Args:
        runs: directories of runs.
        baselines: baselines.
        out: the folder of all results.
        config: settings of all.
        launch: where and how the jobs run.
        data: the dataset, if it has moved since the training, or if there is no run.
        caches: the caches, if they have moved, in the order of training; for the runs that have any.
        seed: seed of the random ranking.
        vectors: a cache, for the diversity of lists; None: it is not measured.

    Raises:
        ConfigError: see `tcf.launch.evaluation.evaluate_runs.evaluate_runs`.
        RunError: `out` is one evaluation or a file.
        TcfError: see `try_command_units`.
    """
    # Devices are those of the nodes.
    evaluator = Evaluator(
        dataclasses.replace(config, device="auto"), OpenInputs(config.verify), open_list_vectors(vectors, config)
    )
    batch = plan_batch(runs, baselines, out=out, evaluator=evaluator, data=data, caches=caches, seed=seed)
    moved = data is not None, bool(caches)
    units = {
        request.name: Unit(f"evaluate/{request.name}", _task(request, config, vectors, *moved))
        for request in batch.waiting
    }
    if units:
        results, records = try_command_units([*units.values()], launch, out)
        for request in batch.waiting:
            unit = units[request.name]
            if unit.name in results.failed:
                batch.fail(request.name, f"{results.failed[unit.name]} (its log: {records.log(unit.name)})")
            elif is_published(request.out):
                batch.finish(request.name, open_evaluation(request.out))
    return batch.result()


def _task(
    request: Request, config: EvaluateConfig, vectors: Path | None, other_data: bool, other_caches: bool
) -> EvaluateTask:
    """What a job is to do; inputs are named only if they have moved, as for one evaluation by itself."""
    match request:
        case RunRequest(out=out, run=run):
            data, caches = (run.data if other_data else None), (caches_of(run) if other_caches else ())
            return _absolute(EvaluateTask(run.path, "", data, tuple(caches), out, config, vectors))
        case BaselineRequest(out=out, baseline=name, data=data, seed=seed):
            return _absolute(EvaluateTask(None, name, data, (), out, config, vectors, seed))


def _absolute(task: EvaluateTask) -> EvaluateTask:
    return dataclasses.replace(
        task,
        run_folder=None if task.run_folder is None else task.run_folder.absolute(),
        data=None if task.data is None else task.data.absolute(),
        caches=tuple(cache.absolute() for cache in task.caches),
        out=task.out.absolute(),
        vectors=None if task.vectors is None else task.vectors.absolute(),
    )
