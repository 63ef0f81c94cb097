"""What a plan says beforehand, beside what a real process then takes: memory, bytes of weights, bytes of output."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import OPTConfig, OPTModel

import tcf
from small.encoders.models import made_up_texts, save_byte_pairs, save_dataset

TEXTS = 150
MIB = 2**20
WITH_FAULTS = pytest.mark.skipif(os.environ.get("TCF_FAULTS") != "all", reason="takes a minute: `make faults` runs it")
# The command, which says at its end how many bytes of weights it has read.
COUNTED = """
import sys
from tcf.cli import main
from tcf.extract import stage

engines, load = [], stage.load_engine

def load_engine(*given):
    engines.append(load(*given))
    return engines[-1]

stage.load_engine = load_engine
try:
    main()
finally:
    print(f"bytes read: {engines[0].stream.bytes_read}")
"""


@dataclass(frozen=True)
class Measured:
    """What a process took.

    Attributes:
        peak: most memory that no file backs, in bytes.
        bytes_read: of weights.
    """

    peak: int
    bytes_read: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model `m` of 59 million parameters in 12 blocks, and a dataset `d`."""
    folder = tmp_path_factory.mktemp("measured")
    config = OPTConfig(
        vocab_size=400,
        hidden_size=640,
        word_embed_proj_dim=640,
        num_hidden_layers=12,
        num_attention_heads=10,
        ffn_dim=2560,
        max_position_embeddings=64,
    )
    kind: Any = OPTModel
    model = kind._from_config(config, dtype=torch.bfloat16)
    assert 59e6 < sum(weight.numel() for weight in model.parameters()) < 60e6
    model.save_pretrained(folder / "m")
    save_byte_pairs(folder / "m")
    save_dataset(folder / "d", made_up_texts(TEXTS))
    return folder


def started(words: list[str], folder: Path, *options: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(tcf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    common = ["--model", str(folder / "m"), "--data", str(folder / "d"), "--devices", "cpu", "--dtype", "bfloat16"]
    command = [sys.executable, *words, *common, "--schedule", "sweep", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def planned(folder: Path, *options: str) -> Any:
    process = started(["-m", "tcf.cli", "plan", "--json"], folder, *options)
    printed, said = process.communicate()
    assert process.returncode == 0, said
    return json.loads(printed)


def measured(folder: Path, out: Path, *options: str) -> Measured:
    process = started(["-c", COUNTED, "extract", "--out", str(out)], folder, *options)
    peak = 0
    while process.poll() is None:
        peak = max(peak, unbacked(process.pid))
        time.sleep(0.005)
    printed, said = process.communicate()
    assert process.returncode == 0, said
    return Measured(peak, int(printed.splitlines()[-1].removeprefix("bytes read: ")))


def unbacked(pid: int) -> int:
    """Anonymous and shared memory of a process, in bytes; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    """The plan with all the memory that there is."""
    return planned(folder)


@pytest.mark.parametrize("rows", [30, pytest.param(None, marks=WITH_FAULTS)])
def test_a_sweep_takes_what_its_plan_says(rows: int | None, plain: Any, folder: Path, tmp_path: Path) -> None:
    options: list[str] = []
    if rows is not None:
        # Several macro-batches, with memory for some of the blocks.
        base = plain["memory_parts"]["cpu"]["base"]
        options = ["--shard-rows", str(rows), "--max-memory", f"cpu={base + 85 * MIB}"]
    plan = planned(folder, *options) if options else plain
    found = measured(folder, tmp_path / "c", *options)
    assert plan["schedule"] == "sweep" and plan["macro_batches"] == (1 if rows is None else TEXTS // rows)
    kinds = {place for part, place in plan["places"].items() if part != "around"}
    assert kinds == ({"disk"} if rows is None else {"cpu", "disk"})
    assert found.bytes_read == plan["weight_bytes_read"]
    if rows is not None:
        assert plan["checkpoint_bytes"] * 2 < found.bytes_read < plan["checkpoint_bytes"] * plan["macro_batches"]
    assert found.peak == pytest.approx(plan["peak_memory_bytes"]["cpu"], rel=0.15)
    written = sum(file.stat().st_size for file in (tmp_path / "c").rglob("*") if file.is_file())
    assert written == pytest.approx(plan["output_bytes"], rel=0.1)
