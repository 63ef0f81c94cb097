"""Many evaluations of one command: where each is, which exist already, and in which order the others are made."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError, RunError, TcfError
from tcf.common.files import is_published
from tcf.common.output.folders import real_path
from tcf.common.units import counted
from tcf.config.evaluate import Baseline
from tcf.evaluate.batch.names_below import names_below
from tcf.evaluate.batch.requests import BaselineRequest, Request, RunRequest, evaluated
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import EvaluationTable
from tcf.evaluate.finished_run import RecordedFinishedRun, read_finished_run, reads_caches
from tcf.evaluate.stage import Evaluator

__all__ = ["Batch", "EvaluatedBatch", "failure_words", "plan_batch"]

logger = logging.getLogger(__name__)

_REASONS = 3  # that an error repeats; each was said when it was found


@dataclass(frozen=True)
class EvaluatedBatch:
    """What became of many evaluations.

    Attributes:
        out: the folder of all results.
        evaluations: the finished ones by name, those that existed already among them, in the order in which they were
            asked for.
        failures: why the others failed, by name.
    """

    out: Path
    evaluations: Mapping[str, Evaluation]
    failures: Mapping[str, str]

    @property
    def table(self) -> EvaluationTable:
        """The finished evaluations side by side."""
        return EvaluationTable(self.evaluations)

    def as_json(self, by: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The finished evaluations as JSON values, with their groups `by` something."""
        return [{"name": name, **found.as_json(by)} for name, found in self.evaluations.items()]

    def check(self) -> None:
        """Refuse a batch of which a part failed.

        Raises:
            RunError: names each that failed, and why.
        """
        if not self.failures:
            return
        total = len(self.evaluations) + len(self.failures)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in [*self.failures.items()][:_REASONS])
        others = f"; and {more} others" if (more := len(self.failures) - _REASONS) > 0 else ""
        raise RunError(
            f"{self.out}: expected {counted(total, 'evaluation')}, found {len(self.failures)} of them failed "
            f"({reasons}{others}); fix this and run the same command again, which finds the others"
        )


@dataclass
class Batch:
    """Evaluations that are being made.

    Attributes:
        out: the folder of all results.
        names: the names of all of them, in the order in which they were asked for.
        waiting: those that nobody has begun, ordered by what they share.
        finished: those that are there, by name.
        failures: why the others failed, by name.
        on_end: called with the name of each that has ended.
    """

    out: Path
    names: Sequence[str]
    waiting: list[Request] = field(default_factory=list)
    finished: dict[str, Evaluation] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    on_end: Callable[[str], object] = lambda name: None

    def finish(self, name: str, evaluation: Evaluation) -> None:
        """Note that an evaluation is there."""
        self.finished[name] = evaluation
        self.on_end(name)

    def fail(self, name: str, reason: str) -> None:
        """Note that an evaluation failed, and say so at once."""
        self.failures[name] = reason
        logger.warning(f"{name}: not evaluated: {reason}")
        self.on_end(name)

    def evaluate_all(self, evaluator: Evaluator) -> None:
        """Evaluate in this process all that wait, one after the other."""
        while self.waiting:
            request = self.waiting.pop(0)
            try:
                self.finish(request.name, evaluated(request, evaluator))
            except TcfError as error:
                self.fail(request.name, failure_words(error))

    def result(self) -> EvaluatedBatch:
        """What became of them."""
        found = {name: self.finished[name] for name in self.names if name in self.finished}
        failed = {name: self.failures[name] for name in self.names if name in self.failures}
        return EvaluatedBatch(self.out, found, failed)


def failure_words(error: Exception) -> str:
    """Why an evaluation failed, on one line."""
    return " ".join(str(error).split())


def plan_batch(
    runs: Sequence[Path],
    baselines: Sequence[Baseline],
    *,
    out: Path,
    evaluator: Evaluator,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    seed: int = 0,
) -> Batch:
    """Decide where each evaluation is, and find those that are there; a run that cannot be read has failed.

    Args:
        runs: directories of runs.
        baselines: baselines, to be evaluated on each dataset of the runs.
        out: the folder of all results.
        evaluator: has the settings.
        data: the dataset, if it has moved since the training, or if there is no run.
        caches: the caches, if they have moved, in the order of training; for the runs that have any.
        seed: seed of the random ranking.

    Raises:
        ConfigError: a run or a baseline is given twice, a result cannot be named, or no dataset is known for a
            baseline.
        RunError: `out` is one evaluation, or a file.
    """
    if is_published(out) or (os.path.lexists(out) and not out.is_dir()):
        found = "a result" if is_published(out) else "something else"
        raise RunError(f"{out}: expected a folder for several evaluations, found {found}; name another --out")
    if twice := [name for number, name in enumerate(baselines) if name in baselines[:number]]:
        raise ConfigError(f"--baseline: expected each baseline once, found {twice[0]} twice; name it once")
    read = [_read(run, data, caches) for run in runs]
    datasets = _datasets(read, data)
    if baselines and not datasets:
        raise ConfigError("--baseline: expected --data, or a run whose dataset is known, found neither; add --data")
    of_baselines = [(name, dataset) for dataset in datasets for name in baselines]
    sources = [*(dataset / name for name, dataset in of_baselines), *runs]
    names = names_below(out, sources)
    batch = Batch(out, names)
    for name, (baseline, dataset) in zip(names, of_baselines, strict=False):
        _add(batch, BaselineRequest(name, out / name, baseline, dataset, seed), evaluator)
    for name, run in zip(names[len(of_baselines) :], read, strict=True):
        if isinstance(run, TcfError):
            batch.fail(name, failure_words(run))
        else:
            _add(batch, RunRequest(name, out / name, run), evaluator)
    batch.waiting = _ordered(batch.waiting)
    if batch.finished:
        logger.info(f"evaluate: {len(batch.finished):,} of {counted(len(names), 'evaluation')} exist already")
    return batch


def _read(run: Path, data: Path | None, caches: Sequence[Path]) -> RecordedFinishedRun | TcfError:
    """What a run's directory says, or why it cannot be used."""
    try:
        return read_finished_run(run, data=data, caches=caches if reads_caches(run) else ())
    except TcfError as error:
        return error


def _datasets(read: Sequence[RecordedFinishedRun | TcfError], data: Path | None) -> list[Path]:
    """The directories of the runs' datasets, each once."""
    if data is not None:
        return [data]
    found: dict[Path, Path] = {}
    for run in read:
        if not isinstance(run, TcfError):
            found.setdefault(real_path(run.data), run.data)
    return [*found.values()]


def _add(batch: Batch, request: Request, evaluator: Evaluator) -> None:
    """Let an evaluation wait, unless it exists or cannot be made."""
    try:
        existing = request.existing(evaluator)
    except TcfError as error:
        batch.fail(request.name, failure_words(error))
        return
    if existing is None:
        batch.waiting.append(request)
    else:
        batch.finish(request.name, existing)


def _ordered(requests: Sequence[Request]) -> list[Request]:
    """The same, those with one dataset together, and of these those with the same caches."""
    first: dict[object, int] = {}
    for number, request in enumerate(requests):
        first.setdefault(request.places[0], number)
        first.setdefault(request.places, number)
    return sorted(requests, key=lambda request: (first[request.places[0]], first[request.places]))
