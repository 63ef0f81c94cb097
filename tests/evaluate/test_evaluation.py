import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.caches import flip_bit
from small.manifests import reseal
from small.score_tables import ScoreTable, table_ranker
from small.train.runs import make_dataset
from tcf.common.errors import RunError
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest
from tcf.config.evaluate import EvaluateConfig
from tcf.data.dataset import open_dataset
from tcf.evaluate.evaluation import EVALUATION, Evaluation, evaluate, existing_evaluation, open_evaluation
from tcf.evaluate.questions import Questions
from tcf.ranking.ranker import DenseRanker

MORE = ["item_interactions", "history"]
KEYS = [
    *("hr@10", "ndcg@10", "mrr@10", "mrr", "users", "targets", "users_without_training", "candidates"),
    *("targets_outside_catalogue", "several_targets", "catalogue", "exclude", "seen", "untrained_users", "split"),
]


def judge(
    folder: Path, histories: list[list[int]], scores: Any, out: str = "evaluation", **settings: Any
) -> tuple[Evaluation, pa.Table]:
    """Evaluate these scores; the ranks as they are on the disk."""
    table = np.asarray(scores, np.float32)
    texts = [f"text {i}" for i in range(table.shape[1])]
    path = folder / "data"
    dataset = open_dataset(path) if path.exists() else make_dataset(folder, histories, texts)
    config = EvaluateConfig(**settings)
    questions = Questions.of(dataset, config)
    ranker = DenseRanker(ScoreTable(table[questions.queries.users][:, questions.ranked.items]))
    inputs = {"dataset": "d"}
    done = evaluate(ranker, questions, dataset, out=folder / out, inputs=inputs, ranking="table", config=config)
    return done, pq.read_table(folder / out / "ranks.parquet")


def metrics_of(ranks: pa.Table) -> dict[str, float]:
    """The metrics by their definition: means over every position that a target may take."""
    hits, gains, reciprocals = [], [], []
    for row in ranks.to_pylist():
        above = round(row["rank"] - 1 - row["ties"] / 2)
        positions = range(above + 1, above + row["ties"] + 2) if above < row["candidates"] else []
        n = row["ties"] + 1
        hits.append(sum(p <= 10 for p in positions) / n)
        gains.append(sum(1 / math.log2(1 + p) for p in positions if p <= 10) / n)
        reciprocals.append(sum(1 / p for p in positions) / n)
    return {"hr@10": float(np.mean(hits)), "ndcg@10": float(np.mean(gains)), "mrr": float(np.mean(reciprocals))}


def ranked(history: list[int], scores: npt.NDArray[Any], split: str, seen: str) -> dict[str, Any]:
    """One user's row of ranks, item by item."""
    back = 1 if split == "test" else 2
    target, earlier = history[-back], set(history[:-back])
    candidates = {item for item in range(len(scores)) if item not in earlier or (seen == "keep" and item == target)}
    others = [scores[item] for item in candidates if item != target]
    if target not in candidates:
        return {"item_id": f"i{target}", "rank": len(candidates) + 1, "ties": 0, "candidates": len(candidates)}
    above, ties = sum(s > scores[target] for s in others), sum(s == scores[target] for s in others)
    return {"item_id": f"i{target}", "rank": 1 + above + ties / 2, "ties": ties, "candidates": len(candidates)}


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_ranks_and_metrics_by_brute_force(tmp_path: Path, split: str, seen: str) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 45, n).tolist() for n in rng.integers(3, 23, 60)]
    scores = rng.integers(0, 12, (60, 45))  # few values, so many ties
    done, ranks = judge(tmp_path, histories, scores, split=split, seen=seen)
    expected = [ranked(h, s, split, seen) for h, s in zip(histories, scores, strict=True)]
    repeats = sum(row["rank"] > row["candidates"] for row in expected)
    assert (repeats > 5) == (seen == "mask")  # the two policies are really told apart
    assert ranks.column_names == [*("user_id", "item_id", "rank", "ties", "candidates"), *MORE]
    assert ranks.drop(MORE).to_pylist() == [{"user_id": f"u{user}", **row} for user, row in enumerate(expected)]
    back = 1 if split == "test" else 2
    assert ranks["history"].to_pylist() == [len(history) - back for history in histories]
    trained = [item for history in histories for item in history[:-2]]
    assert ranks["item_interactions"].to_pylist() == [trained.count(history[-back]) for history in histories]
    written = json.loads((done.path / "metrics.json").read_text())
    assert {name: tuple(ends) for name, ends in written.pop("intervals").items()} == done.intervals
    assert list(written) == list(done.metrics) == KEYS
    assert written == done.metrics
    means = metrics_of(ranks)
    assert {key: written[key] for key in means} == pytest.approx(means, rel=1e-12)
    assert 0 < means["ndcg@10"] < means["hr@10"] < 1
    assert [written[key] for key in KEYS[4:]] == [60, 60, 0, 45, 0, "all", "all", "kept", seen, "keep", split]


def test_a_target_met_before_by_hand(tmp_path: Path) -> None:
    # Item 1 is the target and was seen before; of the others only item 3 was not.
    histories, scores = [[0, 1, 2, 1]], [[4, 3, 2, 1]]
    kept, ranks = judge(tmp_path, histories, scores, "kept", seen="keep")
    assert ranks.drop(MORE).to_pylist() == [{"user_id": "u0", "item_id": "i1", "rank": 1.0, "ties": 0, "candidates": 2}]
    assert [kept.metrics[key] for key in KEYS[:4]] == [1, 1, 1, 1]
    masked, ranks = judge(tmp_path, histories, scores, "masked", seen="mask")
    assert ranks.drop(MORE).to_pylist() == [{"user_id": "u0", "item_id": "i1", "rank": 2.0, "ties": 0, "candidates": 1}]
    assert [masked.metrics[key] for key in KEYS[:4]] == [0, 0, 0, 0]


def test_constant_scores_earn_what_chance_earns(tmp_path: Path) -> None:
    done, ranks = judge(tmp_path, [[0, 1, 2], [3, 0, 40]], np.ones((2, 43)))
    assert ranks["rank"].to_pylist() == [21.0, 21.0]  # the middle of 41 candidates
    assert done.metrics["hr@10"] == pytest.approx(10 / 41)
    assert done.metrics["ndcg@10"] == pytest.approx(sum(1 / math.log2(1 + p) for p in range(1, 11)) / 41)
    assert done.metrics["mrr"] == pytest.approx(sum(1 / p for p in range(1, 42)) / 41)


def test_what_an_evaluation_holds(tmp_path: Path) -> None:
    done, _ = judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]])
    assert sorted(p.name for p in done.path.iterdir()) == ["manifest.json", "metrics.json", "ranks.parquet"]
    manifest = read_manifest(done.path, EVALUATION)
    verify_files(done.path, manifest, EVALUATION)
    assert manifest.inputs == {"dataset": "d"}
    policies = {
        "several_targets": "all",
        "catalogue": "all",
        "exclude": "kept",
        "seen": "keep",
        "untrained_users": "keep",
    }
    bootstrap = {"resamples": 10_000, "bootstrap_seed": 0, "confidence": 0.95}
    others = {"split": "test", "cutoffs": [10], "lists": False, "search": "auto", "device": "auto"}
    settings = {**policies, **others, **bootstrap}
    assert manifest.config == {**settings, "ranking": "table"}
    assert open_evaluation(done.path) == done
    again, _ = judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]], "again")
    assert again.manifest == done.manifest


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_leave_nothing(tmp_path: Path, bad: float) -> None:
    with pytest.raises(RunError, match="user 1: expected finite scores"):
        judge(tmp_path, [[0, 1, 2], [0, 1, 2]], [[1, 2, 3], [1, bad, 3]])
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def alike(
    out: Path, inputs: dict[str, str] | None = None, ranking: str = "table", **settings: Any
) -> Evaluation | None:
    config = EvaluateConfig(**settings)
    return existing_evaluation(out, inputs=inputs or {"dataset": "d"}, ranking=ranking, config=config)


def test_an_equal_evaluation_is_found(tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    assert alike(out) is None
    done, _ = judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]])
    assert alike(out) == done
    assert alike(out, device="cpu") == done  # which decides nothing but rounding


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"split": "validation"},
            r"settings, found another \(split: test found, validation requested\); remove it, or",
        ),
        ({"seen": "mask"}, r"\(seen: keep found, mask requested\)"),
        ({"catalogue": "trained"}, r"\(catalogue: all found, trained requested\)"),
        ({"exclude": "all-seen"}, r"\(exclude: kept found, all-seen requested\)"),
        ({"untrained_users": "leave-out"}, r"\(untrained_users: keep found, leave-out requested\)"),
        ({"ranking": "other"}, r"\(ranking: table found, other requested\)"),
        ({"inputs": {"dataset": "e"}}, r"\(dataset: d found, e requested\)"),
        ({"inputs": {"dataset": "d", "run": "9" * 64}}, r"\(run: nothing found, 999999999999\.\.\. requested\)"),
        ({"seen": "mask", "split": "validation"}, r"\(seen: .*; split: .*\)"),
    ],
)
def test_another_evaluation_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]])
    with pytest.raises(RunError, match=message):
        alike(tmp_path / "evaluation", **changes)


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert alike(tmp_path / "folder") is None
    (tmp_path / "folder" / "letter").touch()
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        with pytest.raises(RunError, match="expected an unused path"):
            alike(tmp_path / name)
    dataset = make_dataset(tmp_path, [[0, 1, 2]], ["a", "b", "c"])
    with pytest.raises(RunError, match="expected a directory of format tcf-evaluation .*, found format tcf-dataset"):
        alike(dataset.path)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_other_users_or_items_are_refused(tmp_path: Path, split: Literal["test", "validation"]) -> None:
    with pytest.raises(RunError, match="targets: expected one item or more for each of 1 users"):
        dataset = make_dataset(tmp_path, [[0, 1, 2], [2, 1, 0]], ["a", "b", "c"])
        config = EvaluateConfig(split=split)
        ranker = table_ranker(np.ones((1, 3)))
        questions = Questions.of(dataset, config)
        evaluate(ranker, questions, dataset, out=tmp_path / "e", inputs={}, ranking="", config=config)
    assert not (tmp_path / "e").exists()


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="made by `tcf evaluate`, found nothing"):
        open_evaluation(tmp_path / "nothing")


def rewritten(path: Path, **facts: Any) -> Path:
    """The evaluation with other facts in its manifest."""
    content = json.loads((path / "manifest.json").read_text())
    content["facts"] = {name: value for name, value in (content["facts"] | facts).items() if value is not None}
    return reseal(path, facts=content["facts"])


def test_metrics_of_another_version_are_kept(tmp_path: Path) -> None:
    done, _ = judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]])
    opened = open_evaluation(rewritten(done.path, **{"recall@20": 0.5, "coverage": 1}))
    assert opened.metrics == {**done.metrics, "recall@20": 0.5, "coverage": 1}
    assert list(opened.metrics) == [*KEYS[:3], "recall@20", "mrr", "coverage", *KEYS[4:]]


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"recall@20": "high"}, r"facts\.recall@20, a number, found 'high'"),
        ({"recall@20": True}, r"facts\.recall@20, a number, found true"),
        ({"mrr": None}, r"facts\.mrr, a number, found nothing"),
        ({"mrr": "high"}, r"facts\.mrr, a number, found 'high'"),
        ({"users": 0.5}, r"facts\.users, a whole number, found 0\.5"),
    ],
)
def test_metrics_that_are_missing_or_no_numbers_are_refused(tmp_path: Path, facts: dict[str, Any], found: str) -> None:
    done, _ = judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]])
    with pytest.raises(RunError, match=rf"manifest\.json: expected {found}; restore it .* `tcf evaluate` again"):
        open_evaluation(rewritten(done.path, **facts))


@pytest.mark.parametrize("verify", ["once", "always"])
def test_a_flip_in_any_file_is_named(tmp_path: Path, verify: Verify) -> None:
    done, _ = judge(tmp_path, [[0, 1, 2]], [[1, 2, 3]])
    for file in done.path.iterdir():
        whole = file.read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 6)):
            flip_bit(file, position)
            with pytest.raises(RunError, match=rf"{done.path}.*`tcf evaluate"):
                open_evaluation(done.path, verify=verify)
        file.unlink()
        with pytest.raises(RunError, match=rf"{done.path}.*`tcf evaluate"):
            open_evaluation(done.path, verify=verify)
        file.write_bytes(whole)
    assert open_evaluation(done.path, verify=verify).metrics == done.metrics
