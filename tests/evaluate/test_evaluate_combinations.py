"""Evaluations and recommendations of combinations, compared with explicit ensembles over dense scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from small.data.caches import flip_bit
from small.evaluate.combinations import combined
from small.evaluate.ensembles import ranks_by_hand, run_scores, standardised
from small.train.evaluations import CPU, SMALL, Split
from small.train.runs import make_dataset, walks
from tcf.commands.app import app
from tcf.common.errors import ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig, UntrainedUsers
from tcf.config.train import TrainConfig
from tcf.evaluate.recommend import examples, recommend
from tcf.evaluate.stage import evaluate_run
from tcf.train.run.open_run import open_run
from tcf.train.stage import train

WEIGHTS = (0.4, 0.6)


@pytest.fixture(scope="module")
def members(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `text` and `id`, `users`, which learns a vector for each user, and combinations of two of these."""
    folder = tmp_path_factory.mktemp("members")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    config = TrainConfig(items="id", user_tower="id", backbone="dssm", **(SMALL | {"epochs": 1}))
    train(data=folder / "data", caches=[], out=folder / "users", config=config)
    combined(folder / "both", folder / "text", folder / "id", weights=WEIGHTS)
    combined(folder / "with-users", folder / "id", folder / "users", weights=WEIGHTS)
    return folder


def ensemble(members: Path, histories: list[list[int]]) -> npt.NDArray[np.float64]:
    """The weighted sum of the members' standardised scores, (U, N)."""
    scores = [standardised(run_scores(members / name, histories)) for name in ("text", "id")]
    return np.asarray(sum(weight * scores_UN for weight, scores_UN in zip(WEIGHTS, scores, strict=True)))


@pytest.mark.parametrize(("split", "back"), [("test", 1), ("validation", 2)])
def test_an_evaluation_is_that_of_an_explicit_ensemble(members: Path, tmp_path: Path, split: Split, back: int) -> None:
    config = EvaluateConfig(split=split, device="cpu", lists=True, cutoffs=(1, 5, 10))
    done = evaluate_run(members / "both", out=tmp_path / "e", config=config)
    earlier, targets = [items[:-back] for items in walks()], [items[-back] for items in walks()]
    scores_UN = ensemble(members, earlier)
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


def test_it_says_what_was_ranked_and_is_found_again(members: Path, tmp_path: Path) -> None:
    done = evaluate_run(members / "both", out=tmp_path / "e", config=CPU)
    assert done.ranking == "combination of text, id"
    manifests = {
        name: json.loads((members / name / "manifest.json").read_text()) for name in ("both", "text", "id", "data")
    }
    prints = {name: manifest["fingerprint"] for name, manifest in manifests.items()}
    assert sorted(done.manifest.inputs.values()) == sorted(prints.values())
    assert done.manifest.inputs["dataset"] == prints["data"]
    before = (tmp_path / "e" / "manifest.json").stat().st_ino
    assert evaluate_run(members / "both", out=tmp_path / "e", config=CPU).metrics == done.metrics
    assert (tmp_path / "e" / "manifest.json").stat().st_ino == before
    with pytest.raises(RunError, match=r"an evaluation of these inputs and settings, found another"):
        evaluate_run(members / "text", out=tmp_path / "e", config=CPU)


def test_runs_combinations_and_baselines_are_evaluated_together(members: Path, tmp_path: Path) -> None:
    words = [str(members / name) for name in ("text", "both", "with-users")]
    options = ["--baseline", "popularity", "--out", str(tmp_path / "all"), "--device", "cpu", "--json"]
    first = CliRunner().invoke(app, ["evaluate", *words, *options])
    assert first.exit_code == 0, first.output
    names = [found["name"] for found in json.loads(first.stdout)]
    assert names == ["popularity", "text", "both", "with-users"]
    alone = evaluate_run(members / "both", out=tmp_path / "alone", config=CPU)
    for file in ("ranks.parquet", "manifest.json"):
        assert (tmp_path / "all" / "both" / file).read_bytes() == (alone.path / file).read_bytes()
    shutil.rmtree(tmp_path / "all" / "both")
    again = CliRunner().invoke(app, ["evaluate", *words, *options])
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_recommendations_and_shares_are_those_of_the_ensemble(members: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    done = CliRunner().invoke(
        app,
        ["recommend", str(members / "both"), "--out", str(out), "--k", "4", "--shares", "--device", "cpu", "--json"],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["shares"] == ["text", "id"]
    table = pq.read_table(out)
    assert table.column_names == ["user_id", "place", "item_id", "score", "share_text", "share_id"]
    scores = [standardised(run_scores(members / name, walks())) for name in ("text", "id")]
    for row in table.to_pylist():
        user, item = int(row["user_id"][1:]), int(row["item_id"][1:])
        shares = [weight * scores_UN[user, item] for weight, scores_UN in zip(WEIGHTS, scores, strict=True)]
        assert [row["share_text"], row["share_id"]] == pytest.approx(shares, abs=1e-5)
        assert row["score"] == pytest.approx(sum(shares), abs=1e-5)
        assert item not in walks()[user]
    plain = recommend(members / "both", out=tmp_path / "plain.parquet", k=4, device="cpu").table
    assert plain.to_pydict() == table.select(plain.column_names).to_pydict()
    csv = recommend(members / "both", out=tmp_path / "r.csv", k=4, shares=True, device="cpu")
    assert csv.table.column_names == table.column_names
    assert np.allclose(csv.table["share_id"], table["share_id"])


def test_shares_of_a_run_by_itself_are_refused(members: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--shares: expected a combination.*found .*text, a training run by itself"):
        recommend(members / "text", out=tmp_path / "r.parquet", k=4, shares=True, device="cpu")
    assert not (tmp_path / "r.parquet").exists()


def test_catalogue_and_examples_follow_from_the_members(members: Path) -> None:
    assert recommend(members / "both", out=None, k=2, device="cpu").catalogue == "all"
    assert recommend(members / "with-users", out=None, k=2, device="cpu").catalogue == "trained"
    assert examples(members / "both", users=2, k=2, device="cpu").count("recommended: text ") == 2


@pytest.mark.parametrize("policy", ["keep", "leave-out"])
def test_users_whom_a_member_has_not_trained_are_told(
    members: Path, tmp_path: Path, policy: UntrainedUsers, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two items, the first is for validation and the second for the test, so that nothing is for training."""
    done = recommend(members / "with-users", out=None, k=2, untrained_users=policy, device="cpu")
    assert (done.untrained, done.n_users) == (0, 60)
    short = [[0, 1], *walks()]
    dataset = make_dataset(tmp_path, short, [f"text {item}" for item in range(30)])
    for name, more in (("id", {}), ("users", {"backbone": "dssm", "user_tower": "id"})):
        config = TrainConfig(items="id", **(SMALL | {"epochs": 1} | more))
        train(data=dataset.path, caches=[], out=tmp_path / name, config=config)
    both = combined(tmp_path / "both", tmp_path / "id", tmp_path / "users", weights=WEIGHTS)
    done = recommend(both, out=None, k=2, untrained_users=policy, device="cpu")
    assert (done.untrained, done.n_users) == (1, 61 if policy == "keep" else 60)


def test_a_run_that_has_moved_is_named(members: Path, tmp_path: Path) -> None:
    shutil.copytree(members, tmp_path / "made")
    here = tmp_path / "made"
    (here / "text").rename(here / "elsewhere")
    words = ["evaluate", str(here / "both"), "--device", "cpu", "--out", str(tmp_path / "e")]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, RunError)
    assert "name its new place with --run text=PATH" in str(refused.exception)
    found = CliRunner().invoke(app, [*words, "--run", f"text={here / 'elsewhere'}"])
    assert found.exit_code == 0, found.output
    alone = evaluate_run(members / "both", out=tmp_path / "alone", config=CPU)
    assert (tmp_path / "e" / "ranks.parquet").read_bytes() == (alone.path / "ranks.parquet").read_bytes()
    recommended = ["recommend", str(here / "both"), "--k", "2", "--device", "cpu", "--out", str(tmp_path / "r.csv")]
    assert CliRunner().invoke(app, [*recommended, "--run", f"text={here / 'elsewhere'}"]).exit_code == 0
    for wrong, words_of_error in (
        (["--run", "text"], "--run: expected NAME=PATH, each name only once, found text; correct it"),
        (["--run", "id=x", "--run", "id=y"], "--run: expected NAME=PATH, each name only once, found id a second time"),
        (["--run", f"nobody={here}"], f"--run nobody={here}: expected a run among the members of"),
        ([str(here / "id"), "--run", f"id={here / 'id'}"], "--run: expected a single combination, by itself"),
    ):
        refused = CliRunner().invoke(app, [*words, *wrong])
        assert str(refused.exception).startswith(words_of_error)
    refused = CliRunner().invoke(app, ["evaluate", str(here / "id"), *words[2:], "--run", "id=x"])
    assert f"found {here / 'id'}, which is none" in str(refused.exception)


def test_damage_of_a_member_is_found_before_anything_is_published(members: Path, tmp_path: Path) -> None:
    shutil.copytree(members, tmp_path / "made")
    flip_bit(tmp_path / "made" / "id" / "model.safetensors", 900)
    with pytest.raises(RunError, match=r"id/model.safetensors: its sha256 differs from "):
        evaluate_run(tmp_path / "made" / "both", out=tmp_path / "e", config=CPU)
    with pytest.raises(RunError, match=r"id/model.safetensors: its sha256 differs from "):
        recommend(tmp_path / "made" / "both", out=tmp_path / "r.parquet", k=2, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_combination_is_no_training_run(members: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"both: expected a directory of format tcf-run.*found format tcf-combination"):
        open_run(members / "both")
    with pytest.raises(RunError, match="both"):
        train(data=members / "data", out=members / "both", config=TrainConfig(items="id", **SMALL))
