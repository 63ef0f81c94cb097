"""The results of a pipeline file: those of a study of one dataset and one encoder, at places of their own."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcf.common.errors import RunError, TcfError
from tcf.common.files import is_published
from tcf.data.cache.caches import open_cache
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import Compared, EvaluationTable
from tcf.evaluate.seeds import SeedEvaluations
from tcf.launch.study.results.finished import read_finished
from tcf.launch.study.run_study import Opener, run_study_units
from tcf.launch.study.study import Study
from tcf.launch.units.tasks import ExtractTask, PrepareTask

if TYPE_CHECKING:
    from tcf.extract.result import Extraction
    from tcf.train.stage import TrainResult

__all__ = ["PipelineResult", "run_pipeline"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipelineResult:
    """The results of a pipeline, made now or by an earlier run.

    Attributes:
        dataset: the dataset's directory.
        evaluations: evaluations of baselines and runs, by name; with several seeds, those of a run together.
        recommendations: files of recommendations, by the name of a run or a combination; of several seeds, by the
            first one.
        study: all that was planned.
        found: runs that had been trained before.
        rows: number of rows that the cache had before.
        problem: what failed, and what to do, in a sentence; empty if all is done.
    """

    dataset: Path
    evaluations: Mapping[str, Compared]
    recommendations: Mapping[str, Path]
    study: Study
    found: frozenset[Path]
    rows: int
    problem: str = ""

    @cached_property
    def extraction(self) -> "Extraction | None":
        """Summary of the extraction; None if there is no model.

        Raises:
            TcfError: the cache is damaged, or the model is no longer there.
        """
        task = _extraction(self.study)
        return None if task is None else _summed_up(task, self.rows)

    @cached_property
    def runs(self) -> "Mapping[str, TrainResult]":
        """The runs, by name; with several seeds by name and seed, such as `text/seed-0`.

        Raises:
            RunError: the manifest of one is damaged.
        """
        from tcf.common.manifest import read_manifest
        from tcf.train.run.file_names import RUN
        from tcf.train.stage import TrainResult

        return {
            str(run.relative_to(self.study.out / "runs")): TrainResult(
                run, read_manifest(run, RUN), run not in self.found
            )
            for run in _runs(self.study)
            if is_published(run)
        }

    @property
    def combinations(self) -> Mapping[str, Path]:
        """The combinations that are there, by name; with several seeds by name and seed, such as `both/seed-0`."""
        every = (path for one in self.study.combinations for path in one.combinations.values())
        return {str(path.relative_to(self.study.out / "combinations")): path for path in every if is_published(path)}

    @cached_property
    def examples(self) -> str:
        """A few recommendations for people, of the first combination or else the first run; empty if none are wanted.

        Raises:
            TcfError: the run or its dataset is damaged.
        """
        run = next(iter((*self.combinations.values(), *_runs(self.study))), None)
        if not self.study.recommend or run is None or not is_published(run):
            return ""
        from tcf.evaluate.recommend import examples

        settings = self.study.evaluate
        catalogue = None if settings.catalogue == "all" else settings.catalogue
        some = examples(run, users=3, k=3, catalogue=catalogue, search=settings.search, device=settings.device)
        name = Path(*run.relative_to(self.study.out).parts[1:])
        return f"Some recommendations of {name}:\n{some}"

    def check(self) -> None:
        """Refuse a pipeline of which something failed.

        Raises:
            RunError: saying what failed, and what to do.
        """
        if self.problem:
            raise RunError(self.problem)

    def as_json(self) -> dict[str, Any]:
        """The results as JSON values, without the examples."""
        return {
            "dataset": str(self.dataset),
            "extraction": None if self.extraction is None else self.extraction.as_json(),
            "runs": [{"name": name, **run.as_json()} for name, run in self.runs.items()],
            "combinations": {name: str(path) for name, path in self.combinations.items()},
            "evaluations": [entry for name, found in self.evaluations.items() for entry in _as_json(name, found)],
            "recommendations": {name: str(file) for name, file in self.recommendations.items()},
        }

    def summary(self) -> str:
        """The comparison of all evaluations, and the examples."""
        shown = [str(EvaluationTable(self.evaluations))] if self.evaluations else []
        return "\n\n".join([*shown, *([self.examples] if self.examples else [])])


def run_pipeline(study: Study, overrides: tuple[str, ...] = (), opener: Opener | None = None) -> PipelineResult:
    """Run everything of a pipeline that is not done.

    Args:
        study: the expanded pipeline file.
        overrides: the entries that replaced those of its file.
        opener: opens what runs the units; None for what the file says.

    Raises:
        RunError: another command is at it, or its folder cannot be written.
        TcfError: a launcher cannot run units at all.
    """
    found = frozenset(run for run in _runs(study) if is_published(run))
    rows = _rows(_extraction(study))
    _, problem = run_study_units(study, overrides, opener)
    finished = read_finished(study)
    [dataset] = [unit.task.out for unit in study.units if isinstance(unit.task, PrepareTask)]
    evaluations = {name: entry for own in study.datasets for name, entry in finished.compared(own).items()}
    recommended = {name: file for name, file in study.recommendations.items() if file.is_file()}
    return PipelineResult(dataset, evaluations, recommended, study, found, rows, problem)


def _runs(study: Study) -> Iterator[Path]:
    return (run for setting in study.settings for run in setting.runs.values())


def _extraction(study: Study) -> ExtractTask | None:
    """The task that completes the cache: the last one, if parts of it are extracted before."""
    tasks = [unit.task for unit in study.units if isinstance(unit.task, ExtractTask)]
    return tasks[-1] if tasks else None


def _rows(task: ExtractTask | None) -> int:
    """The number of rows of the cache; 0 if there is none."""
    try:
        return 0 if task is None else open_cache(task.outputs[0]).n_rows
    except TcfError:
        return 0


def _summed_up(task: ExtractTask, rows: int) -> "Extraction":
    """The finished extraction, of which so many rows were there before."""
    from tcf.encoders.folder.local_model import local_model
    from tcf.extract.stage import extract

    config = dataclasses.replace(task.config, shards=None)
    done = extract(data=task.data, model=local_model(task.model), name=task.model, out=task.out, config=config)
    return dataclasses.replace(done, computed=_rows(task) - rows)


def _as_json(name: str, found: Compared) -> Iterator[dict[str, Any]]:
    """An evaluation as JSON values; or those of several seeds, and then their mean."""
    match found:
        case SeedEvaluations():
            for seed, evaluation in found.evaluations.items():
                yield {"name": name, "seed": seed, **evaluation.as_json()}
            yield {"name": name, **found.as_json()}
        case Evaluation():
            yield {"name": name, **found.as_json()}
