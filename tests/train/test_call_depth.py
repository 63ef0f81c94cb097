"""How many of our functions stand between the command and the training step."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from small.stacks import OwnFunctions, functions_between, noting_stack
from tcf.commands.app import app
from tcf.train.trainer import Trainer

MOST = 8


def test_few_functions_lead_from_the_command_to_the_step(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `train_command` down to `Trainer.step`, both counted."""
    stacks: list[OwnFunctions] = []
    monkeypatch.setattr(Trainer, "step", noting_stack(Trainer.step, stacks))
    line: list[Any] = ["train", "--items", "id", "--data", made / "data", "--out", tmp_path / "run", "--devices", "cpu"]
    line += ["--epochs", 1, "--width", 8, "--blocks", 1, "--heads", 1]
    done = CliRunner().invoke(app, [*map(str, line)])
    assert done.exit_code == 0, done.output
    [functions] = functions_between(stacks, "train_command", within=".train_command")
    assert functions[0] == "tcf.commands.train.train_command"
    assert len(functions) + 1 <= MOST, "\n".join([*functions, "Trainer.step"])
