"""What units do: each task is a stage with its inputs, its settings and what it publishes.

A task does the same as one command line, which `command` returns. Everything a task needs is in it, with absolute
paths, so that it can be sent to a worker process or a job on another machine, as JSON. A stage finds what it has
published before, so that a task can be run again at any time.
"""

from collections.abc import Mapping
from typing import Any

from tcf.launch.units.combine_task import CombineTask
from tcf.launch.units.data_tasks import ConvertTask, DownloadTask, ExtractTask, PrepareTask
from tcf.launch.units.run_tasks import EvaluateTask, RecommendTask, TrainTask
from tcf.launch.units.study_tasks import CompareTask, SearchTask
from tcf.launch.units.task import Stage, Task

__all__ = [
    "CombineTask",
    "CompareTask",
    "ConvertTask",
    "DownloadTask",
    "EvaluateTask",
    "ExtractTask",
    "PrepareTask",
    "RecommendTask",
    "SearchTask",
    "Stage",
    "Task",
    "TrainTask",
    "decode_task",
]

_TASKS: tuple[type[Task], ...] = (
    DownloadTask,
    PrepareTask,
    ConvertTask,
    ExtractTask,
    TrainTask,
    SearchTask,
    CombineTask,
    EvaluateTask,
    RecommendTask,
    CompareTask,
)


def decode_task(message: Mapping[str, Any]) -> Task:
    """Build a task from its JSON values."""
    [kind] = [task for task in _TASKS if task.stage == message["stage"]]
    return kind.from_message({name: value for name, value in message.items() if name != "stage"})
