"""Damaged caches: an extraction that meets damage, or whose readers do, drops what is damaged and computes it again."""

import logging
from dataclasses import replace
from pathlib import Path

from tcf.common.errors import CacheError
from tcf.config.extract import REPAIR
from tcf.launch.units.tasks import ExtractTask, Task

__all__ = ["asks_for_repair", "run_repairing"]

logger = logging.getLogger(__name__)


def asks_for_repair(reason: str) -> bool:
    """Whether the message of an error says that a cache is damaged and can be repaired."""
    return REPAIR in reason


def run_repairing(task: Task, wish: Path) -> str:
    """Run a task; an extraction whose cache turns out to be damaged drops the damage, and runs once more.

    Nobody is there at night to type `--repair`, which loses nothing: what is dropped cannot be read anyway.

    Args:
        task: the task.
        wish: file that exists if damage is to be looked for first; it is removed once that is done.

    Returns:
        What the user should know of it; empty for nothing.

    Raises:
        TcfError: any error of the stage.
    """
    if not isinstance(task, ExtractTask):
        task.run()
        return ""
    if not wish.exists():
        try:
            task.run()
        except CacheError as error:
            if not asks_for_repair(str(error)):
                raise
            logger.warning(f"{' '.join(str(error).split())}: this is done now")
        else:
            return ""
    _drop_damaged(task)
    wish.unlink(missing_ok=True)
    task.run()
    return f"{task.out}: a part of the cache was damaged; it was dropped and computed again"


def _drop_damaged(task: ExtractTask) -> None:
    """Drop what is damaged of the task's caches, all of their shards, whichever the task computes."""
    from tcf.encoders.folder.local_model import local_model
    from tcf.extract.inputs import open_inputs

    config = replace(task.config, repair=True, shards=None, parquet=False)
    open_inputs(data=task.data, model=local_model(task.model), name=task.model, out=task.out, config=config)
