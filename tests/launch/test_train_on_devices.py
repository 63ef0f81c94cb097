"""Training on several devices, which are CPU processes here, by the real command."""

import contextlib
import dataclasses
import io
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.train.groups import in_processes
from small.train.runs import make_cache, make_dataset, walks
from tcf.cli import main
from tcf.common.errors import ConfigError, RunError
from tcf.common.files import is_published
from tcf.config.train import TrainConfig
from tcf.launch import train_on_devices as module
from tcf.launch.train_on_devices import train_on_devices
from tcf.launch.workers.jobs import TrainingJob, decode_message, encode_message
from tcf.launch.workers.local_processes import LocalProcesses, LocalWorker
from tcf.launch.workers.worker import ProcessStarter, WorkerSpec
from tcf.train.parallel import SingleProcess
from tcf.train.run.open_run import open_run
from tcf.train.stage import TrainResult, train

CONFIG = TrainConfig(
    width=16, batch_size=19, devices="cpu,cpu", learning_rate=0.01, dropout=0.0, whiten=6, epochs=25, patience=25
)
PATIENCE = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset `data`, a cache `cache`, and a run `two` of two processes."""
    folder = tmp_path_factory.mktemp("work")
    dataset = make_dataset(folder, walks(), [f"text {i}" for i in range(30)])
    make_cache(folder, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32))
    done = call(folder, "two")
    assert done.trained
    return folder


def call(folder: Path, out: str, config: TrainConfig = CONFIG, inputs: Path | None = None) -> Any:
    inputs = folder if inputs is None else inputs
    return train_on_devices(data=inputs / "data", caches=[inputs / "cache"], out=folder / out, config=config)


def numbers(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors", "epochs.jsonl")}


@pytest.mark.usefixtures("shown_log")
def test_the_run_of_two_processes_is_the_run_of_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = call(tmp_path, "one", dataclasses.replace(CONFIG, devices="cpu"), folder)
    runs = [one.path, folder / "two"]
    epochs = [[*map(json.loads, (run / "epochs.jsonl").read_text().splitlines())] for run in runs]
    assert len(epochs[0]) == 25
    # The first epochs are the same to rounding, which grows from step to step.
    for mine, theirs in zip(*epochs, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=5e-6 if mine["epoch"] <= 10 else 1e-3)
        assert theirs["hr@10"] == pytest.approx(mine["hr@10"], abs=1e-9 if mine["epoch"] <= 10 else 0.05)
    mine, theirs = (open_run(run, device="cpu") for run in runs)
    np.testing.assert_allclose(theirs.item_vectors(), mine.item_vectors(), rtol=1e-2, atol=1e-2)
    assert (theirs.config.devices, theirs.manifest.facts["device"]) == ("cpu,cpu", "cpu,cpu")
    assert theirs.manifest.facts.keys() == mine.manifest.facts.keys()
    # It is there for one device too.
    capsys.readouterr()
    again = call(folder, "two", dataclasses.replace(CONFIG, devices="cpu"))
    assert not again.trained and "already trained" in capsys.readouterr().err


@pytest.mark.usefixtures("shown_log")
def test_one_process_is_killed_and_training_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same call ends with the bytes of a training that nobody disturbed."""
    started: list[LocalWorker] = []
    start_worker = LocalProcesses.start

    def start(self: LocalProcesses, spec: WorkerSpec) -> LocalWorker:
        started.append(start_worker(self, spec))
        return started[-1]

    monkeypatch.setattr(LocalProcesses, "start", start)
    killer = threading.Thread(target=kill_second, args=(folder / "killed" / "epochs.jsonl", started), daemon=True)
    killer.start()
    with pytest.raises(RunError, match=r"^cpu \(process 2 of 2\) was ended by SIGKILL, .*; run the same command again"):
        call(folder, "killed")
    assert [worker.wait(0) is not None for worker in started] == [True, True]
    assert not is_published(folder / "killed")
    # The first process said nothing of its partner's end.
    assert {line.split()[0] for line in capfd.readouterr().err.splitlines()} == {"train:"}
    assert call(folder, "killed").trained
    assert "train: resuming at epoch" in capfd.readouterr().err
    assert numbers(folder / "killed") == numbers(folder / "two")


def kill_second(epochs: Path, started: list[LocalWorker]) -> None:
    """Kill the second process after the first epoch."""
    ends = time.monotonic() + PATIENCE
    while not (epochs.exists() and epochs.read_text().count("\n")) and time.monotonic() < ends:
        time.sleep(0.02)
    started[1].kill()


def test_what_is_refused_is_said_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The run's folder holds an unfinished run of other settings."""
    (folder / "other").mkdir()
    (folder / "other" / "config.toml").write_text((folder / "two" / "config.toml").read_text())
    with pytest.raises(
        RunError, match=f"^{folder / 'other'}: holds an unfinished run of other settings .*width: 16 found"
    ):
        call(folder, "other", dataclasses.replace(CONFIG, width=8))
    assert capfd.readouterr() == ("", "")


def typed(words: list[str]) -> tuple[int, str, str]:
    """What a command printed in a process that another program has started."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["tcf", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("a command ends")


def test_processes_that_torchrun_started(folder: Path, tmp_path: Path) -> None:
    """The first one speaks; the run has the bytes of one whose processes were started here. Again: it is there."""
    words = "--width 16 --batch-size 19 --learning-rate 0.01 --dropout 0 --whiten 6 --epochs 25 --patience 25".split()
    inputs = ["--data", str(folder / "data"), "--cache", str(folder / "cache"), "--out", str(tmp_path / "run")]
    first, second = in_processes(typed, ["train", *inputs, "--devices", "cpu", *words])
    assert (first[0], second) == (0, (0, "", ""))
    assert first[1].startswith("run: ") and first[2].count("epoch ") >= 25
    assert numbers(tmp_path / "run") == numbers(folder / "two")
    assert open_run(tmp_path / "run", device="cpu").config.devices == "cpu,cpu"
    first, second = in_processes(typed, ["train", *inputs, "--devices", "cpu", *words])
    assert "already trained" in first[2] and second == (0, "", "")


def test_a_finished_run_of_several_processes_with_dropout_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each process draws its own, so that the run of one process is another one."""
    dataset = make_dataset(tmp_path, walks(), [f"text {i}" for i in range(30)])
    config = TrainConfig(items="id", epochs=1, devices="cpu,cpu")
    monkeypatch.setattr(module, "run_process_group", lambda *given: pytest.fail("processes were started"))

    def place(devices: str) -> TrainResult | None:
        asked = dataclasses.replace(config, devices=devices)
        return train_on_devices(data=dataset.path, out=tmp_path / "run", config=asked)

    group = module._Unneeded(torch.device("cpu"), "cpu,cpu")
    monkeypatch.setattr(module._Unneeded, "prepare", SingleProcess.prepare)
    assert train(data=dataset.path, out=tmp_path / "run", config=config, group=group).trained
    found = place("cpu,cpu")
    assert found is not None and not found.trained
    with pytest.raises(RunError, match="holds a finished run of other settings .*: number of devices: 2 found"):
        place("cpu")


def typed_on_node(words: list[str], port: int) -> tuple[int, str, str]:
    """What a command printed on a node, whose number is what would be a rank."""
    for name in ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"):
        del os.environ[name]
    os.environ.update(NNODES="2", NODE_RANK=os.environ.pop("RANK"), MASTER_PORT=str(port))
    return typed(words)


def test_two_nodes_train_what_two_processes_of_one_do(folder: Path, tmp_path: Path) -> None:
    """The first one speaks. Other tests are in `test_train_on_nodes.py`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = "--width 16 --batch-size 19 --learning-rate 0.01 --dropout 0 --whiten 6 --epochs 25 --patience 25".split()
    inputs = ["--data", str(folder / "data"), "--cache", str(folder / "cache"), "--out", str(tmp_path / "run")]
    first, second = in_processes(typed_on_node, ["train", *inputs, "--devices", "cpu", *words], port)
    assert (first[0], second[:2]) == (0, (0, "")), first[2] + second[2]
    assert first[1].startswith("run: ") and "epoch" not in second[2]
    assert numbers(tmp_path / "run") == numbers(folder / "two")
    assert open_run(tmp_path / "run", device="cpu").config.devices == "cpu,cpu"


def typed_with_own_data(words: list[str], places: list[str]) -> tuple[int, str, str]:
    """The same, where each process is given a dataset of its own."""
    return typed([*words, "--data", places[int(os.environ["RANK"])]])


@pytest.mark.parametrize("wrong", [0, 1])
def test_every_process_says_its_error_with_its_rank(folder: Path, tmp_path: Path, wrong: int) -> None:
    """One has no dataset; the other one finds that it has gone. Nobody prints a traceback."""
    places = [str(folder / "data"), str(folder / "data")]
    places[wrong] = str(tmp_path / "none")
    words = ["train", "--cache", str(folder / "cache"), "--out", str(tmp_path / "run"), "--devices", "cpu"]
    told = in_processes(typed_with_own_data, words, places)
    assert [code for code, _, _ in told] == [2, 2]
    assert [out for _, out, _ in told] == ["", ""]
    own, others = told[wrong][2].splitlines(), told[1 - wrong][2].splitlines()
    assert own == [
        f"tcf: error: rank {wrong}: {tmp_path / 'none'}: expected a directory of format tcf-dataset made by "
        "`tcf data prepare`, found nothing; run `tcf data prepare` first"
    ]
    gone = f"tcf: error: rank {1 - wrong}: expected every process to continue, found one that has ended"
    assert [line.startswith(gone) for line in others if line.startswith("tcf: error: ")] == [True]


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    defect = RuntimeError("shapes do not match")

    def fail(job: TrainingJob) -> None:
        raise defect

    monkeypatch.setattr(module, "train_as_rank", fail)
    with pytest.raises(RuntimeError) as raised:
        train_on_devices(data=tmp_path, out=tmp_path / "run", config=dataclasses.replace(CONFIG, devices="cpu"))
    assert raised.value is defect


def test_torchrun_says_which_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(
        ConfigError, match="^rank 1: --devices: expected auto, cpu or cuda, .*, found cpu,cpu; leave it out"
    ):
        train_on_devices(data=tmp_path, out=tmp_path / "run", config=CONFIG)


def test_a_job_there_and_back() -> None:
    job = TrainingJob(Path("d"), (Path("c é"), Path("/e\udcff")), Path("r"), CONFIG, threads=3)
    line = encode_message(job.as_message())
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    message = decode_message(line)
    assert message is not None
    assert TrainingJob.from_message(message) == job


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> list[WorkerSpec]:
    """Who would have been started by a process of eight threads; nobody is."""
    found: list[WorkerSpec] = []

    def none(starter: ProcessStarter, specs: list[WorkerSpec]) -> None:
        found.extend(specs)
        raise RunError("not started")

    monkeypatch.setattr(module, "run_process_group", none)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    return found


@pytest.mark.parametrize("crosswise", [True, False])
def test_each_process_is_told_its_device(
    specs: list[WorkerSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, crosswise: bool
) -> None:
    """GPUs that cannot talk to one another directly are spared the try."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(module, "can_reach_other_gpus", lambda: crosswise)
    config = dataclasses.replace(CONFIG, devices="cuda:3, cuda:1,cuda:0")
    with pytest.raises(RunError, match="not started"):
        call(tmp_path, "run", config)
    assert [spec.name for spec in specs] == [f"cuda:{d} (process {n} of 3)" for n, d in ((1, 3), (2, 1), (3, 0))]
    jobs = [spec.job for spec in specs if isinstance(spec.job, TrainingJob)]
    assert all(job.config.devices == "cuda:3,cuda:1,cuda:0" for job in jobs)
    assert [job.threads for job in jobs] == [spec.threads for spec in specs] == [8, 8, 8]
    told = [dict(spec.environment) for spec in specs]
    assert [(t["RANK"], t["LOCAL_RANK"], t["WORLD_SIZE"]) for t in told] == [
        ("0", "0", "3"),
        ("1", "1", "3"),
        ("2", "2", "3"),
    ]
    assert [t["ACCELERATE_TORCH_DEVICE"] for t in told] == ["cuda:3", "cuda:1", "cuda:0"]
    assert len({t["MASTER_PORT"] for t in told}) == 1
    assert [t.get("NCCL_P2P_DISABLE") for t in told] == [None if crosswise else "1"] * 3


@pytest.mark.parametrize(("devices", "processes", "threads"), [("cpu,cpu,cpu", 3, 2), ("cpu", 0, 0), ("auto", 0, 0)])
def test_one_device_needs_no_process(
    specs: list[WorkerSpec],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    devices: str,
    processes: int,
    threads: int,
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(module, "train", lambda **named: trained.append(named["config"].devices))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    try:
        call(tmp_path, "run", dataclasses.replace(CONFIG, devices=devices))
    except RunError:
        assert processes
    assert [spec.threads for spec in specs] == [threads] * processes
    assert trained == ([] if processes else ["cpu"])


def test_another_starter_can_be_handed_in(tmp_path: Path) -> None:
    """And a worker that it cannot start ends the training."""

    class Refusing(LocalProcesses):
        def start(self, spec: WorkerSpec) -> LocalWorker:
            raise OSError(f"no place for {spec.name}")

    with pytest.raises(RunError, match=r"^cpu \(process 1 of 2\): .* cannot be started \(no place for cpu \(pro"):
        train_on_devices(data=tmp_path, out=tmp_path / "run", config=CONFIG, starter=Refusing())
