"""Evaluations and recommendations of combinations, compared with explicit ensembles over dense scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tcf
from small.data.caches import flip_bit
from small.evaluate.combinations import combined
from small.evaluate.ensembles import co_occurrence_scores, ranks_by_hand, run_scores, standardised
from small.train.evaluations import CPU, SMALL, Split
from small.train.runs import make_dataset, walks
from tcf.commands.app import app
from tcf.common.errors import ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.evaluate.recommend import examples, recommend
from tcf.evaluate.stage import evaluate_run
from tcf.train.run.open_run import open_run
from tcf.train.stage import train

WEIGHTS = (0.4, 0.6)
WITH_BASELINE = (0.35, 0.45, 0.2)


@pytest.fixture(scope="module")
def members(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `text` and `id`, and combinations of them, alone and with co-occurrence."""
    folder = tmp_path_factory.mktemp("members")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    runs = folder / "text", folder / "id"
    combined(folder / "both", *runs, weights=WEIGHTS)
    combined(folder / "three", *runs, weights=WITH_BASELINE, baselines=("co-occurrence",))
    return folder


def parts_of(members: Path, histories: list[list[int]], weights: tuple[float, ...]) -> list[npt.NDArray[np.float64]]:
    """Each member's part of all scores, (U, N): text, id and, with three weights, co-occurrence."""
    scores = [standardised(run_scores(members / name, histories)) for name in ("text", "id")]
    scores.append(co_occurrence_scores([items[:-2] for items in walks()], histories, 30))
    return [weight * scores_UN for weight, scores_UN in zip(weights, scores, strict=False)]


@pytest.mark.parametrize(("name", "weights"), [("both", WEIGHTS), ("three", WITH_BASELINE)])
@pytest.mark.parametrize(("split", "back"), [("test", 1), ("validation", 2)])
def test_an_evaluation_is_that_of_an_explicit_ensemble(
    members: Path, tmp_path: Path, split: Split, back: int, name: str, weights: tuple[float, ...]
) -> None:
    config = EvaluateConfig(split=split, device="cpu", lists=True, cutoffs=(1, 5, 10))
    done = evaluate_run(members / name, out=tmp_path / "e", config=config)
    earlier, targets = [items[:-back] for items in walks()], [items[-back] for items in walks()]
    scores_UN = np.sum(parts_of(members, earlier, weights), axis=0)
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
    words = [str(members / name) for name in ("text", "both", "three")]
    options = ["--baseline", "popularity", "--out", str(tmp_path / "all"), "--device", "cpu", "--json"]
    first = CliRunner().invoke(app, ["evaluate", *words, *options])
    assert first.exit_code == 0, first.output
    names = [found["name"] for found in json.loads(first.stdout)]
    assert names == ["popularity", "text", "both", "three"]
    alone = evaluate_run(members / "both", out=tmp_path / "alone", config=CPU)
    for file in ("ranks.parquet", "manifest.json"):
        assert (tmp_path / "all" / "both" / file).read_bytes() == (alone.path / file).read_bytes()
    shutil.rmtree(tmp_path / "all" / "both")
    again = CliRunner().invoke(app, ["evaluate", *words, *options])
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_recommendations_and_shares_are_those_of_the_ensemble(members: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "r.parquet", ["--k", "4", "--shares", "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, ["recommend", str(members / "three"), "--out", str(out), *words])
    assert done.exit_code == 0, done.output
    names = ["text", "id", "co-occurrence"]
    assert json.loads(done.stdout)["shares"] == names
    table = pq.read_table(out)
    assert table.column_names == ["user_id", "place", "item_id", "score", *(f"share_{name}" for name in names)]
    parts = parts_of(members, walks(), WITH_BASELINE)
    for row in table.to_pylist():
        user, item = int(row["user_id"][1:]), int(row["item_id"][1:])
        shares = [scores_UN[user, item] for scores_UN in parts]
        assert [row[f"share_{name}"] for name in names] == pytest.approx(shares, abs=1e-5)
        assert row["score"] == pytest.approx(sum(shares), abs=1e-5)
        assert item not in walks()[user]
        unseen = [other for other in range(30) if other not in walks()[user]]
        better = [other for other in unseen if sum(part[user, other] for part in parts) > row["score"] + 1e-5]
        assert len(better) == row["place"] - 1
    plain = recommend(members / "three", out=tmp_path / "plain.parquet", k=4, device="cpu").table
    assert plain.to_pydict() == table.select(plain.column_names).to_pydict()
    csv = recommend(members / "three", out=tmp_path / "r.csv", k=4, shares=True, device="cpu").table
    assert csv.column_names == table.column_names
    assert np.allclose(csv["share_id"], table["share_id"])


def test_faiss_is_refused_where_scores_are_added(members: Path, tmp_path: Path) -> None:
    words = (
        f"--search faiss: expected scores that are inner products, found the member co-occurrence of {members}/three"
    )
    with pytest.raises(ConfigError, match=words):
        evaluate_run(members / "three", out=tmp_path / "e", config=EvaluateConfig(device="cpu", search="faiss"))
    with pytest.raises(ConfigError, match=words):
        recommend(members / "three", out=tmp_path / "r.csv", k=2, search="faiss", device="cpu")
    config = EvaluateConfig(device="cpu", search="faiss")
    by_faiss = evaluate_run(members / "both", out=tmp_path / "faiss", config=config)
    assert by_faiss.metrics == evaluate_run(members / "both", out=tmp_path / "torch", config=CPU).metrics


def test_combinations_of_refits_are_not_measured_on_validation(members: Path, tmp_path: Path) -> None:
    config = TrainConfig(items="id", refit=True, **SMALL)
    train(data=members / "data", caches=[], out=tmp_path / "again", config=config)
    both = combined(tmp_path / "both", tmp_path / "again", weights=(1, 1), baselines=("popularity",))
    with pytest.raises(
        ConfigError, match=r"both, a combination of refits; evaluate a combination of the runs in their"
    ):
        evaluate_run(both, out=tmp_path / "e", config=EvaluateConfig(split="validation", device="cpu"))
    done = evaluate_run(both, out=tmp_path / "e", config=CPU)
    assert done.ranking == "combination of again, popularity, refit"


def test_shares_of_a_run_by_itself_are_refused(members: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--shares: expected a combination.*found .*text, a training run by itself"):
        recommend(members / "text", out=tmp_path / "r.parquet", k=4, shares=True, device="cpu")
    assert not (tmp_path / "r.parquet").exists()


def test_texts_decide_which_items_are_recommended_and_are_shown(members: Path) -> None:
    assert recommend(members / "both", out=None, k=2, device="cpu").catalogue == "all"
    assert examples(members / "both", users=2, k=2, device="cpu").count("recommended: text ") == 2


def test_users_and_items_without_a_training_interaction(tmp_path: Path) -> None:
    """Nobody has item 30; of the first user's two items, one is for validation and the other for the test."""
    histories = [[0, 1], *walks()]
    dataset = make_dataset(tmp_path, histories, [f"text {item}" for item in range(31)])
    for name, more in (("id", {}), ("users", {"backbone": "dssm", "user_tower": "id"})):
        config = TrainConfig(items="id", **(SMALL | {"epochs": 1} | more))
        train(data=dataset.path, caches=[], out=tmp_path / name, config=config)
    runs = tmp_path / "id", tmp_path / "users"
    both = combined(tmp_path / "both", *runs, weights=WITH_BASELINE, baselines=("co-occurrence",))
    kept = recommend(both, out=None, k=2, device="cpu")
    assert (kept.catalogue, kept.untrained, kept.n_users) == ("trained", 1, 61)
    assert "i30" not in kept.table["item_id"].to_pylist()
    left_out = recommend(both, out=None, k=31, catalogue="all", untrained_users="leave-out", device="cpu")
    assert (left_out.untrained, left_out.n_users) == (1, 60)
    training = [items[:-2] for items in histories]
    scores = [
        *(standardised(run_scores(run, histories)) for run in runs),
        co_occurrence_scores(training, histories, 31),
    ]
    scores_UN = np.sum([weight * part for weight, part in zip(WITH_BASELINE, scores, strict=True)], axis=0)
    for found in (kept, left_out):
        for row in found.table.to_pylist():
            score = scores_UN[int(row["user_id"][1:]), int(row["item_id"][1:])]
            assert row["score"] == pytest.approx(score, abs=1e-5)


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
    opened = tcf.open_combination(here / "both", runs={"text": here / "elsewhere"}, device="cpu")
    assert tcf.recommend_items(opened, k=1, data=members / "data", caches=members / "cache").n_users == 60
    recommended = ["recommend", str(here / "both"), "--k", "2", "--device", "cpu", "--out", str(tmp_path / "r.csv")]
    in_home = CliRunner().invoke(app, [*recommended, "--run", "text=~/elsewhere"], env={"HOME": str(here)})
    assert in_home.exit_code == 0, in_home.output
    for wrong, words_of_error in (
        (["--run", "text"], "--run: expected NAME=PATH, each name only once, found text; correct it"),
        (
            ["--run", "id=x", "--run", "id=y"],
            "--run: expected NAME=PATH, each name only once, found id a second time",
        ),
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
