"""The results of a study as they are handed to callers, read from the files that were written."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import RunError
from tcf.common.parsing import read_json
from tcf.data.data_frames import data_frame
from tcf.evaluate.evaluation_table import Compared
from tcf.launch.study.results.finished import read_finished
from tcf.launch.study.results.shown import results_shown
from tcf.launch.study.results.write_results import COMPARISONS, RESULTS
from tcf.launch.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StudyResult"]

_LARGEST = 2**30  # bytes of a comparison as JSON; 200 rankings by four metrics take 60 MB


@dataclass(frozen=True, repr=False)
class StudyResult:
    """The results of a study: of all of it, or, after failures, of what there is.

    Attributes:
        path: the study's folder; `results.csv`, `results.parquet` and `comparisons` are in it.
        failed: why units were given up, by their names; empty if all are done.
        left: names of the units that could not run because of these.
        study: the expanded study.
        problem: what failed, and what to do, in a sentence; empty if all are done.
    """

    path: Path
    failed: Mapping[str, str]
    left: tuple[str, ...]
    study: Study
    problem: str = ""

    @cached_property
    def results(self) -> pa.Table:
        """The table of results; without rows if there are none."""
        file = self.path / f"{RESULTS}.parquet"
        return pq.read_table(file) if file.is_file() else pa.table({"seed": pa.array([], pa.string())})

    @cached_property
    def comparisons(self) -> Mapping[str, Mapping[str, Any]]:
        """The comparison of each dataset, as JSON values."""
        files = {dataset: self.path / COMPARISONS / f"{dataset}.json" for dataset in self.study.datasets}
        return {dataset: read_json(file, most=_LARGEST) for dataset, file in files.items() if file.is_file()}

    @cached_property
    def evaluations(self) -> Mapping[str, Compared]:
        """All evaluations by dataset and setting, such as `ml-100k/minilm/sasrec-text`; those of seeds together.

        Raises:
            RunError: one is damaged.
        """
        finished = read_finished(self.study)
        return {
            f"{dataset}/{name}": compared
            for dataset in self.study.datasets
            for name, compared in finished.compared(dataset).items()
        }

    def check(self) -> None:
        """Refuse a study of which something failed.

        Raises:
            RunError: saying what failed, and what to do.
        """
        if self.problem:
            raise RunError(self.problem)

    def to_pandas(self) -> "pd.DataFrame":
        """The table of results: a row for each setting and seed, and one for the mean over the seeds.

        Raises:
            ConfigError: pandas is not installed.
        """
        return data_frame(self.results)

    def as_json(self) -> dict[str, Any]:
        """The results as JSON values."""
        return {
            "study": str(self.path),
            "results": self.results.to_pylist(),
            "comparisons": {dataset: str(self.path / COMPARISONS / f"{dataset}.json") for dataset in self.comparisons},
            "recommendations": {n: str(file) for n, file in self.study.recommendations.items() if file.is_file()},
            "failed": dict(self.failed),
            "left": list(self.left),
        }

    def summary(self) -> str:
        """The means of all settings for people, dataset by dataset, and where the rest is."""
        shown = results_shown(self.results, self.comparisons, self.study.evaluate)
        return f"{shown}\n\n{self._places()}"

    def _places(self) -> str:
        compared = f", comparisons of all pairs: {self.path / COMPARISONS}" if self.comparisons else ""
        return f"all rows, each seed: {self.path / RESULTS}.csv and .parquet{compared}"

    def __repr__(self) -> str:
        """What it is, in a line."""
        failed = f", {len(self.failed)} units failed" if self.failed else ""
        return f"StudyResult({str(self.path)!r}: {len(self.results)} rows{failed})"
