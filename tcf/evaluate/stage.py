"""The evaluation of a training run, or of a baseline, which needs no training."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.common.progress import Progress
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.data.dataset import open_dataset
from tcf.evaluate.baselines.baseline import baseline
from tcf.evaluate.evaluation import Evaluation, evaluate, existing_evaluation
from tcf.evaluate.questions import Questions
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.scorers import InnerProduct
from tcf.train.batch.training_data import trained_users
from tcf.train.run.file_names import SELECTION
from tcf.train.run.open_run import Run, open_run

__all__ = ["evaluate_baseline", "evaluate_run"]

logger = logging.getLogger(__name__)


def evaluate_run(
    run: Path | Run, *, out: Path, config: EvaluateConfig, data: Path | None = None, caches: Sequence[Path] = ()
) -> Evaluation:
    """Evaluate a finished training run; if `out` already holds this evaluation, it is returned as it is.

    Args:
        run: the run, or its directory.
        out: directory to create.
        config: settings; a run that is open stays on its device.
        data: the dataset, if it has moved since the training.
        caches: the vector caches, if they have moved, in the order of training.

    Raises:
        ConfigError: the targets are those of validation, and the run is a refit, which was trained on them.
        RunError: the run is unfinished, or its dataset or caches have changed.
        TcfError: FAISS is not installed.
    """
    load_faiss()
    opened = (
        run
        if isinstance(run, Run)
        else open_run(run, data=data, caches=caches, device=config.device, verify=config.verify)
    )
    if opened.config.refit and config.split == "validation":
        raise ConfigError(
            f"--split validation: expected a run that was not trained on the validation targets, found {opened.path}, "
            f"a refit on {opened.manifest.facts['trained_on']} items; evaluate {opened.path / SELECTION}, which chose "
            "its number of epochs, or use --split test"
        )
    config = dataclasses.replace(config, device=str(opened.device))
    inputs = {"run": opened.manifest.fingerprint, **opened.manifest.inputs}
    ranking = f"{opened.config.backbone}, items as {opened.config.items}{', refit' if opened.config.refit else ''}"
    existing = existing_evaluation(out, inputs=inputs, ranking=ranking, config=config)
    if existing is not None:
        return existing
    questions = Questions.of(opened.dataset, config)
    _say_untrained(opened, questions)
    catalogue = Catalogue.build(questions.ranked.vectors(opened.item_vectors()))
    search_on: Literal["cpu", "cuda"] = "cuda" if opened.device.type == "cuda" else "cpu"
    queries = questions.queries
    with Progress("evaluate: states", len(queries), "users") as progress:
        states_UD = opened.user_states(queries.users, queries.earlier, progress.advance)
    ranker = FaissRanker(InnerProduct(catalogue, states_UD), search_on)
    return evaluate(ranker, questions, opened.dataset, out=out, inputs=inputs, ranking=ranking, config=config)


def _say_untrained(run: Run, questions: Questions) -> None:
    """Warn that some of the evaluated users have a vector that was never trained."""
    untrained = int((~trained_users(run.dataset.split, run.config)[questions.queries.users]).sum())
    if untrained:
        logger.warning(
            f"{run.path}: {untrained:,} of {len(questions.queries):,} evaluated users have no training interaction, so "
            "that their user vectors are random numbers; --untrained-users leave-out leaves them out"
        )


def evaluate_baseline(name: Baseline, *, data: Path, out: Path, config: EvaluateConfig, seed: int = 0) -> Evaluation:
    """Evaluate a baseline; if `out` already holds this evaluation, it is returned as it is.

    Args:
        name: the baseline.
        data: the dataset.
        out: directory to create.
        config: settings.
        seed: seed of the random ranking.

    Raises:
        RunError: `out` holds something else.
    """
    dataset = open_dataset(data, verify=config.verify)
    inputs = {"dataset": dataset.fingerprint}
    ranking = f"random, seed {seed}" if name == "random" else name
    existing = existing_evaluation(out, inputs=inputs, ranking=ranking, config=config)
    if existing is not None:
        return existing
    questions = Questions.of(dataset, config)
    ranker = baseline(name, dataset.split, questions.queries, questions.ranked, seed=seed)
    return evaluate(ranker, questions, dataset, out=out, inputs=inputs, ranking=ranking, config=config)
