"""What many evaluations of one command are of: runs, and baselines of their datasets."""

from dataclasses import dataclass
from pathlib import Path

from tcf.common.manifest import read_manifest
from tcf.common.output.folders import real_path
from tcf.config.evaluate import Baseline
from tcf.data.dataset import DATASET
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.finished_run import RecordedFinishedRun, caches_of, is_refit
from tcf.evaluate.stage import Evaluator

__all__ = ["BaselineRequest", "Places", "Request", "RunRequest", "evaluated"]

Places = tuple[Path, tuple[Path, ...], bool]
"""Where a dataset and caches are, and whether validation items are learnt: what evaluations can share."""


@dataclass(frozen=True)
class RunRequest:
    """A run or a combination to be evaluated.

    Attributes:
        name: name of the result.
        out: directory to create.
        run: the run.
    """

    name: str
    out: Path
    run: RecordedFinishedRun

    @property
    def places(self) -> Places:
        """What it can share with others."""
        return real_path(self.run.data), tuple(map(real_path, caches_of(self.run))), is_refit(self.run)

    def existing(self, evaluator: Evaluator) -> Evaluation | None:
        """See `Evaluator.existing_run`."""
        return evaluator.existing_run(self.run, self.out)

    def evaluate(self, evaluator: Evaluator) -> Evaluation:
        """Evaluate it, where nothing is yet.

        Raises:
            TcfError: see `Evaluator.open` and `evaluate_run`.
        """
        return evaluator.evaluate_run(evaluator.open(self.run), self.out)


@dataclass(frozen=True)
class BaselineRequest:
    """A baseline to be evaluated.

    Attributes:
        name: name of the result.
        out: directory to create.
        baseline: the baseline.
        data: its dataset.
        seed: seed of the random ranking.
    """

    name: str
    out: Path
    baseline: Baseline
    data: Path
    seed: int

    @property
    def places(self) -> Places:
        """What it can share with others."""
        return real_path(self.data), (), False

    def existing(self, evaluator: Evaluator) -> Evaluation | None:
        """See `Evaluator.existing_baseline`."""
        fingerprint = read_manifest(self.data, DATASET).fingerprint
        return evaluator.existing_baseline(self.baseline, fingerprint, self.out, self.seed)

    def evaluate(self, evaluator: Evaluator) -> Evaluation:
        """Evaluate it, where nothing is yet.

        Raises:
            TcfError: see `Evaluator.dataset` and `evaluate_baseline`.
        """
        return evaluator.evaluate_baseline(self.baseline, evaluator.dataset(self.data), self.out, self.seed)


Request = RunRequest | BaselineRequest


def evaluated(request: Request, evaluator: Evaluator) -> Evaluation:
    """Evaluate what was asked for, or find it: another process may have made it since, or was ended right after.

    Raises:
        TcfError: see `existing` and `evaluate`.
    """
    return request.existing(evaluator) or request.evaluate(evaluator)
