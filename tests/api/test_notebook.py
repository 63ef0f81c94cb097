"""The public API as a notebook uses it: from raw files to recommendations, on files of some sixty users."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import tcf
from small.encoders.models import save_opt
from small.launch.pipelines import TITLES, write_tcf
from small.train.runs import walks
from tcf.commands.app import app

EXTRACT = tcf.ExtractConfig(devices="cpu", tokens_per_batch=512)
TRAIN = tcf.TrainConfig(width=8, epochs=2, devices="cpu")
EVALUATE = tcf.EvaluateConfig(device="cpu")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw files and a model, and what the API made of them."""
    folder = tmp_path_factory.mktemp("notebook")
    write_tcf(folder / "raw")
    save_opt(folder / "model")
    dataset = tcf.prepare_dataset("tcf", str(folder / "raw"), folder / "dataset")
    extraction = tcf.extract_vectors(dataset, folder / "model", str(folder / "cache"), EXTRACT)
    run = tcf.train_recommender(dataset, extraction, out=folder / "run", config=TRAIN)
    tcf.evaluate_run(run, folder / "evaluation", EVALUATE)
    tcf.recommend_items(run, k=3, out=folder / "recommended.parquet")
    return folder


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


def test_results_are_those_of_the_commands(here: Path, tmp_path: Path) -> None:
    data, cache, run = tmp_path / "dataset", tmp_path / "cache", tmp_path / "run"
    command("data", "prepare", "tcf", here / "raw", "--out", data)
    command(
        *("extract", "--data", data, "--model", here / "model", "--out", cache),
        *("--devices", "cpu", "--tokens-per-batch", 512),
    )
    command(
        *("train", "--data", data, "--cache", cache, "--out", run),
        *("--width", 8, "--epochs", 2, "--devices", "cpu"),
    )
    command("evaluate", run, "--out", tmp_path / "evaluation", "--device", "cpu")
    command("recommend", run, "--k", 3, "--out", tmp_path / "recommended.parquet", "--device", "cpu")
    for file in ("dataset/manifest.json", "run/model.safetensors", "run/epochs.jsonl", "evaluation/ranks.parquet"):
        assert (here / file).read_bytes() == (tmp_path / file).read_bytes(), file
    for file in ("run/manifest.json", "evaluation/manifest.json", "cache/manifest.json"):
        found = [json.loads((folder / file).read_text())["fingerprint"] for folder in (here, tmp_path)]
        assert found[0] == found[1], file
    assert (here / "recommended.parquet").read_bytes() == (tmp_path / "recommended.parquet").read_bytes()


def test_what_is_there_is_opened_and_not_made_again(here: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in here.rglob("*") if file.is_file()}
    dataset = tcf.prepare_dataset("tcf", here / "raw", here / "dataset")
    extraction = tcf.extract_vectors(dataset, here / "model", here / "cache", EXTRACT)
    assert extraction.computed == 0
    tcf.train_recommender(here / "dataset", here / "cache", out=here / "run", config=TRAIN)
    tcf.evaluate_run(here / "run", here / "evaluation", EVALUATE)
    assert {file: file.stat().st_mtime_ns for file in here.rglob("*") if file.is_file()} == before


def test_a_dataset_as_frames(here: Path) -> None:
    dataset = tcf.open_dataset(str(here / "dataset"))
    kept = [history for history in walks() if len(history) >= 5]
    items = dataset.to_pandas()
    assert items["item_id"].tolist() == [f"i{item}" for item in range(30)]
    assert items["text"].tolist() == TITLES
    counts = pd.Series([item for history in kept for item in history[:-2]]).value_counts()
    assert items["training_interactions"].tolist() == [counts.get(item, 0) for item in range(30)]
    interactions = dataset.to_pandas("interactions")
    assert interactions["item_id"].tolist() == [f"i{item}" for history in kept for item in history]
    assert interactions["position"].tolist() == [place for history in kept for place in range(len(history))]
    parts = [part for history in kept for part in ["training"] * (len(history) - 2) + ["validation", "test"]]
    assert interactions["part"].tolist() == parts
    users = [f"u{user}" for user, history in enumerate(walks()) if len(history) >= 5 for _ in history]
    assert interactions["user_id"].tolist() == users
    assert repr(dataset).endswith(f"dataset': {len(kept)} users, 30 items, {len(parts)} interactions)")
    wrong: Any = "users"
    with pytest.raises(tcf.ConfigError, match="^table: expected one of items, interactions, found 'users'$"):
        dataset.to_pandas(wrong)


def test_vectors_as_a_frame(here: Path) -> None:
    cache = tcf.open_cache(here / "cache")
    assert isinstance(cache, tcf.VectorCache)
    frame = cache.to_pandas()
    dataset = tcf.open_dataset(here / "dataset")
    assert frame.index.name == "item_id"
    assert frame.index.tolist() == dataset.item_ids.to_pylist()
    assert np.array_equal(frame.to_numpy(), cache.vectors_for(dataset))
    assert np.array_equal(cache.to_pandas(dataset), frame)
    assert repr(cache).endswith(f"cache': 15 rows of vectors, width 32, float16, by {here / 'model'})")


def test_a_run_as_a_frame(here: Path) -> None:
    run = tcf.open_run(here / "run", device="cpu")
    lines = [json.loads(line) for line in (here / "run" / "epochs.jsonl").read_text().splitlines()]
    names = {"epoch": "epoch", "loss": "loss", "hr@10": "validation_hr@10", "ndcg@10": "validation_ndcg@10"}
    assert run.to_pandas().to_dict("records") == [{names[key]: line[key] for key in names} for line in lines]
    assert "model" not in vars(run)  # loaded when it is needed
    assert run.item_vectors().shape == (30, 8)
    assert run.metadata["epochs"] == 2
    assert repr(run).startswith(f"Run({str(here / 'run')!r}: sasrec, items as text, ")
    (copy := here / "copy").mkdir()
    for file in (here / "run").iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    (copy / "epochs.jsonl").write_text("{}\n")
    with pytest.raises(tcf.RunError, match=r"epochs.jsonl: expected \d+ bytes, found 3"):
        tcf.open_run(copy).to_pandas()


def test_an_evaluation_as_frames(here: Path) -> None:
    evaluation = tcf.open_evaluation(here / "evaluation")
    [metrics] = evaluation.to_pandas().to_dict("records")
    ends = {
        f"{name}_{end}": value
        for name, pair in evaluation.intervals.items()
        for end, value in zip(("low", "high"), pair, strict=True)
    }
    assert metrics == {"ranking": "sasrec, items as text", **evaluation.metrics, **ends}
    ranks = evaluation.to_pandas("ranks")
    users = tcf.open_dataset(here / "dataset").user_ids.to_pylist()
    assert [*ranks] == [*("user_id", "item_id", "rank", "ties", "candidates"), "item_interactions", "history"]
    assert ranks["user_id"].tolist() == users
    alone = ranks[ranks["ties"] == 0]["rank"]
    assert 0 < (alone < 10).sum() <= round(evaluation.metrics["hr@10"] * len(users))


def test_several_evaluations_in_one_table(here: Path) -> None:
    baseline = tcf.evaluate_baseline("popularity", here / "dataset", here / "popularity", EVALUATE)
    table = tcf.evaluation_table({"text": here / "evaluation", "most popular": baseline})
    frame = table.to_pandas()
    assert frame.index.tolist() == ["text", "most popular"]
    for name, evaluation in table.evaluations.items():
        assert frame.loc[name].to_dict().items() >= evaluation.metrics.items()
        assert (frame.loc[name]["mrr_low"], frame.loc[name]["mrr_high"]) == evaluation.intervals["mrr"]
    assert [line.split()[0] for line in str(table).splitlines()] == ["ranking", "text", "most", "intervals:"]
    assert [*tcf.evaluation_table([baseline, here / "evaluation"]).evaluations] == ["popularity", "evaluation"]
    with pytest.raises(tcf.ConfigError, match="evaluations: expected different names, found popularity twice"):
        tcf.evaluation_table([baseline, baseline])


def test_two_evaluations_are_compared(here: Path) -> None:
    baseline = tcf.evaluate_baseline("popularity", here / "dataset", here / "popularity", EVALUATE)
    found = tcf.compare_evaluations(
        [here / "evaluation", baseline], ["hr@3", "ndcg@10"], by="cold", resamples=200, flips=99
    )
    row = found.to_pandas().set_index(["metric", "group"]).loc[("ndcg@10", "")]
    frames = [tcf.open_evaluation(here / name).metrics["ndcg@10"] for name in ("evaluation", "popularity")]
    assert row["difference"] == pytest.approx(frames[0] - frames[1])
    assert (
        command(
            *("-q", "compare", here / "evaluation", f"popularity={here / 'popularity'}", "--metrics", "hr@3,ndcg@10"),
            *("--by", "cold", "--resamples", 200, "--flips", 99),
        )
        == f"{found}\n"
    )


def test_recommendations_in_memory_are_those_in_a_file(here: Path) -> None:
    run = tcf.open_run(here / "run", device="cpu")
    in_file = tcf.recommend_items(run, k=3, out=here / "recommended.parquet").to_pandas()
    in_memory = tcf.recommend_items(run, k=3)
    pd.testing.assert_frame_equal(in_memory.to_pandas(), in_file)
    in_csv = tcf.recommend_items(run, k=3, out=here / "recommended.csv").to_pandas()
    pd.testing.assert_frame_equal(in_csv, in_file)
    assert in_memory.path is None
    user = in_file["user_id"].iloc[-1]
    for users in (user, [user], np.array([user])):
        found = tcf.recommend_items(run, k=3, users=users).to_pandas()
        pd.testing.assert_frame_equal(found, in_file[in_file["user_id"] == user].reset_index(drop=True))
    (here / "users.txt").write_text(f"{user}\n")
    assert tcf.recommend_items(run, k=3, users=here / "users.txt").to_pandas()["user_id"].unique().tolist() == [user]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "^k: expected at least 1, found 0$"),
        ({"out": "here.txt"}, "^--out: expected a file name that ends in .parquet or .csv"),
        ({"k": "3"}, "^k: expected a whole number, found '3'$"),
        (
            {"users": ["u0", "nobody"]},
            r"^users\[1\]: expected users of .*, found the unknown id 'nobody' \(1 wrong id\); ",
        ),
        ({"users": ["u0", 7]}, r"^users\[1\]: expected a user id as a string, found 7$"),
        (
            {"users": "users.txt"},
            r"^users\[0\]: .* unknown .*; correct the list, or name a file of ids as a pa",
        ),
    ],
)
def test_recommendations_that_cannot_be_are_refused(here: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(tcf.TcfError, match=message):
        tcf.recommend_items(here / "run", **arguments)


def test_a_run_with_its_inputs_elsewhere_is_used_as_it_was_opened(here: Path, tmp_path: Path) -> None:
    for name in ("run", "dataset", "cache"):
        (here / name).rename(tmp_path / name)
    try:
        dataset = tcf.open_dataset((tmp_path / "dataset").rename(tmp_path / "moved"))
        run = tcf.open_run(tmp_path / "run", data=dataset, caches=str(tmp_path / "cache"), device="cpu")
        again = tcf.evaluate_run(run, tmp_path / "evaluation", EVALUATE)
        assert again.metrics == tcf.open_evaluation(here / "evaluation").metrics
        with pytest.raises(tcf.RunError, match="expected the dataset that .*, found nothing there"):
            tcf.evaluate_run(run.path, tmp_path / "other", EVALUATE)
    finally:
        (tmp_path / "moved").rename(here / "dataset")
        for name in ("run", "cache"):
            (tmp_path / name).rename(here / name)


def test_a_plan(here: Path) -> None:
    by_data = tcf.plan_extraction(str(here / "model"), here / "dataset", config=EXTRACT)
    assert (by_data.schedule, by_data.items) == ("resident", 30)
    assert str(by_data).startswith("model")
    assert tcf.plan_extraction(here / "model", items=1000, config=EXTRACT).items == 1000
    for wrong in ({}, {"data": here / "dataset", "items": 3}, {"data": here / "dataset", "tokens_per_text": 3}):
        with pytest.raises(tcf.ConfigError, match="^expected either --data"):
            tcf.plan_extraction(here / "model", **wrong)  # type: ignore[arg-type]


def test_pandas_is_asked_for_only_where_it_is_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tcf.open_dataset(here / "dataset")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tcf.ConfigError, match=r'to_pandas: expected the library pandas, .*"text-cf\[pandas\]"$'):
        dataset.to_pandas()
