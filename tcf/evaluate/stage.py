"""The evaluation of a training run, or of a baseline, which needs no training."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tcf.common.progress import Progress
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.data.dataset import open_dataset
from tcf.evaluate.baselines import baseline
from tcf.evaluate.evaluation import Evaluation, evaluate, existing_evaluation, held_out_queries
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.scorers import InnerProduct
from tcf.train.run.open_run import Run, open_run

__all__ = ["evaluate_baseline", "evaluate_run"]


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
        RunError: the run is unfinished, or its dataset or caches have changed.
        TcfError: FAISS is not installed.
    """
    load_faiss()
    opened = (
        run
        if isinstance(run, Run)
        else open_run(run, data=data, caches=caches, device=config.device, verify=config.verify)
    )
    config = dataclasses.replace(config, device=str(opened.device))
    inputs = {"run": opened.manifest.fingerprint, **opened.manifest.inputs}
    ranking = f"{opened.config.backbone}, items as {opened.config.items}"
    existing = existing_evaluation(out, inputs=inputs, ranking=ranking, config=config)
    if existing is not None:
        return existing
    queries = held_out_queries(opened.dataset, config.split)
    catalogue = Catalogue.build(opened.item_vectors())
    search_on: Literal["cpu", "cuda"] = "cuda" if opened.device.type == "cuda" else "cpu"
    with Progress("evaluate: states", len(queries), "users") as progress:
        states_UD = opened.user_states(queries.users, queries.earlier, progress.advance)
    scorer = InnerProduct(catalogue, states_UD, search_on)
    return evaluate(scorer, opened.dataset, out=out, inputs=inputs, ranking=ranking, config=config)


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
    scorer = baseline(name, dataset.split, held_out_queries(dataset, config.split), dataset.n_items, seed=seed)
    return evaluate(scorer, dataset, out=out, inputs=inputs, ranking=ranking, config=config)
