"""The state of an unfinished training, and whose it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from small.train.runs import make_dataset, walks
from small.train.trainings import SMALL, TEXTS, Train, same, stopped
from tcf.common.errors import RunError
from tcf.common.files import is_published
from tcf.config.train import TrainConfig
from tcf.train.run.epoch_log import Epoch
from tcf.train.stage import train


@pytest.mark.parametrize("damage", ["cut", "nothing", "flipped", "foreign", "header"])
def test_a_damaged_state_is_refused_with_what_to_do(
    run_train: Train, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    undisturbed = run_train("undisturbed")
    path = stopped(run_train, monkeypatch)
    state = path / "state.safetensors"
    content = state.read_bytes()
    match damage:
        case "cut":
            state.write_bytes(content[:-5])
        case "nothing":
            state.write_bytes(b"")
        case "flipped":
            state.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
        case "foreign":
            shutil.copy(undisturbed.path / "model.safetensors", state)
        case "header":
            state.write_bytes(content.replace(b'\\"steps\\"', b'\\"stops\\"').replace(b"epochs", b"apochs"))
    before = state.read_bytes()
    with pytest.raises(RunError, match=r"state\.safetensors: .*remove it to train from the beginning"):
        run_train("killed")
    assert state.read_bytes() == before
    state.unlink()
    same(run_train("killed"), undisturbed)


def test_a_state_of_other_inputs_is_refused(run_train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The dataset was prepared anew at the same place."""
    path = stopped(run_train, monkeypatch)
    shutil.rmtree(tmp_path / "data")
    make_dataset(tmp_path, walks()[:-1], TEXTS)
    config = TrainConfig(**SMALL)
    with pytest.raises(RunError, match="expected the state of this run.*inputs or tcf have changed.*remove it"):
        train(data=tmp_path / "data", caches=(tmp_path / "cache",), out=path, config=config)


def test_the_state_is_gone_when_the_run_is_there(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a kill came right after the manifest: then the next look removes it."""
    path = run_train().path
    names = sorted(p.name for p in path.iterdir())
    assert "state.safetensors" not in names
    assert ".training.claim" not in names
    assert {*json.loads((path / "manifest.json").read_text())["files"]} == {
        str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != "manifest.json"
    }
    manifest = (path / "manifest.json").read_bytes()
    (path / "state.safetensors").write_bytes(b"left")
    (path / ".training.claim").write_text("{}")
    os.utime(path / ".training.claim", (0, 0))
    assert not run_train().trained
    assert sorted(p.name for p in path.iterdir()) == names
    assert (path / "manifest.json").read_bytes() == manifest


def test_what_the_state_holds(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stopped(run_train, monkeypatch)
    with safe_open(path / "state.safetensors", "pt") as state:
        about = json.loads(state.metadata()["tcf"])
        names = {*state.keys()}
    assert [epoch["number"] for epoch in about["epochs"]] == [1]
    assert list(about["epochs"][0]) == ["number", "loss", "hr", "ndcg", "examples_per_second"]
    assert about["pass"] is None
    assert {name.partition(".")[0] for name in names} == {"model", "optimizer"}
    model = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    moments = {f"optimizer.{name}.{part}" for name in model for part in ("step", "exp_avg", "exp_avg_sq")}
    assert names == moments | {f"model.{name}" for name in model}
    assert (path / "state.safetensors").stat().st_mode == (path / "config.toml").stat().st_mode


HOLD = """
import sys, time
from pathlib import Path
from tcf.train.run.run_folder import RunFolder
with RunFolder(Path(sys.argv[1]), {}, {}, {}).held():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_refused_while_the_first_lives(run_train: Train, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        files = sorted(p.name for p in (tmp_path / "run").iterdir())
        try:
            with pytest.raises(RunError, match="no other process is training, found one that is; wait for it"):
                run_train()
            assert sorted(p.name for p in (tmp_path / "run").iterdir()) == files == [".training.claim"]
        finally:
            process.kill()
    assert run_train().trained
    assert is_published(tmp_path / "run")


def test_who_has_lost_the_folder_stops(run_train: Train, tmp_path: Path) -> None:
    """Another machine has taken this process for dead."""

    def taken(epoch: Epoch, goes_on: bool) -> None:
        (tmp_path / "run" / ".training.claim").write_text('{"machine": "another", "pid": 1}')

    with pytest.raises(RunError, match="found one that is; wait"):
        run_train(epochs=3, watch=taken)
    assert (tmp_path / "run" / ".training.claim").read_text() == '{"machine": "another", "pid": 1}'
