"""The evaluation of training runs, and of baselines, which need no training."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.evaluate.baselines.baseline import baseline
from tcf.evaluate.evaluation import Evaluation, UsersProgress, evaluate, existing_evaluation, users_progress
from tcf.evaluate.finished_run import (
    FinishedRun,
    RecordedFinishedRun,
    check_search,
    check_split,
    fingerprints_of,
    learned_users,
    opened_finished_run,
    ranking_of,
    read_finished_run,
)
from tcf.evaluate.lists.list_vectors import open_list_vectors, vectors_input
from tcf.evaluate.questions import Questions
from tcf.evaluate.run_scores import RunScores
from tcf.ranking.engines import Engine, resolve_search
from tcf.ranking.ranker import Ranker
from tcf.train.run.open_inputs import OpenInputs

__all__ = ["Evaluator", "evaluate_baseline", "evaluate_run"]

logger = logging.getLogger(__name__)


@dataclass
class Evaluator:
    """Evaluates runs and baselines one after the other, as one command does.

    The inputs of the last one stay open, and what its dataset was asked is kept, for the next one of the same dataset.

    Attributes:
        config: settings of all.
        inputs: the open inputs.
        vectors: the cache that the diversity of lists is measured on.
        progress: shows the progress of a step.
    """

    config: EvaluateConfig
    inputs: OpenInputs
    vectors: VectorCache | None = None
    progress: UsersProgress = users_progress
    _asked: tuple[Dataset, Questions] | None = None

    @property
    def engine(self) -> Engine:
        """What searches for runs.

        Raises:
            TcfError: it is FAISS, which is not installed.
        """
        return resolve_search(self.config.search)

    def existing_run(self, run: RecordedFinishedRun | FinishedRun, out: Path) -> Evaluation | None:
        """Open the evaluation of a run or a combination at `out`; None if there is nothing.

        Raises:
            ConfigError: the targets are those of validation, and the run is a refit, which was trained on them; or
                FAISS is to search for a combination with a member that is no inner product.
            RunError: `out` holds something else.
        """
        check_split(run, self.config.split)
        check_search(run, self.engine)
        config = dataclasses.replace(self.config, search=self.engine)
        return self._existing(out, fingerprints_of(run), ranking_of(run), config)

    def existing_baseline(self, name: Baseline, dataset: str, out: Path, seed: int) -> Evaluation | None:
        """Open the evaluation of a baseline at `out`, by the fingerprint of its dataset; None if there is nothing.

        Raises:
            RunError: `out` holds something else.
        """
        return self._existing(out, {"dataset": dataset}, _ranking_by(name, seed), _of_baseline(self.config))

    def _existing(
        self, out: Path, inputs: Mapping[str, str], ranking: str, config: EvaluateConfig
    ) -> Evaluation | None:
        return existing_evaluation(out, inputs=self._with_vectors(inputs), ranking=ranking, config=config)

    def _with_vectors(self, inputs: Mapping[str, str]) -> dict[str, str]:
        return {**inputs, **vectors_input(self.vectors)}

    def open(self, recorded: RecordedFinishedRun) -> FinishedRun:
        """Open a run on the device of the settings; the dataset and the answers of another one are let go.

        Raises:
            TcfError: see `opened_finished_run`.
        """
        self.dataset(recorded.data)
        return opened_finished_run(recorded, self.inputs, self.config.device)

    def dataset(self, path: Path) -> Dataset:
        """Open a dataset; another one, and what it was asked, are let go.

        Raises:
            DataError: it is missing or damaged.
        """
        if not self.inputs.has(path):
            self._asked = None
        return self.inputs.dataset(path)

    def evaluate_run(self, run: FinishedRun, out: Path) -> Evaluation:
        """Evaluate a run or a combination, on its device, where nothing is yet.

        Raises:
            RunError: a score is not finite, or `out` is occupied.
        """
        config = dataclasses.replace(self.config, device=str(run.device), search=self.engine)
        questions = self._questions_of(run.dataset)
        _say_untrained(run, questions)
        return evaluate(
            self._ranker(run, questions),
            questions,
            run.dataset,
            out=out,
            inputs=self._with_vectors(fingerprints_of(run)),
            ranking=ranking_of(run),
            config=config,
            vectors=self.vectors,
            progress=self.progress,
        )

    def evaluate_baseline(self, name: Baseline, dataset: Dataset, out: Path, seed: int) -> Evaluation:
        """Evaluate a baseline, where nothing is yet.

        Raises:
            RunError: `out` is occupied.
        """
        questions = self._questions_of(dataset)
        return evaluate(
            baseline(name, dataset.split, questions.queries, questions.ranked, seed=seed),
            questions,
            dataset,
            out=out,
            inputs=self._with_vectors({"dataset": dataset.fingerprint}),
            ranking=_ranking_by(name, seed),
            config=_of_baseline(self.config),
            vectors=self.vectors,
            progress=self.progress,
        )

    def _ranker(self, run: FinishedRun, questions: Questions) -> Ranker:
        """Compute what a run ranks by: the vectors of the ranked items, and the users' states."""
        scores, queries = RunScores.of(run, questions.ranked, self.engine), questions.queries
        with self.progress("evaluate: states", len(queries)) as shown:
            states_UD = run.user_states(queries.users, queries.earlier, shown.advance)
        return scores.ranker(states_UD, queries.earlier)

    def _questions_of(self, dataset: Dataset) -> Questions:
        """What the settings ask of a dataset; said once."""
        if self._asked is None or self._asked[0] is not dataset:
            self._asked = None
            self._asked = dataset, Questions.of(dataset, self.config)
            self._asked[1].say(dataset, self.config)
        return self._asked[1]


def evaluate_run(
    run: Path | FinishedRun,
    *,
    out: Path,
    config: EvaluateConfig,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    vectors: Path | None = None,
) -> Evaluation:
    """Evaluate a finished run or a combination; if `out` already holds this evaluation, it is returned as it is.

    Args:
        run: the run or the combination, or its directory.
        out: directory to create.
        config: settings; a run that is open stays on its device.
        data: the dataset, if it has moved since the training.
        caches: the vector caches, if they have moved, in the order of training.
        vectors: a cache, for the diversity of lists; None: it is not measured.

    Raises:
        ConfigError: the targets are those of validation, and the run is a refit, which was trained on them; or vectors
            are named without lists.
        RunError: the run is unfinished, or its dataset or caches have changed.
        TcfError: FAISS is to search, and not installed.
    """
    resolve_search(config.search)
    evaluator = Evaluator(config, OpenInputs(config.verify), open_list_vectors(vectors, config))
    if isinstance(run, Path):
        run = evaluator.open(read_finished_run(run, data=data, caches=caches))
    existing = evaluator.existing_run(run, out)
    return evaluator.evaluate_run(run, out) if existing is None else _found(existing)


def evaluate_baseline(
    name: Baseline, *, data: Path, out: Path, config: EvaluateConfig, seed: int = 0, vectors: Path | None = None
) -> Evaluation:
    """Evaluate a baseline; if `out` already holds this evaluation, it is returned as it is.

    Args:
        name: the baseline.
        data: the dataset.
        out: directory to create.
        config: settings.
        seed: seed of the random ranking.
        vectors: a cache, for the diversity of lists; None: it is not measured.

    Raises:
        ConfigError: vectors are named without lists.
        RunError: `out` holds something else.
    """
    evaluator = Evaluator(config, OpenInputs(config.verify), open_list_vectors(vectors, config))
    dataset = evaluator.dataset(data)
    existing = evaluator.existing_baseline(name, dataset.fingerprint, out, seed)
    return evaluator.evaluate_baseline(name, dataset, out, seed) if existing is None else _found(existing)


def _found(existing: Evaluation) -> Evaluation:
    logger.info(f"{existing.path}: already evaluated with these settings and inputs; nothing to do")
    return existing


def _of_baseline(config: EvaluateConfig) -> EvaluateConfig:
    """The settings of a baseline, which nothing searches for."""
    return dataclasses.replace(config, search="auto")


def _ranking_by(name: Baseline, seed: int) -> str:
    return f"random, seed {seed}" if name == "random" else name


def _say_untrained(run: FinishedRun, questions: Questions) -> None:
    """Warn that some of the evaluated users have a vector that was never trained."""
    untrained = int((~learned_users(run)[questions.queries.users]).sum())
    if untrained:
        logger.warning(
            f"{run.path}: {untrained:,} of {len(questions.queries):,} evaluated users have no training interaction, so "
            "that their user vectors are random numbers; --untrained-users leave-out leaves them out"
        )
