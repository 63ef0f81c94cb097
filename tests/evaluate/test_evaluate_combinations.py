"""Evaluations and recommendations of combinations, compared with explicit ensembles over dense scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from small.evaluate.combinations import combined, make_members
from small.evaluate.ensembles import ranks_by_hand, run_scores, standardised
from small.train.evaluations import CPU, Split
from small.train.runs import walks
from tcf.commands.app import app
from tcf.common.errors import ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.recommend import examples, recommend
from tcf.evaluate.stage import evaluate_run

WEIGHTS = (0.4, 0.6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("members")
    make_members(folder)
    combined(folder / "both", folder / "text", folder / "id", weights=WEIGHTS)
    combined(folder / "with-users", folder / "id", folder / "users", weights=WEIGHTS)
    return folder


def ensemble(made: Path, histories: list[list[int]]) -> npt.NDArray[np.float64]:
    """The weighted sum of the members' standardised scores, (U, N)."""
    scores = [standardised(run_scores(made / name, histories)) for name in ("text", "id")]
    return np.asarray(sum(weight * scores_UN for weight, scores_UN in zip(WEIGHTS, scores, strict=True)))


@pytest.mark.parametrize(("split", "back"), [("test", 1), ("validation", 2)])
def test_an_evaluation_is_that_of_an_explicit_ensemble(made: Path, tmp_path: Path, split: Split, back: int) -> None:
    config = EvaluateConfig(split=split, device="cpu", lists=True, cutoffs=(1, 5, 10))
    done = evaluate_run(made / "both", out=tmp_path / "e", config=config)
    earlier, targets = [items[:-back] for items in walks()], [items[-back] for items in walks()]
    scores_UN = ensemble(made, earlier)
    ranks = ranks_by_hand(scores_UN, earlier, targets)
    table = pq.read_table(done.path / "ranks.parquet").to_pydict()
    assert table["user_id"] == [f"u{user}" for user in range(60)]
    assert table["item_id"] == [f"i{item}" for item in targets]
    assert table["rank"] == ranks
    assert done.metrics["hr@5"] == pytest.approx(np.mean(np.array(ranks) <= 5))
    assert done.metrics["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)))
    lists = done.lists().to_pydict()
    for row in range(0, len(lists["score"]), 7):
        user, item = int(lists["user_id"][row][1:]), int(lists["item_id"][row][1:])
        assert lists["score"][row] == pytest.approx(scores_UN[user, item], abs=1e-5)
        better = [i for i in range(30) if i not in earlier[user] and scores_UN[user, i] > scores_UN[user, item] + 1e-5]
        assert len(better) == lists["place"][row] - 1


def test_it_says_what_was_ranked_and_is_found_again(made: Path, tmp_path: Path) -> None:
    done = evaluate_run(made / "both", out=tmp_path / "e", config=CPU)
    assert done.ranking == "combination of text, id"
    manifests = {
        name: json.loads((made / name / "manifest.json").read_text()) for name in ("both", "text", "id", "data")
    }
    prints = {name: manifest["fingerprint"] for name, manifest in manifests.items()}
    assert sorted(done.manifest.inputs.values()) == sorted(prints.values())
    assert done.manifest.inputs["dataset"] == prints["data"]
    before = (tmp_path / "e" / "manifest.json").stat()
    assert evaluate_run(made / "both", out=tmp_path / "e", config=CPU).metrics == done.metrics
    assert (tmp_path / "e" / "manifest.json").stat() == before
    with pytest.raises(RunError, match=r"an evaluation of these inputs and settings, found another"):
        evaluate_run(made / "text", out=tmp_path / "e", config=CPU)


def test_runs_combinations_and_baselines_are_evaluated_together(made: Path, tmp_path: Path) -> None:
    words = [str(made / name) for name in ("text", "both", "with-users")]
    options = ["--baseline", "popularity", "--out", str(tmp_path / "all"), "--device", "cpu", "--json"]
    first = CliRunner().invoke(app, ["evaluate", *words, *options])
    assert first.exit_code == 0, first.output
    names = [found["name"] for found in json.loads(first.stdout)]
    assert names == ["popularity", "text", "both", "with-users"]
    alone = evaluate_run(made / "both", out=tmp_path / "alone", config=CPU)
    for file in ("ranks.parquet", "manifest.json"):
        assert (tmp_path / "all" / "both" / file).read_bytes() == (alone.path / file).read_bytes()
    shutil.rmtree(tmp_path / "all" / "both")
    again = CliRunner().invoke(app, ["evaluate", *words, *options])
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_recommendations_and_shares_are_those_of_the_ensemble(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    done = CliRunner().invoke(
        app, ["recommend", str(made / "both"), "--out", str(out), "--k", "4", "--shares", "--device", "cpu", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["shares"] == ["text", "id"]
    table = pq.read_table(out)
    assert table.column_names == ["user_id", "place", "item_id", "score", "share_text", "share_id"]
    scores = [standardised(run_scores(made / name, walks())) for name in ("text", "id")]
    for row in table.to_pylist():
        user, item = int(row["user_id"][1:]), int(row["item_id"][1:])
        shares = [weight * scores_UN[user, item] for weight, scores_UN in zip(WEIGHTS, scores, strict=True)]
        assert [row["share_text"], row["share_id"]] == pytest.approx(shares, abs=1e-5)
        assert row["score"] == pytest.approx(sum(shares), abs=1e-5)
        assert item not in walks()[user]
    plain = recommend(made / "both", out=tmp_path / "plain.parquet", k=4, device="cpu")
    assert plain.table.equals(table.select(["user_id", "place", "item_id", "score"]).replace_schema_metadata(None)) or (
        plain.table.to_pydict() == table.select(plain.table.column_names).to_pydict()
    )
    csv = recommend(made / "both", out=tmp_path / "r.csv", k=4, shares=True, device="cpu")
    assert csv.table.column_names == table.column_names
    assert np.allclose(csv.table["share_id"], table["share_id"])


def test_shares_of_a_run_by_itself_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--shares: expected a combination.*found .*text, a training run by itself"):
        recommend(made / "text", out=tmp_path / "r.parquet", k=4, shares=True, device="cpu")
    assert not (tmp_path / "r.parquet").exists()


def test_catalogue_and_examples_follow_from_the_members(made: Path) -> None:
    assert recommend(made / "both", out=None, k=2, device="cpu").catalogue == "all"
    assert recommend(made / "with-users", out=None, k=2, device="cpu").catalogue == "trained"
    assert examples(made / "both", users=2, k=2, device="cpu").count("recommended: text ") == 2
