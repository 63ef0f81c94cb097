"""Evaluations of scores that are given, on a small dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from small.score_tables import table_ranker
from small.train.runs import make_dataset
from tcf.config.evaluate import EvaluateConfig
from tcf.data.dataset import Dataset, open_dataset
from tcf.evaluate.evaluation import Evaluation, evaluate
from tcf.evaluate.questions import Questions

__all__ = ["N_ITEMS", "histories", "judged", "small_dataset"]

N_ITEMS = 40


def histories(n_users: int = 120) -> list[list[int]]:
    """Users with 3 to 14 items of 40, small numbers more often; the last ten items are in no training part."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 15, n_users)
    drawn = [(30 * rng.random(length) ** 2).astype(int).tolist() for length in lengths]
    return [[*items[:-1], 30 + user % 10] if user % 4 == 0 else items for user, items in enumerate(drawn)]


def small_dataset(folder: Path) -> Dataset:
    """The dataset of these users, made if it is not there."""
    place = folder / "data"
    return (
        open_dataset(place) if place.exists() else make_dataset(folder, histories(), [f"t {i}" for i in range(N_ITEMS)])
    )


def judged(
    folder: Path,
    name: str,
    *,
    skill: float,
    seed: int = 0,
    levels: int = 0,
    cutoffs: Sequence[int] = (5, 10),
    **settings: Any,
) -> Evaluation:
    """Evaluate random scores; the target's is higher by `skill`.

    Args:
        folder: where the dataset is, or is made.
        name: of the evaluation's directory.
        skill: how much is added to the score of the last item.
        seed: of the scores.
        levels: number of different scores, so that there are ties; 0: all differ.
        cutoffs: depths of metrics.
        settings: other settings of the evaluation; 500 resamples if they do not say how many.
    """
    dataset = small_dataset(folder)
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(dataset.n_users, N_ITEMS))
    last = dataset.histories.items[dataset.histories.offsets[1:] - 1]
    scores[np.arange(len(scores)), last] += skill
    scores = np.floor(scores * levels) if levels else scores
    config = EvaluateConfig(cutoffs=tuple(cutoffs), device="cpu", **{"resamples": 500, **settings})
    questions = Questions.of(dataset, config)
    ranker = table_ranker(scores[questions.queries.users][:, questions.ranked.items])
    inputs = {"dataset": dataset.fingerprint}
    out = folder / name
    return evaluate(ranker, questions, dataset, out=out, inputs=inputs, ranking=out.name, config=config)
