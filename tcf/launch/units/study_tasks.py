"""Tasks of many runs: the search for the settings of a training, and the comparison of what a study has evaluated."""

import importlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from tcf.common.errors import ConfigError
from tcf.common.manifest import sha256_file
from tcf.launch.units.results import write_result
from tcf.launch.units.task import Stage, Task

__all__ = ["CompareTask", "SearchTask"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchTask(Task):
    """A search for the settings of a training; its workers are processes of the machine that it runs on.

    Attributes:
        file: the search file.
        identity: sha256 of its content, so that another content makes another task.
        data: the dataset directory that it names.
        caches: the cache directories that it names.
        out: the folder that it names.
        result: file for a summary, for the command that has asked for it; None for none.
    """

    stage: ClassVar[Stage] = "search"
    file: Path
    identity: str
    data: Path
    caches: tuple[Path, ...]
    out: Path
    result: Path | None = None

    @classmethod
    def of(cls, file: Path, result: Path | None = None) -> Self:
        """The task of a search file, whose paths are relative to the working directory of the command.

        Raises:
            ConfigError: see `read_search`.
        """
        from tcf.launch.search.search_file import read_search

        search, identity = read_search(file), sha256_file(file)
        caches = tuple(cache.absolute() for cache in search.caches)
        return cls(file.absolute(), identity, search.data.absolute(), caches, search.out.absolute(), result)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The best settings; and the result, if it is to be written."""
        return (self.out / "best.toml", *(() if self.result is None else (self.result,)))

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("search", str(self.file))

    def run(self) -> None:
        """See `Task`."""
        from tcf.launch.search.search import run_search
        from tcf.launch.search.search_file import read_search

        search = read_search(self.file)
        if sha256_file(self.file) != self.identity:
            raise ConfigError(
                f"{self.file}: expected the search file as it was when the command began, found that it has changed; "
                "run the same command again"
            )
        done = run_search(replace(search, data=self.data, caches=self.caches, out=self.out))
        logger.info(done.summary())
        if self.result is not None:
            write_result(self.result, {"json": done.as_json(), "text": done.summary()})


@dataclass(frozen=True)
class CompareTask(Task):
    """The results of a study: means over seeds, comparisons and tables, of what has been evaluated.

    Attributes:
        file: the study's file.
        overrides: entries that replace those of the file, as `KEY=VALUE`.
        out: the study's folder.
        identity: digest of the evaluations, so that others make another task.
    """

    stage: ClassVar[Stage] = "compare"
    file: Path
    overrides: tuple[str, ...]
    out: Path
    identity: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The tables."""
        return (self.out / "results.csv", self.out / "results.parquet")

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("study", str(self.file), *(part for entry in self.overrides for part in ("--set", entry)))

    def run(self) -> None:
        """See `Task`."""
        # By name: results are read from a study, which is made of units, which are made of tasks.
        importlib.import_module("tcf.launch.study.results.write_results").write_results(self.file, self.overrides)
