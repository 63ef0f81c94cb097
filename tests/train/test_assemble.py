"""What training sees, and what it says of those whom it does not see."""

from pathlib import Path
from typing import Any

import pytest

from small.train.runs import make_dataset
from tcf.config.train import TrainConfig
from tcf.train.assemble import batch_rows, training_data
from tcf.train.inputs import Inputs


@pytest.mark.parametrize(
    ("settings", "left_out", "rows", "reason"),
    [
        ({}, 3, 2, "fewer than two training items and so no target"),
        ({"backbone": "dssm"}, 1, 7, "no training item, so that the model represents them by random numbers"),
        ({"backbone": "dssm", "user_tower": "history"}, 3, 5, "fewer than two training items and so no target"),
    ],
)
@pytest.mark.usefixtures("shown_log")
def test_users_without_a_target_are_counted_and_said_for_every_backbone(
    settings: dict[str, Any], left_out: int, rows: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Less the last two items, users 0 and 1 have two and three training items; users 2 and 3 one; user 4 none."""
    histories = [[0, 1, 2, 3], [3, 2, 1, 0, 2], [1, 2, 3], [0, 3, 2], [0, 1]]
    make_dataset(tmp_path, histories, [f"text {i}" for i in range(4)])
    config = TrainConfig(items="id", **settings)
    data = training_data(Inputs.open("id", tmp_path / "data", ()), config)
    assert data.left_out == left_out
    said = capsys.readouterr().err
    assert said == f"{left_out} of 5 users have {reason}; they are left out of training\n"
    assert len(batch_rows(config, data)) == rows


@pytest.mark.usefixtures("shown_log")
def test_nothing_is_said_where_everybody_has_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset(tmp_path, [[0, 1, 2, 3], [3, 2, 1, 0]], [f"text {i}" for i in range(4)])
    assert training_data(Inputs.open("id", tmp_path / "data", ()), TrainConfig(items="id")).left_out == 0
    assert capsys.readouterr().err == ""
