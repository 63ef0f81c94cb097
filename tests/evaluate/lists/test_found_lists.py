"""Lists of an evaluation: of the same candidates as the ranks, measured, saved and read back."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from small.score_tables import table_ranker
from small.train.evaluations import TEXTS, VECTORS
from small.train.runs import make_cache, make_dataset
from tcf.common.errors import CacheError, ConfigError, RunError
from tcf.common.progress import Progress
from tcf.config.evaluate import EvaluateConfig
from tcf.data.dataset import Dataset
from tcf.evaluate.evaluation import Evaluation, evaluate, existing_evaluation, open_evaluation, users_progress
from tcf.evaluate.lists.list_vectors import open_list_vectors, vectors_input
from tcf.evaluate.questions import Questions
from tcf.evaluate.stage import evaluate_run
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.scorers import InnerProduct
from tcf.train.run.open_run import open_run

N_ITEMS = 30
KINDS = ("coverage", "popularity", "novelty", "diversity")


def histories(users: int = 40) -> list[list[int]]:
    """Histories in which items repeat, so that some targets have been seen."""
    rng = np.random.default_rng(2)
    return [rng.integers(0, N_ITEMS - 2, rng.integers(3, 14)).tolist() for _ in range(users)]


def scores(users: int = 40) -> Any:
    return np.random.default_rng(3).integers(0, 9, (users, N_ITEMS)).astype(np.float32)  # few values, so many ties


def judge(folder: Path, dataset: Dataset, out: str = "e", vectors: Path | None = None, **settings: Any) -> Evaluation:
    config = EvaluateConfig(lists=True, **settings)
    questions, cache = Questions.of(dataset, config), open_list_vectors(vectors, config)
    ranker = table_ranker(scores(dataset.n_users)[questions.queries.users][:, questions.ranked.items])
    inputs = {"dataset": dataset.fingerprint, **vectors_input(cache)}
    return evaluate(
        ranker, questions, dataset, out=folder / out, inputs=inputs, ranking="table", config=config, vectors=cache
    )


def listed(user: int, split: str, seen: str, catalogue: str, k: int) -> list[int]:
    """One user's list, item by item: the best score first, of equal ones the first item."""
    back = 1 if split == "test" else 2
    history, trained = histories()[user], {item for items in histories() for item in items[:-2]}
    gone = set(history[:-back]) - ({history[-back]} if seen == "keep" else set())
    candidates = [item for item in range(N_ITEMS) if item not in gone and (catalogue == "all" or item in trained)]
    return sorted(candidates, key=lambda item: (-scores()[user, item], item))[:k]


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize(("seen", "catalogue"), [("keep", "all"), ("mask", "trained")])
def test_lists_are_the_best_of_the_candidates_of_the_ranks(
    tmp_path: Path, split: Literal["test", "validation"], seen: str, catalogue: str
) -> None:
    dataset = make_dataset(tmp_path, histories(), TEXTS)
    done = judge(tmp_path, dataset, split=split, seen=seen, catalogue=catalogue, cutoffs=(2, 6))
    rows = pq.read_table(done.path / "lists.parquet")
    assert rows.column_names == ["user_id", "place", "item_id", "score"]
    assert rows.equals(done.lists())
    expected = [
        {"user_id": f"u{user}", "place": place, "item_id": f"i{item}", "score": float(scores()[user, item])}
        for user in range(40)
        for place, item in enumerate(listed(user, split, seen, catalogue, 6), start=1)
    ]
    assert rows.to_pylist() == expected
    # A target that takes one of the first six places in any order of the ties takes one of its own in the list.
    places = {(row["user_id"], row["item_id"]): row["place"] for row in expected}
    sure = [row for row in done.table().to_pylist() if row["rank"] + row["ties"] / 2 <= min(6, row["candidates"])]
    assert len(sure) > 1
    for row in sure:
        assert abs(places[row["user_id"], row["item_id"]] - row["rank"]) <= row["ties"] / 2
    assert done.metrics["coverage@6"] == len({row["item_id"] for row in expected}) / done.metrics["candidates"]


@pytest.mark.parametrize("seen", ["keep", "mask"])
@pytest.mark.parametrize("catalogue", ["all", "trained"])
def test_ranks_and_lists_of_one_pass_are_those_of_two(tmp_path: Path, seen: str, catalogue: str) -> None:
    dataset = make_dataset(tmp_path, histories(), TEXTS)
    config = EvaluateConfig(lists=True, cutoffs=(2, 6), seen=seen, catalogue=catalogue)  # type: ignore[arg-type]
    questions, rng = Questions.of(dataset, config), np.random.default_rng(4)
    vectors = rng.integers(-2, 3, (len(questions.ranked), 3)).astype(np.float32)
    product = InnerProduct(Catalogue.build(vectors), rng.integers(-2, 3, (40, 3)).astype(np.float32))
    steps: dict[str, list[str]] = {}
    for name, ranker in (("faiss", FaissRanker(product)), ("torch", TorchRanker(product, torch.device("cpu")))):

        def progress(step: str, users: int, name: str = name) -> Progress:
            steps.setdefault(name, []).append(step)
            return users_progress(step, users)

        evaluate(
            ranker,
            questions,
            dataset,
            out=tmp_path / name,
            inputs={},
            ranking="table",
            config=config,
            progress=progress,
        )
    assert steps == {"faiss": ["evaluate: ranking", "evaluate: lists"], "torch": ["evaluate: ranking, lists"]}
    for file in ("ranks.parquet", "lists.parquet", "list_metrics.parquet", "metrics.json"):
        assert (tmp_path / "faiss" / file).read_bytes() == (tmp_path / "torch" / file).read_bytes()


def test_metrics_of_lists_follow_those_of_ranks_and_their_values_are_saved(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, histories(), TEXTS)
    make_cache(tmp_path, dataset, VECTORS)
    done = judge(tmp_path, dataset, vectors=tmp_path / "cache", cutoffs=(1, 5))
    names = [f"{kind}@{k}" for k in (1, 5) for kind in KINDS][:3] + [f"{kind}@5" for kind in KINDS]
    keys = [*done.metrics]
    assert keys[keys.index("mrr") + 1 : keys.index("users")] == names  # a list of one item has no diversity
    assert [metric.name for metric in done.measured][-7:] == names
    values = done.list_values()
    assert [*values] == [name for name in names if not name.startswith("coverage")]
    assert {name: values[name].mean() for name in values} == pytest.approx(
        {name: done.metrics[name] for name in values}
    )
    assert pq.read_table(done.path / "list_metrics.parquet")["user_id"].to_pylist() == [
        f"u{user}" for user in range(40)
    ]
    assert values["diversity@5"].std() > 0
    opened = open_evaluation(done.path)
    assert opened.metrics == done.metrics
    assert opened.to_pandas("lists")["place"].max() == 5


def test_an_evaluation_without_lists_says_so(tmp_path: Path) -> None:
    dataset, config = make_dataset(tmp_path, histories(), TEXTS), EvaluateConfig()
    questions = Questions.of(dataset, config)
    ranker = table_ranker(scores())
    done = evaluate(ranker, questions, dataset, out=tmp_path / "e", inputs={}, ranking="table", config=config)
    assert sorted(path.name for path in done.path.iterdir()) == ["manifest.json", "metrics.json", "ranks.parquet"]
    assert not [name for name in done.metrics if name.startswith(KINDS)]
    assert done.list_values() == {}
    with pytest.raises(RunError, match=r"expected lists\.parquet, found an evaluation without; .* with --lists"):
        done.lists()


@pytest.mark.usefixtures("shown_log")
def test_users_with_few_candidates_have_shorter_lists_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # User 0 has seen all but item 2, user 1 everything.
    dataset = make_dataset(tmp_path, [[0, 1, 2], [0, 1, 2, 1], [0, 1, 0]], ["a", "b", "c"])
    done = judge(tmp_path, dataset, seen="mask", cutoffs=(2, 9))
    assert done.lists().to_pydict()["item_id"] == ["i2", "i2"]
    assert done.lists().to_pydict()["user_id"] == ["u0", "u2"]
    assert done.metrics["coverage@2"] == done.metrics["coverage@9"] == 1 / 3
    assert done.list_values()["novelty@9"].tolist() == pytest.approx([np.log2(3), 0, np.log2(3)])
    assert (
        "3 of 3 evaluated users have fewer than 3 candidates, so that their lists are shorter"
        in capsys.readouterr().err
    )


def test_lists_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path, histories(), TEXTS)
    whole = judge(tmp_path, dataset, cutoffs=(4,))
    monkeypatch.setattr("tcf.evaluate.lists.found_lists._ROWS_AT_ONCE", 30)
    parts = judge(tmp_path, dataset, "parts", cutoffs=(4,))
    assert pq.ParquetFile(parts.path / "lists.parquet").num_row_groups > 5
    assert parts.lists().equals(whole.lists())


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    done = judge(tmp_path, make_dataset(tmp_path, histories(), TEXTS))
    for file in ("lists.parquet", "list_metrics.parquet"):
        whole = (done.path / file).read_bytes()
        (done.path / file).write_bytes(whole[:-1])
        with pytest.raises(RunError, match=file):
            open_evaluation(done.path)
        with pytest.raises(RunError, match=file):
            (done.lists if file == "lists.parquet" else done.list_values)()
        (done.path / file).write_bytes(whole)


def test_vectors_of_diversity_are_an_input(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, histories(), TEXTS)
    make_cache(tmp_path, dataset, VECTORS)
    make_cache(tmp_path, dataset, VECTORS, "other", pooling="last")
    done = judge(tmp_path, dataset, vectors=tmp_path / "cache")
    config = EvaluateConfig(lists=True)
    for name, message in (("cache", None), ("other", r"\(vectors: .* requested\)"), (None, r"nothing requested\)")):
        path = None if name is None else tmp_path / name
        inputs = {"dataset": dataset.fingerprint, **vectors_input(open_list_vectors(path, config))}
        if message is None:
            assert existing_evaluation(done.path, inputs=inputs, ranking="table", config=config) == done
        else:
            with pytest.raises(RunError, match=message):
                existing_evaluation(done.path, inputs=inputs, ranking="table", config=config)
    with pytest.raises(ConfigError, match="--vectors: expected --lists as well, .* found .*cache alone; add --lists"):
        open_list_vectors(tmp_path / "cache", EvaluateConfig())


def test_a_cache_without_some_items_is_refused_before_anything_is_ranked(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, histories(), TEXTS)
    make_cache(tmp_path, make_dataset(tmp_path, histories(), ["other"] * N_ITEMS, "others"), VECTORS[:1])
    with pytest.raises(CacheError, match=r"expected vectors for each of the 30 items .* found 0 \(30 missing"):
        judge(tmp_path, dataset, vectors=tmp_path / "cache")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("items", ["text", "id"])
def test_lists_of_a_run_are_what_its_states_and_vectors_say(made: Path, tmp_path: Path, items: str) -> None:
    config = EvaluateConfig(device="cpu", lists=True, cutoffs=(5,))
    done = evaluate_run(made / items, out=tmp_path / "e", config=config)
    run = open_run(made / items, device="cpu")
    questions = Questions.of(run.dataset, config)
    states = run.user_states(questions.queries.users, questions.queries.earlier)
    rows = done.lists().to_pylist()
    for user in range(0, 60, 7):
        own = [row for row in rows if row["user_id"] == f"u{user}"]
        assert [row["place"] for row in own] == [1, 2, 3, 4, 5]
        found = [int(row["item_id"][1:]) for row in own]
        right = states[user].astype(np.float64) @ run.item_vectors().astype(np.float64).T
        assert [row["score"] for row in own] == pytest.approx(right[found].tolist(), abs=1e-5)
        gone = set(questions.queries.earlier.of(user).tolist()) - set(questions.queries.targets.of(user).tolist())
        others = [right[item] for item in range(N_ITEMS) if item not in gone and item not in found]
        assert max(others) <= right[found].min() + 1e-5
        assert not gone & set(found)
