"""What all tasks have in common, and the stages that they belong to."""

import shlex
from pathlib import Path
from typing import Any, ClassVar, Literal

from tcf.launch.workers.jobs import Job

__all__ = ["Stage", "Task"]

Stage = Literal[
    "download", "prepare", "convert", "extract", "train", "combine", "evaluate", "recommend", "search", "compare"
]


class Task(Job):
    """Base of the tasks, which are frozen dataclasses with absolute paths.

    Attributes:
        stage: the stage that it belongs to.
    """

    stage: ClassVar[Stage]

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The directories and files that are there once it is done; none if they are no concern of the caller."""
        raise NotImplementedError

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of the command `tcf` that does the same."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """The command line that does the same, for a shell."""
        return shlex.join(["tcf", *self.arguments])

    @property
    def stamp(self) -> str:
        """What a look at files of the user that it reads tells of them: when they change, it is done again."""
        return ""

    def run(self) -> None:
        """Do it in this process.

        Raises:
            TcfError: any error of the stage.
        """
        raise NotImplementedError

    def as_message(self) -> dict[str, Any]:
        """The task as JSON values."""
        return {"stage": self.stage, **super().as_message()}
