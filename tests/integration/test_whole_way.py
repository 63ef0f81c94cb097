"""The real commands, one after another, as a new user would type them in an empty directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import tcf
from small.encoders.models import made_up_texts, save_opt, vectors_one_by_one
from small.launch.kills import run_command
from tcf.commands.app import app
from tcf.data import VectorCache, open_dataset

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tcf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
KEYS = [
    *("hr@10", "ndcg@10", "mrr@10", "mrr", "users", "targets", "users_without_training", "candidates"),
    *("targets_outside_catalogue", "several_targets", "catalogue", "exclude", "seen", "untrained_users", "split"),
    "intervals",
]
TITLES = [made_up_texts(20)[item // 2] for item in range(40)]
USERS = 30

PREPARE = "data prepare tcf raw --out data --min-history 4"
EXTRACT = "extract --data data --model model --out cache --devices cpu --shard-rows 8 --parquet"
TRAIN = "train --cache cache --items text --out runs/text --width 16 --epochs 2 --devices cpu"
TRAIN_ID = "train --data data --items id --out runs/id --width 16 --epochs 2 --devices cpu"
EVALUATE = "evaluate runs/text --out evaluations/text --device cpu --json"
EVALUATE_ID = "evaluate runs/id --out evaluations/id --device cpu --json"


def histories() -> list[list[int]]:
    """Walks along a circle of items; every sixth user is too short a story to be kept, and item 40 occurs nowhere."""
    rng = np.random.default_rng(3)
    return [[int(start + step) % 40 for step in range(3 if user % 6 == 5 else 9)] for user, start in
            enumerate(rng.integers(0, 40, USERS))]  # fmt: skip


def write_raw(folder: Path) -> None:
    folder.mkdir()
    users = "".join(f"u{u}\t{' '.join(f'i{i}' for i in history)}\n" for u, history in enumerate(histories()))
    (folder / "behaviors.tsv").write_text("user_id\titems\n" + users)
    items = "".join(f"i{i}\t{title}\n" for i, title in enumerate([*TITLES, "a title nobody met"]))
    (folder / "items.tsv").write_text("item_id\ttitle\n" + items)


def start(folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def real(folder: Path, line: str) -> str:
    """What the command prints, in a process of its own, in the working directory.

    The process is a copy of one that has imported the libraries, which takes seconds.
    """
    done = run_command(*line.split(), folder=folder / "said", home=folder.parent / "home")
    assert done.status == 0, done.said
    return done.printed


def quick(line: str) -> str:
    """The same within this process, in the working directory."""
    done: Result = CliRunner().invoke(app, line.split())
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    write_raw(folder / "raw")
    save_opt(folder / "model")
    monkeypatch.chdir(folder)
    monkeypatch.setitem(ENVIRONMENT, "TCF_HOME", str(tmp_path / "home"))
    return folder


def test_the_whole_way(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_prepared(here)
    check_extracted(here)
    check_trained_and_evaluated(here)
    check_recommended(here)
    check_another_directory(here, tmp_path / "there", monkeypatch)


def check_prepared(here: Path) -> None:
    done = start(here, ["-m", "tcf.cli", *PREPARE.split()])
    assert done.returncode == 0, done.stderr
    assert done.stdout == quick("data describe data")
    described = json.loads(real(here, "data describe data --json"))
    kept = [history for history in histories() if len(history) >= 4]
    items = {item for history in kept for item in history}
    assert described["users"] == len(kept) == 25
    assert (described["items"], described["interactions"]) == (len(items), sum(map(len, kept)))
    assert described["skipped"] == {
        "header_line": 2,
        "users_below_min_history": 5,
        "interactions_of_dropped_users": 15,
        "items_never_seen": 41 - len(items),
    }
    dataset = open_dataset("data")
    assert dataset.item_ids.to_pylist() == [f"i{item}" for item in sorted(items)]
    assert dataset.texts.to_pylist() == [TITLES[item] for item in sorted(items)]
    assert dataset.user_ids.to_pylist() == [f"u{user}" for user in range(USERS) if user % 6 != 5]


def check_extracted(here: Path) -> None:
    dataset = open_dataset("data")
    texts = dataset.texts.to_pylist()
    n_texts = len(set(texts))
    printed = real(here, EXTRACT)
    counts = f"{n_texts} distinct texts, {n_texts} distinct token sequences, {n_texts} computed now"
    assert printed == (
        f"{dataset.n_items} items, {counts}\n0 texts (0.00%) cut at 30 tokens\ncache: cache\nparquet: cache.parquet\n"
    )
    assert json.loads(quick("cache verify cache --json"))["verified"] is True
    described = json.loads(quick("cache describe cache --json"))
    assert (described["vectors"], described["width"], described["shards"]) == (n_texts, 32, -(-n_texts // 8))
    assert described["encoder"]["pooling"] == "mean"
    assert described["datasets"][0]["path"] == str(here / "data")
    assert quick("cache export cache --out vectors.npy").startswith("vectors.npy: ")
    vectors = np.load("vectors.npy")
    assert np.array_equal(vectors, VectorCache.open("cache").vectors_for(dataset))
    assert vectors == pytest.approx(vectors_one_by_one(here / "model", texts, pooling="mean"), rel=1e-3, abs=1e-3)
    quick("cache export cache --data data --out vectors.parquet")
    assert Path("vectors.parquet").read_bytes() == Path("cache.parquet").read_bytes()
    table = pq.read_table("vectors.parquet")
    assert table["item_id"].to_pylist() == dataset.item_ids.to_pylist()
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float16), vectors)


def check_trained_and_evaluated(here: Path) -> None:
    printed = dict(line.split(": ") for line in real(here, TRAIN).splitlines())
    assert (printed["run"], printed["epochs"], printed["users"]) == ("runs/text", "2", "25")
    quick(TRAIN_ID)
    quick("evaluate --baseline co-occurrence --data data --out evaluations/co-occurrence")
    for name, shown in (("text", real(here, EVALUATE)), ("id", quick(EVALUATE_ID))):
        metrics = json.loads(shown)
        assert metrics.pop("evaluation") == f"evaluations/{name}"
        assert list(metrics) == KEYS
        assert metrics == json.loads(Path(f"evaluations/{name}/metrics.json").read_text())
        assert (metrics["users"], metrics["seen"], metrics["split"]) == (25, "keep", "test")
        assert all(0 <= metrics[key] <= 1 for key in KEYS[:4])
        ranks = pq.read_table(f"evaluations/{name}/ranks.parquet").to_pydict()
        kept = [history for history in histories() if len(history) >= 4]
        assert ranks["item_id"] == [f"i{history[-1]}" for history in kept]
        assert set(ranks["candidates"]) == {metrics["candidates"] - 8}
    done = start(here, ["-m", "tcf.cli", *"evaluate raw --out evaluations/raw".split()])
    first, error = done.stderr.splitlines()
    assert (done.returncode, done.stdout, first) == (2, "", "tcf evaluate: loading libraries")
    assert error.startswith("tcf: error: raw: expected a directory of format tcf-run made by `tcf train`")


def check_recommended(here: Path) -> None:
    Path("users.txt").write_text("u8\nu0\n")
    printed = real(here, "recommend runs/text --k 3 --users users.txt --out recommendations.parquet --device cpu")
    assert printed == "recommendations.parquet: up to 3 items for each of 2 users\n"
    rows = pq.read_table("recommendations.parquet").to_pylist()
    assert [(row["user_id"], row["place"]) for row in rows] == [(user, p) for user in ("u8", "u0") for p in (1, 2, 3)]
    for row in rows:
        assert row["item_id"] not in [f"i{item}" for item in histories()[int(row["user_id"][1:])]]


def check_another_directory(here: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same again elsewhere gives the same bytes."""
    there.mkdir()
    for name in ("raw", "model"):
        (there / name).symlink_to(here / name)
    monkeypatch.chdir(there)
    for line in (PREPARE, EXTRACT, TRAIN, EVALUATE):
        real(there, line)
    for file in (
        "data/manifest.json",
        "cache/manifest.json",
        "runs/text/model.safetensors",
        "runs/text/manifest.json",
        "evaluations/text/ranks.parquet",
        "evaluations/text/metrics.json",
        "evaluations/text/manifest.json",
    ):
        content = (there / file).read_bytes()
        if file == "runs/text/manifest.json":  # its events hold times
            assert json.loads(content)["fingerprint"] == json.loads((here / file).read_bytes())["fingerprint"]
        else:
            assert content == (here / file).read_bytes(), file
