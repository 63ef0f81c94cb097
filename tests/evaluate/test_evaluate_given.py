"""Splits that the raw files bring, in training and evaluation."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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
def test_the_first_of_several_targets_is_evaluated_and_the_others_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, several = prepared(tmp_path, "rule"), prepared(tmp_path, "several", further=True)
    said = "users have several {} targets, of which the first is evaluated; 5 further ones are not"
    for part in ("validation", "test"):
        config = EvaluateConfig(split=part, device="cpu")
        evaluate_baseline("popularity", data=rule.path, out=tmp_path / f"r-{part}", config=config)
        assert "users have several" not in capsys.readouterr().err
        evaluate_baseline("popularity", data=several.path, out=tmp_path / f"s-{part}", config=config)
        assert f"5 {said.format(part)}" in capsys.readouterr().err
        targets = [pq.read_table(tmp_path / f"{name}-{part}" / "ranks.parquet")["item_id"] for name in "rs"]
        assert targets[0] == targets[1]
    train(data=several.path, caches=[], out=tmp_path / "run", config=TrainConfig(items="id", **{**SMALL, "epochs": 1}))
    assert f"5 {said.format('validation')}" in capsys.readouterr().err
