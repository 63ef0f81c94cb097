"""How many of our functions stand between the public function, which the command calls, and the language model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import OPTModel
from transformers.models.opt.modeling_opt import OPTDecoderLayer
from typer.testing import CliRunner

from small.stacks import OwnFunctions, functions_between, noting_stack
from tcf.commands.app import app
from tcf.data import Dataset
from tcf.launch.workers.independent_workers import IndependentWorkers

MOST = 8


def of_shards(stacks: list[OwnFunctions]) -> list[OwnFunctions]:
    """The stacks of what is computed for shards, without those of the comparison before the first."""
    found = [stack for stack in stacks if not any(".shares_prefixes" in name for name in stack)]
    assert found
    return found


def extract_by_command(dataset: Dataset, model: Path, out: Path, **options: Any) -> None:
    line: list[Any] = ["extract", "--data", dataset.path, "--model", model, "--out", out]
    for name, value in {"tokens_per_batch": 64, "shard_rows": 20, **options}.items():
        line += [f"--{name.replace('_', '-')}", value]
    done = CliRunner().invoke(app, [*map(str, line)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("layers", ["-1", "0,1,-1"])
@pytest.mark.parametrize(
    ("schedule", "devices"),
    [("resident", "cpu"), ("resident", "cpu,cpu"), ("dispatch", "cpu"), ("dispatch", "cpu,cpu")],
)
def test_few_functions_lead_from_the_public_function_to_the_models_forward(
    schedule: str,
    devices: str,
    layers: str,
    dataset: Dataset,
    opt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From `extract_vectors` down to the function that calls the model, both counted."""
    stacks: list[OwnFunctions] = []
    monkeypatch.setattr(OPTModel, "forward", noting_stack(OPTModel.forward, stacks))
    monkeypatch.setattr(IndependentWorkers, "start", lambda *arguments: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    extract_by_command(dataset, opt, tmp_path / "c", schedule=schedule, devices=devices, layers=layers)
    [functions] = functions_between(of_shards(stacks), "extract_command", within=".ResidentEngine.encode")
    assert functions[:2] == ("tcf.commands.extract.extract_command", "tcf.api.extraction.extract_vectors")
    assert functions[-2:] == ("tcf.encoders.encoder.TransformersEncoder.states", "tcf.encoders.blocks.last_states")
    assert len(functions) - 1 <= MOST, "\n".join(functions)


@pytest.mark.parametrize("layers", ["-1", "0,1,-1"])
def test_few_functions_lead_from_the_public_function_to_a_block_of_a_sweep(
    layers: str, dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `extract_vectors` down to the function that calls a block, both counted; on one device, in one thread."""
    stacks: list[OwnFunctions] = []
    monkeypatch.setattr(OPTDecoderLayer, "forward", noting_stack(OPTDecoderLayer.forward, stacks))
    extract_by_command(dataset, opt, tmp_path / "c", schedule="sweep", devices="cpu", layers=layers)
    [functions] = functions_between(of_shards(stacks), "extract_command", within=".BlockwiseForward.run")
    assert functions[:2] == ("tcf.commands.extract.extract_command", "tcf.api.extraction.extract_vectors")
    assert functions[-1] == "tcf.encoders.split.blockwise_forward.BlockwiseForward.run"
    assert len(functions) - 1 <= MOST, "\n".join(functions)


@pytest.mark.parametrize(
    ("schedule", "devices", "thread"),
    [
        ("sweep", "cpu,cpu", ["ForwardPass.run", "BlockwiseForward.run"]),
        ("pipeline", "cpu,cpu", ["PipelineEngine._run", "BlockwiseForward.run"]),
    ],
)
def test_a_thread_for_each_device_begins_two_functions_above_a_block(
    schedule: str,
    devices: str,
    thread: list[str],
    dataset: Dataset,
    opt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipeline, and a sweep over several devices, run blocks in threads of their own, below no command."""
    stacks: list[OwnFunctions] = []
    monkeypatch.setattr(OPTDecoderLayer, "forward", noting_stack(OPTDecoderLayer.forward, stacks))
    extract_by_command(dataset, opt, tmp_path / "c", schedule=schedule, devices=devices)
    [functions] = {stack for stack in stacks if stack[-1].endswith(".BlockwiseForward.run")}
    assert [".".join(name.rsplit(".", 2)[1:]) for name in functions] == thread
