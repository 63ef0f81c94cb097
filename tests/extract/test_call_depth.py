"""How many of our functions stand between the command and the language model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import OPTModel
from typer.testing import CliRunner

from small.stacks import OwnFunctions, functions_between, noting_stack
from tcf.cli import app
from tcf.data import Dataset
from tcf.launch.independent_workers import IndependentWorkers

MOST = 8


@pytest.mark.parametrize("layers", ["-1", "0,1,-1"])
@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_few_functions_lead_from_the_command_to_the_models_forward(
    dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: str, layers: str
) -> None:
    """From `extract_command` down to the function that calls the model, both counted."""
    stacks: list[OwnFunctions] = []
    monkeypatch.setattr(OPTModel, "forward", noting_stack(OPTModel.forward, stacks))
    monkeypatch.setattr(IndependentWorkers, "start", lambda *arguments: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    line: list[Any] = ["extract", "--data", dataset.path, "--model", opt, "--out", tmp_path / "c", "--layers", layers]
    line += ["--schedule", "resident", "--devices", devices, "--tokens-per-batch", 64, "--shard-rows", 20]
    done = CliRunner().invoke(app, [*map(str, line)])
    assert done.exit_code == 0, done.output
    [functions] = functions_between(stacks, "extract_command", within=".ResidentEngine.encode")
    assert functions[0] == "tcf.commands.extract.extract_command"
    assert functions[-1] == "tcf.encoders.encoder.TransformersEncoder.states"
    assert len(functions) <= MOST, "\n".join(functions)
