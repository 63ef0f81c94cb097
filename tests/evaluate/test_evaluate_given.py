"""Splits that the raw files bring, in training and evaluation."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from small.data.raw import write_files
from small.train.evaluations import CPU, SMALL
from small.train.runs import csr, walks
from tcf.config.evaluate import EvaluateConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.data.prepare import prepare
from tcf.data.split import leave_one_out
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.train.stage import train

COLUMNS: dict[str, Any] = {
    "items": "items.csv",
    "user_column": "user",
    "item_column": "item",
    "text_columns": ("title",),
    "min_history": 3,
}
PARTS = ["", "train", "valid", "test"]


def prepared(folder: Path, name: str, further: bool = False) -> Dataset:
    """The walks, split by leave-one-out, or by a column that says the same or has further targets."""
    split, rows = leave_one_out(csr(walks())), ["user,item,part"]
    for user, (items, start) in enumerate(zip(walks(), split.starts.tolist(), strict=True)):
        parts = split.event_parts()[start : start + len(items)].tolist()
        again = [part for part in (2, 3) if further and user < 5]
        events = sorted([*zip(items, parts, strict=True), *((7, part) for part in again)], key=lambda event: event[1])
        rows += [f"u{user},i{item},{PARTS[part]}" for item, part in events]
    texts = "item,title\n" + "".join(f"i{item},Text {item}\n" for item in range(30))
    raw = write_files(folder / f"raw-{name}", {"items.csv": texts, "events.csv": "\n".join(rows) + "\n"})
    column = None if name == "rule" else "part"
    return prepare("table", raw, folder / name, PrepareConfig(events=("events.csv",), split_column=column, **COLUMNS))


def test_a_given_split_that_is_leave_one_out_has_its_metrics(tmp_path: Path) -> None:
    found = []
    for name in ("rule", "given"):
        dataset = prepared(tmp_path, name)
        assert dataset.statistics["split"]["kind"] == {"rule": "leave-one-out", "given": "given"}[name]
        train(data=dataset.path, caches=[], out=tmp_path / f"run-{name}", config=TrainConfig(items="id", **SMALL))
        found.append(evaluate_run(tmp_path / f"run-{name}", out=tmp_path / f"e-{name}", config=CPU).metrics)
    assert found[0] == found[1]
    assert 0 < found[0]["hr@10"] < 1


@pytest.mark.usefixtures("shown_log")
@pytest.mark.parametrize("part", ["validation", "test"])
def test_all_of_several_targets_are_evaluated_or_the_first_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: Literal["validation", "test"]
) -> None:
    rule, several = prepared(tmp_path, "rule"), prepared(tmp_path, "several", further=True)
    config = EvaluateConfig(split=part, device="cpu")
    one = evaluate_baseline("popularity", data=rule.path, out=tmp_path / "one", config=config)
    every = evaluate_baseline("popularity", data=several.path, out=tmp_path / "every", config=config)
    assert "further ones are not" not in capsys.readouterr().err
    first = evaluate_baseline(
        "popularity", data=several.path, out=tmp_path / "first", config=replace(config, several_targets="first")
    )
    said = f"5 users have several {part} targets, of which the first is evaluated; 5 further ones are not"
    assert said in capsys.readouterr().err
    assert first.table()["item_id"] == one.table()["item_id"]
    assert {"recall@10"} == {*every.metrics} - {*first.metrics}
    users = [*dict.fromkeys(one.table()["user_id"].to_pylist())]
    assert every.metrics["users"] == first.metrics["users"] == len(users)
    assert every.metrics["targets"] == first.metrics["targets"] + 5
    rows = every.table().to_pylist()
    found: dict[str, list[dict[str, Any]]] = {user: [row for row in rows if row["user_id"] == user] for user in users}
    assert [[row["item_id"] for row in found[user]][1:] for user in users[:6]] == [["i7"]] * 5 + [[]]
    shares = [np.mean([within(row) for row in found[user]]) for user in users]
    assert every.metrics["recall@10"] == pytest.approx(np.mean(shares))


def within(row: dict[str, Any]) -> float:
    """The share of the target's possible positions that are among the first ten."""
    positions = np.arange(row["ties"] + 1) + row["rank"] - row["ties"] / 2
    return float((positions <= 10).mean())


def test_training_validates_all_targets(tmp_path: Path) -> None:
    several = prepared(tmp_path, "several", further=True)
    done = train(
        data=several.path, caches=[], out=tmp_path / "run", config=TrainConfig(items="id", **SMALL | {"epochs": 1})
    )
    config = EvaluateConfig(split="validation", device="cpu")
    found = evaluate_run(done.path, out=tmp_path / "e", config=config)
    assert found.metrics["targets"] == found.metrics["users"] + 5
    for name in ("hr@10", "ndcg@10"):
        assert done.manifest.facts[name] == pytest.approx(found.metrics[name], abs=1e-12)
