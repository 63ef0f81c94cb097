"""What training sees, and what it says of those whom it does not see."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from small.train.runs import make_dataset
from tcf.common.errors import DataError
from tcf.config.train import TrainConfig
from tcf.data.split import Split
from tcf.train.assemble import assemble, batch_rows, training_data
from tcf.train.inputs import Inputs
from tcf.train.validation import Validation


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


def given(folder: Path) -> Inputs:
    """User 0 has three training items, user 1 none but two of context, user 2 one; all have a validation target."""
    histories = [[0, 1, 2, 3], [1, 2, 0], [3, 1]]
    dataset = make_dataset(folder, histories, [f"text {i}" for i in range(4)])
    parts = ([0, 2, 0], [3, 0, 1], [1, 1, 1], [0, 0, 0])
    split = Split(dataset.histories, *(np.array(part, np.int32) for part in parts))
    return Inputs(replace(dataset, split=split), ())


@pytest.mark.parametrize(("untrained_users", "users"), [("keep", [0, 1, 2]), ("leave-out", [0, 2])])
@pytest.mark.usefixtures("shown_log")
def test_untrained_users_are_counted_in_validation_and_left_out_on_request(
    untrained_users: Literal["keep", "leave-out"],
    users: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inputs = given(tmp_path)
    config = TrainConfig(items="id", width=4, backbone="dssm", untrained_users=untrained_users)
    data = training_data(inputs, config)
    validation = assemble(inputs, data, {}, config, torch.device("cpu")).validation
    assert validation is not None
    assert (data.users.tolist(), data.left_out) == ([0, 2], 1)
    assert validation.users.tolist() == users
    assert validation.targets.items.tolist() == [[3, 0, 1][user] for user in users]
    assert [validation.seen.of(place).tolist() for place in range(len(users))] == [
        [[0, 1, 2], [1, 2], [3]][user] for user in users
    ]
    said = capsys.readouterr().err
    assert "1 of 3 users have no training item, so that the model represents them by random numbers" in said
    assert "validation: 1 of 3 users have no training item" in said and f"--untrained-users {untrained_users}\n" in said


def test_a_tower_of_histories_leaves_nobody_out_of_validation(tmp_path: Path) -> None:
    inputs = given(tmp_path)
    config = TrainConfig(items="id", width=4, backbone="dssm", user_tower="history")
    setup = assemble(inputs, training_data(inputs, config), {}, config, torch.device("cpu"))
    assert setup.validation is not None
    assert setup.data.users.tolist() == [0] and setup.validation.users.tolist() == [0, 1, 2]


def test_validation_of_untrained_users_alone_is_refused(tmp_path: Path) -> None:
    validation = Validation.build(given(tmp_path).dataset.split, 5)
    with pytest.raises(DataError, match="found 3 of others alone; .*--untrained-users keep"):
        validation.among(np.zeros(3, np.bool_))


@pytest.mark.usefixtures("shown_log")
def test_first_items_of_a_tower_that_reads_earlier_ones_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path, [[0, 1, 2, 3], [3, 2, 1, 0, 2]], [f"text {i}" for i in range(4)])
    config = TrainConfig(items="id", backbone="dssm", user_tower="history", tower_reads="earlier")
    data = training_data(Inputs.open("id", tmp_path / "data", ()), config)
    said = capsys.readouterr().err
    assert said == "2 of 5 training items have no earlier item to read and are no targets\n"
    assert batch_rows(config, data).n_targets == 3
