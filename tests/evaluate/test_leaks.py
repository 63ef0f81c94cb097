"""Nothing that an evaluation hands to a model or a baseline tells it the held-out items."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from small.train.evaluations import SMALL, TEXTS, Split
from small.train.runs import make_dataset
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.questions import Questions
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.recommender import Recommender
from tcf.train.run.open_run import Run, open_run
from tcf.train.stage import train

N_ITEMS, N_USERS = 30, 40


def histories(repeats: bool) -> list[list[int]]:
    """Histories without repeats; or with some, so that many held-out items have been seen before."""
    rng = np.random.default_rng(7)
    if not repeats:
        return [rng.permutation(N_ITEMS)[: rng.integers(4, 14)].tolist() for _ in range(N_USERS)]
    return [rng.integers(0, 12, rng.integers(4, 14)).tolist() for _ in range(N_USERS)]


def with_other_targets(sequences: list[list[int]], split: Split) -> list[list[int]]:
    """The same histories but for the items that the split holds out, and what is later."""
    back = 1 if split == "test" else 2
    return [[*items[:-back], *((item + 11) % N_ITEMS for item in items[-back:])] for items in sequences]


class OneHot(nn.Module):
    """An item tower by which everything that reads a vector knows the item."""

    def forward(self, items_U: Tensor, read_UV: Tensor | None = None) -> Tensor:
        return torch.eye(N_ITEMS)[items_U]

    def distinct(self) -> tuple[Tensor, Tensor]:
        return torch.eye(N_ITEMS), torch.arange(N_ITEMS)

    def all_item_vectors(self) -> Tensor:
        return torch.eye(N_ITEMS)


class Memoriser(nn.Module):
    """A backbone that has learnt every user's held-out items by heart, and finds them wherever they are passed to it.

    It notes what it is passed. The state is that of the held-out items that are anywhere in the user's row, or zeros.
    """

    n_users: int | None = None

    def __init__(self, targets: list[set[int]], positions: int) -> None:
        super().__init__()
        self.targets, self.positions = targets, positions
        self.passed: list[Any] = []

    def forward(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        raise AssertionError("it is not trained")

    def __call__(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        return self.forward(vectors_ID, layout, users_B)

    def last_states(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        items, places = vectors_ID.argmax(1), [getattr(layout, entry.name) for entry in dataclasses.fields(layout)]
        self.passed.append([torch.as_tensor(value).tolist() for value in (items, users_B, *places)])
        states_BD = torch.zeros(len(users_B), N_ITEMS)
        for row, user in enumerate(users_B.tolist()):
            known = self.targets[user] & set(items[layout.rows_P == row].tolist())
            states_BD[row, [*known]] = 1
        return states_BD


@dataclass(frozen=True, repr=False, eq=False)
class RunOfAnotherModel(Run):
    """A run whose model has been replaced."""

    other: Recommender

    @property
    def model(self) -> Recommender:
        return self.other


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    dataset = make_dataset(folder, histories(repeats=False), TEXTS)
    train(data=dataset.path, caches=[], out=folder / "run", config=TrainConfig(items="id", **{**SMALL, "epochs": 1}))
    return open_run(folder / "run", device="cpu")


def memorising(run: Run, dataset: Dataset, split: Split) -> tuple[RunOfAnotherModel, Memoriser]:
    """The run with a model that has memorised the held-out items of a dataset, which it is evaluated on."""
    back = 1 if split == "test" else 2
    lengths = dataset.histories.offsets[1:]
    memory = Memoriser([{int(item)} for item in dataset.histories.items[lengths - back]], positions=20)
    inputs = dataclasses.replace(run.inputs, dataset=dataset)
    values = {entry.name: getattr(run, entry.name) for entry in dataclasses.fields(run)} | {"inputs": inputs}
    return RunOfAnotherModel(**values, other=Recommender(OneHot(), memory)), memory


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("exclude", ["kept", "all-seen"])
def test_a_model_that_memorises_the_targets_gets_what_chance_gets(
    trained: Run, tmp_path: Path, split: Split, exclude: Any
) -> None:
    dataset, config = trained.dataset, EvaluateConfig(split=split, exclude=exclude, device="cpu")
    run, memory = memorising(trained, dataset, split)
    done = evaluate_run(run, out=tmp_path / "e", config=config)
    candidates = done.table()["candidates"].to_numpy()
    assert done.table()["ties"].to_numpy().tolist() == (candidates - 1).tolist()
    assert done.metrics["hr@10"] == pytest.approx((10 / candidates).mean(), rel=1e-12)
    assert sum(len(call[1]) for call in memory.passed) == N_USERS
    # The same model finds every target as soon as it is passed to it.
    questions = Questions.of(dataset, config)
    queries, back = questions.queries, 1 if split == "test" else 2
    leaking = dataset.histories.slice(dataset.histories.offsets[:-1], dataset.histories.offsets[1:] - back + 1)
    assert run.user_states(queries.users, leaking).argmax(1).tolist() == queries.targets.items.tolist()


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_a_model_is_passed_the_same_whatever_the_targets(trained: Run, tmp_path: Path, split: Split, seen: Any) -> None:
    passed, ranks = [], []
    own = histories(repeats=True)
    for name, sequences in (("own", own), ("others", with_other_targets(own, split))):
        run, memory = memorising(trained, make_dataset(tmp_path, sequences, TEXTS, name), split)
        config = EvaluateConfig(split=split, seen=seen, device="cpu", lists=True)
        ranks.append(evaluate_run(run, out=tmp_path / f"e-{name}", config=config).table())
        passed.append(memory.passed)
    assert passed[0] == passed[1]
    assert not ranks[0].equals(ranks[1])  # other targets were ranked


def whole_ranking(done: Evaluation) -> bytes:
    """Every candidate of every user in its place with its score."""
    assert done.lists().num_rows == done.table()["candidates"].to_numpy().sum() > N_USERS
    return (done.path / "lists.parquet").read_bytes()


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("name", ["popularity", "random", "co-occurrence"])
def test_the_scores_of_a_baseline_are_the_same_whatever_the_targets(
    tmp_path: Path, split: Split, name: Baseline
) -> None:
    own, found = histories(repeats=True), []
    for folder, sequences in (("own", own), ("others", with_other_targets(own, split))):
        dataset = make_dataset(tmp_path, sequences, TEXTS, folder)
        # Under --seen mask the candidates do not depend on the targets either.
        config = EvaluateConfig(split=split, seen="mask", lists=True, cutoffs=(N_ITEMS,))
        done = evaluate_baseline(name, data=dataset.path, out=tmp_path / f"e-{folder}", config=config)
        found.append((whole_ranking(done), done.metrics["mrr"]))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]  # other targets were ranked


def test_a_run_learns_and_scores_the_same_whatever_the_test_targets(tmp_path: Path) -> None:
    own, found = histories(repeats=True), []
    for folder, sequences in (("own", own), ("others", with_other_targets(own, "test"))):
        dataset = make_dataset(tmp_path, sequences, TEXTS, folder)
        settings = TrainConfig(items="id", **{**SMALL, "epochs": 1})
        train(data=dataset.path, caches=[], out=tmp_path / f"run-{folder}", config=settings)
        config = EvaluateConfig(seen="mask", lists=True, cutoffs=(N_ITEMS,), device="cpu")
        done = evaluate_run(tmp_path / f"run-{folder}", out=tmp_path / f"e-{folder}", config=config)
        found.append((whole_ranking(done), done.metrics["mrr"]))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]
