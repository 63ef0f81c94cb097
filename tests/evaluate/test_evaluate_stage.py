from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from small.train.evaluations import CPU, SMALL, TEXTS, VECTORS, Split
from small.train.runs import csr, make_cache, make_dataset, walks
from tcf.common.errors import RunError
from tcf.config.evaluate import Baseline, EvaluateConfig, Search
from tcf.config.train import TrainConfig
from tcf.data.dataset import open_dataset
from tcf.evaluate import stage
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import Ranker, top_k
from tcf.train.run.open_run import open_run
from tcf.train.stage import train


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()}


def bounds(
    scores: npt.NDArray[np.float64], target: int, candidates: list[int], same: set[int]
) -> tuple[float, float, int]:
    """The least and the largest rank that rounding to float32 allows, and the ties, counted item by item."""
    others = [item for item in candidates if item != target and item not in same]
    ties = sum(item in same and item != target for item in candidates)
    least = 1 + sum(scores[item] > scores[target] + 1e-5 for item in others) + ties / 2
    most = 1 + sum(scores[item] > scores[target] - 1e-5 for item in others) + ties / 2
    return least, most, ties


@pytest.mark.parametrize("items", ["text", "id"])
@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_a_run_ranks_as_its_states_and_vectors_say(
    made: Path, tmp_path: Path, items: str, split: Split, seen: Literal["keep", "mask"]
) -> None:
    done = evaluate_run(made / items, out=tmp_path / "e", config=EvaluateConfig(split=split, seen=seen, device="cpu"))
    run = open_run(made / items, device="cpu")
    back = 1 if split == "test" else 2
    earlier = [history[:-back] for history in walks()]

    scores = run.user_states(np.arange(60), csr(earlier)).astype(np.float64) @ run.item_vectors().astype(np.float64).T
    exact, masked = 0, 0
    rows = pq.read_table(done.path / "ranks.parquet").to_pylist()
    for user, (row, history) in enumerate(zip(rows, walks(), strict=True)):
        target = history[-back]
        same = {item for item in range(30) if items == "text" and TEXTS[item] == TEXTS[target]}
        gone = set(earlier[user]) - ({target} if seen == "keep" else set())
        candidates = [item for item in range(30) if item not in gone]
        assert (row["user_id"], row["item_id"], row["candidates"]) == (f"u{user}", f"i{target}", len(candidates))
        if target in gone:
            assert (row["rank"], row["ties"]) == (len(candidates) + 1, 0)
            masked += 1
            continue
        least, most, ties = bounds(scores[user], target, candidates, same)
        assert row["ties"] == ties
        assert least <= row["rank"] <= most
        exact += least == most
    assert exact + masked > 50
    assert done.metrics["candidates"] == 30
    assert done.manifest.config["ranking"] == f"sasrec, items as {items}"
    assert set(done.manifest.inputs) == {"run", "dataset"} | ({"cache"} if items == "text" else set())


def test_what_searches_is_recorded_and_decides_no_metric(made: Path, tmp_path: Path) -> None:
    found = {
        search: evaluate_run(made / "text", out=tmp_path / search, config=EvaluateConfig(search=search, device="cpu"))
        for search in get_args(Search)
    }
    assert [done.manifest.config["search"] for done in found.values()] == ["torch", "faiss", "torch"]
    assert found["auto"].metrics == found["torch"].metrics == found["faiss"].metrics


@pytest.mark.parametrize("name", ["popularity", "random", "co-occurrence"])
def test_a_baseline_is_evaluated_as_a_run_is(made: Path, tmp_path: Path, name: Any) -> None:
    done = evaluate_baseline(name, data=made / "data", out=tmp_path / "e", config=CPU, seed=3)
    assert (done.metrics["users"], done.metrics["candidates"]) == (60, 30)
    # By chance a target is among ten of about 23 candidates.
    chance = 10 / np.mean([30 - len(set(h[:-1]) - {h[-1]}) for h in walks()])
    assert done.metrics["hr@10"] == pytest.approx(chance, abs=0.25) if name != "co-occurrence" else 1
    assert done.manifest.inputs == {"dataset": open_dataset(made / "data").fingerprint}
    assert done.manifest.config["ranking"] == ("random, seed 3" if name == "random" else name)


def test_popularity_by_hand(tmp_path: Path) -> None:
    # Training parts: 0 1 | 0 | 0 1. Item 0 counts 3, item 1 counts 2, items 2, 3 and 4 nothing.
    dataset = make_dataset(tmp_path, [[0, 1, 2, 3], [0, 3, 1], [0, 1, 4, 2]], ["a", "b", "c", "d", "e"])
    done = evaluate_baseline("popularity", data=dataset.path, out=tmp_path / "e", config=CPU)
    rows = pq.read_table(done.path / "ranks.parquet").select(["item_id", "rank", "ties", "candidates"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("i3", 1.5, 1, 2), ("i1", 1.0, 0, 3), ("i2", 1.5, 1, 2)]


@pytest.mark.parametrize("ranking", ["text", "popularity"])
def test_a_second_call_returns_what_is_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranking: str
) -> None:
    def call(**settings: Any) -> Any:
        config = EvaluateConfig(**{"device": "cpu", **settings})
        if ranking == "text":
            return evaluate_run(runs / "text", out=tmp_path / "e", config=config)
        return evaluate_baseline("popularity", data=runs / "data", out=tmp_path / "e", config=config)

    first = call()
    before = bytes_of(tmp_path / "e")
    monkeypatch.setattr(stage, "evaluate", None)
    assert call() == first
    assert bytes_of(tmp_path / "e") == before
    with pytest.raises(RunError, match=r"seen: keep found, mask requested; split: test found, validation requested"):
        call(seen="mask", split="validation")
    assert bytes_of(tmp_path / "e") == before


def test_another_ranking_is_not_taken_for_this_one(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "e"
    evaluate_run(runs / "text", out=out, config=CPU)
    with pytest.raises(
        RunError, match=r"cache: .{12}\.\.\. found, nothing requested; ranking: .* as id requested; run:"
    ):
        evaluate_run(runs / "id", out=out, config=CPU)
    random = tmp_path / "r"
    evaluate_baseline("random", data=runs / "data", out=random, config=CPU, seed=1)
    with pytest.raises(RunError, match=r"ranking: random, seed 1 found, random, seed 2 requested"):
        evaluate_baseline("random", data=runs / "data", out=random, config=CPU, seed=2)
    other = make_dataset(tmp_path, walks()[1:], TEXTS, name="other")
    with pytest.raises(RunError, match=r"\(dataset: .* found, .* requested\)"):
        evaluate_baseline("random", data=other.path, out=random, config=CPU, seed=1)


def test_an_occupied_place_is_refused_before_the_work(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "evaluate", None)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "letter").touch()
    with pytest.raises(RunError, match="expected an unused path"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=CPU)


def everything(ranker: Ranker) -> RankedLists:
    """All items with their scores, ranked for every user."""
    return top_k(ranker, csr([[]] * ranker.n_users), ranker.n_items)


def assert_same_lists(one: RankedLists, other: RankedLists) -> None:
    assert np.array_equal(one.items_UK, other.items_UK)
    assert np.array_equal(one.scores_UK, other.scores_UK)


@pytest.mark.parametrize(("split", "hidden"), [("test", 1), ("validation", 2)])
@pytest.mark.parametrize("items", ["text", "id"])
def test_nothing_of_the_target_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split, hidden: int, items: Literal["text", "id"]
) -> None:
    """Two datasets that differ in the hidden items alone give the same model and the same scores, to the bit."""
    rng = np.random.default_rng(9)
    found = []

    monkeypatch.setattr(stage, "evaluate", lambda ranker, *_, **__: found.append(everything(ranker)))
    for name in ("one", "other"):
        histories = [[*h[:-hidden], *rng.integers(0, 30, hidden).tolist()] for h in walks()]
        folder = tmp_path / name
        dataset = make_dataset(folder, histories, TEXTS)
        caches = (make_cache(folder, dataset, VECTORS).path,) if items == "text" else ()
        # One epoch, because the validation targets rightly decide which epoch is the best.
        config = TrainConfig(items=items, **(SMALL | {"epochs": 1}))
        train(data=dataset.path, caches=caches, out=folder / "run", config=config)
        evaluate_run(folder / "run", out=folder / "e", config=EvaluateConfig(split=split, device="cpu"))
    models = [(tmp_path / name / "run" / "model.safetensors").read_bytes() for name in ("one", "other")]
    assert models[0] == models[1]
    assert_same_lists(*found)


@pytest.mark.parametrize(("split", "hidden"), [("test", 1), ("validation", 2)])
@pytest.mark.parametrize("name", ["popularity", "random", "co-occurrence"])
def test_a_baseline_sees_nothing_of_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split, hidden: int, name: Baseline
) -> None:
    rng = np.random.default_rng(9)
    found = []
    monkeypatch.setattr(stage, "evaluate", lambda ranker, *_, **__: found.append(everything(ranker)))
    for place in ("one", "other"):
        histories = [[*h[:-hidden], *rng.integers(0, 30, hidden).tolist()] for h in walks()]
        dataset = make_dataset(tmp_path, histories, TEXTS, name=place)
        evaluate_baseline(name, data=dataset.path, out=tmp_path / "e", config=EvaluateConfig(split=split))
    assert_same_lists(*found)
    assert len(np.unique(found[0].scores_UK)) > 2
