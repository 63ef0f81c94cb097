"""Datasets split by time, in training, evaluation and recommendation: only users with a target are evaluated."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest

from small.data.logs import recbole_folder
from small.train.evaluations import CPU, SMALL, TEXTS
from small.train.runs import csr, make_dataset
from tcf.common.errors import DataError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.data.prepare import prepare
from tcf.data.split import by_time, held_out
from tcf.evaluate.baselines.baseline import baseline
from tcf.evaluate.baselines.random_scores import Random
from tcf.evaluate.recommend import recommend
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.ranking.ranked_items import RankedItems
from tcf.train.run.open_run import open_run
from tcf.train.stage import train
from tcf.train.validation import Validation

ITEMS = [f"i{item:02}" for item in range(32)]
VALIDATION, TEST = 60, 80


def lines() -> list[tuple[str, str, int]]:
    """Sixty users walk along a circle of 30 items, one step in two days; items 30 and 31 appear late."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(60):
        start, day = (int(n) for n in rng.integers(0, (30, 90)))
        walk = [f"i{(start + step) % 30:02}" for step in range(12)]
        rows += [(f"u{user}", item, day + 2 * step) for step, item in enumerate(walk) if day + 2 * step < 90]
    return [*rows, ("u0", "i30", 90), ("u1", "i31", 95)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """A dataset and a run on it."""
    folder = tmp_path_factory.mktemp("by-time")
    config = PrepareConfig(min_history=3, split="time", test_from=str(TEST), validation_from=str(VALIDATION))
    dataset = prepare("recbole", recbole_folder(folder / "raw", lines(), ITEMS), folder / "data", config)
    train(data=dataset.path, caches=[], out=folder / "run", config=TrainConfig(items="id", **SMALL))
    return folder, dataset


def expected(part: Literal["test", "validation"]) -> dict[str, tuple[list[str], str]]:
    """Earlier items and target of every user who has both, from the lines alone."""
    first, end = (TEST, 1000) if part == "test" else (VALIDATION, TEST)
    asked = {}
    for user in dict.fromkeys(user for user, _, _ in lines()):
        own = [(item, time) for name, item, time in lines() if name == user]
        until_test = [event for place, event in enumerate(own) if all(time < TEST for _, time in own[:place])]
        within = [place for place, (_, time) in enumerate(until_test) if first <= time < end]
        if len(until_test) >= 3 and within and within[0] > 0:
            asked[user] = ([item for item, _ in until_test[: within[0]]], until_test[within[0]][0])
    return asked


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.usefixtures("shown_log")
def test_only_users_with_a_question_are_ranked(
    made: tuple[Path, Dataset], tmp_path: Path, part: Literal["test", "validation"], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, dataset = made
    config = EvaluateConfig(split=part, device="cpu")
    done = evaluate_run(folder / "run", out=tmp_path / "e", config=config)
    asked, users = expected(part), dataset.user_ids.to_pylist()
    assert 5 < len(asked) < len(users)
    ranks = pq.read_table(tmp_path / "e" / "ranks.parquet")
    assert ranks["user_id"].to_pylist() == list(asked)
    ids = dataset.item_ids.to_pylist()
    assert ranks["item_id"].to_pylist() == [target for _, target in asked.values()]
    assert ranks["candidates"].to_pylist() == [
        len(ids) - len(set(earlier) - {target}) for earlier, target in asked.values()
    ]
    assert done.metrics["users"] == len(asked)
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["users"] == len(asked)
    message = f"{len(asked)} of {len(users)} users have a {part} target and an item before it; the others are not eval"
    assert message in capsys.readouterr().err


def test_a_baseline_by_hand(made: tuple[Path, Dataset], tmp_path: Path) -> None:
    _, dataset = made
    evaluate_baseline("popularity", data=dataset.path, out=tmp_path / "e", config=CPU)
    ids, users = dataset.item_ids.to_pylist(), set(dataset.user_ids.to_pylist())
    counts = dict.fromkeys(ids, 0)
    for user, item, time in lines():
        if time < VALIDATION and user in users:
            counts[item] += 1
    assert dataset.training_interactions.tolist() == [counts[item] for item in ids]
    ranks = pq.read_table(tmp_path / "e" / "ranks.parquet").to_pylist()
    for row, (earlier, target) in zip(ranks, expected("test").values(), strict=True):
        others = [counts[item] for item in ids if item not in earlier and item != target]
        above, ties = sum(n > counts[target] for n in others), sum(n == counts[target] for n in others)
        assert (row["rank"], row["ties"]) == (1 + above + ties / 2, ties)


def test_the_run_was_validated_on_who_has_a_target(made: tuple[Path, Dataset], tmp_path: Path) -> None:
    folder, dataset = made
    done = evaluate_run(folder / "run", out=tmp_path / "e", config=EvaluateConfig(split="validation", device="cpu"))
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    assert done.metrics["hr@10"] == pytest.approx(manifest["facts"]["hr@10"], abs=1e-12)
    validation = Validation.build(dataset.split, 4)
    asked = expected("validation")
    ids = dataset.item_ids.to_pylist()
    assert [dataset.user_ids[user].as_py() for user in validation.users.tolist()] == list(asked)
    for place, (earlier, target) in enumerate(asked.values()):
        assert [ids[item] for item in validation.inputs.of(place).tolist()] == earlier[-4:]
        assert [ids[item] for item in validation.seen.of(place).tolist()] == earlier
        assert [ids[item] for item in validation.targets.of(place)] == [target]


def test_users_known_by_their_ids_are_ranked_by_their_own_states(made: tuple[Path, Dataset], tmp_path: Path) -> None:
    _, dataset = made
    train(data=dataset.path, caches=[], out=tmp_path / "run", config=TrainConfig(items="id", backbone="dssm", **SMALL))
    evaluate_run(tmp_path / "run", out=tmp_path / "e", config=CPU)
    opened, ids = open_run(tmp_path / "run", device="cpu"), dataset.item_ids.to_pylist()
    users = dataset.user_ids.to_pylist()
    vectors = opened.item_vectors()
    ranks = pq.read_table(tmp_path / "e" / "ranks.parquet").to_pylist()
    for row, (earlier, target) in zip(ranks, expected("test").values(), strict=True):
        history = csr([[ids.index(item) for item in earlier]])
        scores = vectors @ opened.user_states(np.array([users.index(row["user_id"])]), history)[0]
        others = [place for place, item in enumerate(ids) if item not in earlier and item != target]
        assert row["rank"] == 1 + (scores[others] > scores[ids.index(target)]).sum()


def test_everyone_gets_recommendations(made: tuple[Path, Dataset], tmp_path: Path) -> None:
    folder, dataset = made
    n_users = recommend(folder / "run", out=tmp_path / "r.parquet", k=3, device="cpu").n_users
    assert n_users == dataset.n_users
    assert pq.read_table(tmp_path / "r.parquet")["user_id"].to_pylist()[::3] == dataset.user_ids.to_pylist()


def test_random_scores_are_those_of_the_users_whoever_else_is_asked() -> None:
    whole, some = Random(np.arange(9), np.arange(20), 4), Random(np.array([3, 7]), np.arange(20), 4)
    assert some.n_users == 2
    np.testing.assert_array_equal(some.scores(np.array([0, 1])), whole.scores(np.array([3, 7])))


def test_co_occurrence_learns_from_all_and_scores_who_is_asked() -> None:
    # Validation from 10, test from 20: user 0 trains on 0 1, user 1 has only a test target after item 0.
    split = by_time(csr([[0, 1, 2], [0, 3]]), np.array([1, 2, 10, 12, 20]), 10, 20)
    queries = held_out(split, "test")
    assert queries.users.tolist() == [1]
    ranker = baseline("co-occurrence", split, queries, RankedItems.where(np.ones(4, np.bool_)))
    lists = ranker.lists(csr([[]]), 4)
    assert (lists.items_UK.tolist(), lists.scores_UK.tolist()) == ([[1, 0, 2, 3]], [[3600, 0, 0, 0]])


def test_no_question_at_all_is_an_error(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1], [2, 3]], TEXTS)
    with pytest.raises(
        DataError, match="data: expected users with a validation target and an item before it, found none"
    ):
        evaluate_baseline("random", data=dataset.path, out=tmp_path / "e", config=EvaluateConfig(split="validation"))
    assert not (tmp_path / "e").exists()
    with pytest.raises(
        DataError, match="a validation target and an item before it, found none among 2 users, so no best epoch"
    ):
        Validation.build(dataset.split, 4)
