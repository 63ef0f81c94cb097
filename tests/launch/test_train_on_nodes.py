"""Training on several nodes, which are processes of this machine here, by the real command."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import tcf
from small.launch.waiting import wait_for
from small.train.runs import make_cache, make_dataset, walks
from tcf.config.fields import typed_options
from tcf.config.train import TrainConfig
from tcf.launch.train_on_devices import train_on_devices

pytestmark = pytest.mark.skipif(
    os.environ.get("TCF_CLUSTER") != "all", reason="takes minutes; set TCF_CLUSTER=all, as `make test-cluster` does"
)
CONFIG = TrainConfig(width=16, batch_size=19, learning_rate=0.01, whiten=6, epochs=12, patience=12, devices="cpu")
PATIENCE = 120.0
# A node counts as lost after three seconds of silence.
PROGRAM = "import sys; from tcf.launch import nodes; nodes._SILENCE = 3.0; from tcf.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset `data`, a cache `cache`, and a run `one` of two processes of one node."""
    folder = tmp_path_factory.mktemp("work")
    dataset = make_dataset(folder, walks(), [f"text {i}" for i in range(30)])
    make_cache(folder, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32))
    config = dataclasses.replace(CONFIG, devices="cpu,cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.get_num_threads", lambda: 2)
        assert train_on_devices(data=folder / "data", caches=[folder / "cache"], out=folder / "one", config=config)
    return folder


@dataclasses.dataclass(frozen=True)
class Started:
    """The commands of two nodes, and where their standard errors go."""

    processes: list["subprocess.Popen[str]"]
    errors: list[Path]

    def ended(self) -> list[tuple[int, str, str]]:
        """Status, output and standard error of each."""
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in self.processes]
        return [
            (process.returncode, out, errors.read_text())
            for process, out, errors in zip(self.processes, outputs, self.errors, strict=True)
        ]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(opened: ExitStack, folder: Path, out: Path, *settings: TrainConfig) -> Started:
    """Start the command on both nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Started([], [])
    for rank, config in enumerate(settings):
        own = {"NNODES": "2", "NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        paths = {"PYTHONPATH": str(Path(tcf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        words = ["train", "--data", str(folder / "data"), "--cache", str(folder / "cache"), "--out", str(out)]
        errors = out.with_name(f"{out.name}.{rank}")
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words, *typed_options(config)],
            stdout=subprocess.PIPE,
            stderr=opened.enter_context(errors.open("w")),
            env={**os.environ, **paths, **own},
            text=True,
        )
        opened.callback(process.wait)
        opened.callback(process.kill)
        started.processes.append(process)
        started.errors.append(errors)
    return started


def numbers(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors", "epochs.jsonl")}


def test_two_nodes_train_what_two_processes_of_one_do(folder: Path, tmp_path: Path, opened: ExitStack) -> None:
    first, second = start(opened, folder, tmp_path / "run", CONFIG, CONFIG).ended()
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert first[1].startswith(f"run: {tmp_path / 'run'}") and second[1] == ""
    assert numbers(tmp_path / "run") == numbers(folder / "one")
    manifests = [(run / "config.toml").read_text() for run in (tmp_path / "run", folder / "one")]
    assert 'devices = "cpu,cpu"' in manifests[0] and 'devices = "cpu,cpu"' in manifests[1]
    first, second = start(opened, folder, tmp_path / "run", CONFIG, CONFIG).ended()
    assert (first[0], second[0]) == (0, 0)
    assert "already trained" in first[2] and "epoch" not in second[2]


@pytest.mark.parametrize("killed", [0, 1])
def test_a_node_is_lost_and_the_same_command_goes_on(
    folder: Path, tmp_path: Path, opened: ExitStack, killed: int
) -> None:
    """The other one names it. Afterwards the run has the bytes of one that nobody disturbed."""
    out = tmp_path / "run"
    started = start(opened, folder, out, CONFIG, CONFIG)
    wait_for(lambda: (out / "epochs.jsonl").exists() and (out / "epochs.jsonl").read_text(), patience=PATIENCE)
    started.processes[killed].kill()
    ended = started.ended()
    assert ended[killed][0] == -signal.SIGKILL
    status, printed, said = ended[1 - killed]
    assert (status, printed) == (2, "")
    [error] = [line for line in said.splitlines() if line.startswith("tcf: error: ")]
    assert re.search(
        rf"error: node {killed} \([^)]+\) has ended or does not answer, .*run the same command again", error
    )
    assert not (out / "manifest.json").exists()
    first, second = start(opened, folder, out, CONFIG, CONFIG).ended()
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "train: resuming at epoch" in first[2]
    assert numbers(out) == numbers(folder / "one")


def test_an_error_of_one_node_ends_all_and_is_said_by_all(folder: Path, tmp_path: Path, opened: ExitStack) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.toml").write_text((folder / "one" / "config.toml").read_text())
    wide = dataclasses.replace(CONFIG, width=8)
    first, second = start(opened, folder, out, wide, wide).ended()
    assert (first[0], second[0]) == (2, 2)
    assert re.search(rf"tcf: error: {out}: holds an unfinished run of other settings .*width: 16 found", first[2])
    assert re.search(rf"tcf: error: node 0 \([^)]+\) failed \({out}: holds an unfinished run", second[2])
