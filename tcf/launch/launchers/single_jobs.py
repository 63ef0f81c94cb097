"""Commands that are a single unit, so that they can be run as a job: a training, a search, recommendations."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError
from tcf.common.files import is_published
from tcf.common.manifest import read_manifest
from tcf.common.output.output_file import is_stream
from tcf.config.launch import LaunchConfig
from tcf.config.train import TrainConfig
from tcf.launch.launchers.run_command import run_command_units, state_folder
from tcf.launch.units.results import read_result
from tcf.launch.units.tasks import RecommendTask, SearchTask, TrainTask
from tcf.launch.units.unit import Unit
from tcf.train.run.file_names import RUN
from tcf.train.stage import TrainResult

__all__ = ["SearchReport", "recommend_in_job", "search_in_job", "train_in_job"]


def train_in_job(
    *, data: Path, caches: Sequence[Path], out: Path, config: TrainConfig, launch: LaunchConfig, again: str
) -> TrainResult:
    """Train a recommender in a job, on one node or several.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text, or the one that ids start from.
        out: the run's directory.
        config: settings; devices are those of each node.
        launch: where and how the job runs.
        again: the command line, for messages.

    Raises:
        RunError: the training failed, with the words of its own error.
        TcfError: see `try_command_units`.
    """
    was_there = is_published(out)
    task = TrainTask(data.absolute(), tuple(cache.absolute() for cache in caches), out.absolute(), config)
    run_command_units([Unit("train", task)], launch, out, again)
    return TrainResult(out, read_manifest(out, RUN), trained=not was_there)


@dataclass(frozen=True)
class SearchReport:
    """What a search in a job has found.

    Attributes:
        values: JSON values, as `SearchResult.as_json`.
        text: as `SearchResult.summary`.
    """

    values: dict[str, Any]
    text: str


def search_in_job(file: Path, launch: LaunchConfig, again: str) -> SearchReport:
    """Search for the best settings of a training, in one job, whose processes train the trials.

    Args:
        file: the search file.
        launch: where and how the job runs.
        again: the command line, for messages.

    Raises:
        ConfigError: the file is invalid.
        RunError: the search failed, with the words of its own error.
        TcfError: see `try_command_units`.
    """
    task = SearchTask.of(file)
    result = _result_file(task.out)
    run_command_units([Unit("search", dataclasses.replace(task, result=result))], launch, task.out, again)
    found = read_result(result)
    return SearchReport(found["json"], found["text"])


def recommend_in_job(task: RecommendTask, launch: LaunchConfig, again: str) -> dict[str, Any]:
    """Write each user's best items in a job.

    Args:
        task: what is recommended to whom, with paths as typed.
        launch: where and how the job runs.
        again: the command line, for messages.

    Returns:
        JSON values, as `Recommendations.as_json`.

    Raises:
        ConfigError: the output is a stream.
        RunError: it failed, with the words of its own error.
        TcfError: see `try_command_units`.
    """
    if is_stream(task.out):
        raise ConfigError(f"--out: expected a file with --launcher slurm, found {task.out}; name a file")
    result = _result_file(task.out)
    made = dataclasses.replace(
        task,
        run_folder=task.run_folder.absolute(),
        out=task.out.absolute(),
        users=None if task.users is None else task.users.absolute(),
        data=None if task.data is None else task.data.absolute(),
        caches=tuple(cache.absolute() for cache in task.caches),
        result=result,
    )
    run_command_units([Unit("recommend", made)], launch, task.out, again)
    return {**read_result(result), "out": str(task.out)}


def _result_file(out: Path) -> Path:
    return state_folder(out) / "result.json"
