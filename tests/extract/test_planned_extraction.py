"""Extractions whose plan does not hold, or that find something beside the cache."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tcf.extract.schedules.load_engine as engines
from small.encoders.families import save_family
from small.extract.extractions import extracted, vectors
from small.extract.sweeps import engine, read, sequences_of
from tcf.common.errors import ModelError
from tcf.data import Dataset
from tcf.encoders.failures import NotSeparableError, not_separable_error
from tcf.extract.plan.estimates import Shortfall
from tcf.extract.plan.plan_inputs import PlanInputs
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.schedules.sweep_pass import ForwardPass

LEAVE = ForwardPass._leave


def inseparable(folder: Any, *arguments: Any, **named: Any) -> Any:
    raise not_separable_error(folder.path, "it is made so")


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model fits as a whole."""
    monkeypatch.setattr("tcf.extract.plan.choose_schedule.shortfall", lambda inputs, candidate: _lacking(candidate))


def _lacking(candidate: Any) -> Shortfall | None:
    return Shortfall("more", "less") if candidate.schedule == "resident" else None


@pytest.mark.usefixtures("shown_log")
def test_what_cannot_be_taken_apart_runs_under_accelerate(
    dataset: Dataset, opt: Path, tmp_path: Path, too_large: None, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(engines, "open_skeleton", inseparable)
    extracted(dataset, opt, tmp_path / "c", schedule="auto")
    said = capfd.readouterr().err
    assert f"extract: {opt}: this model cannot be run block by block (it is made so); pass --schedule" in said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("schedule: ")] == ["sweep", "dispatch"]
    monkeypatch.undo()
    extracted(dataset, opt, tmp_path / "whole")
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), atol=1e-5)


def test_a_sweep_that_was_asked_for_is_not_replaced(
    dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "open_skeleton", inseparable)
    with pytest.raises(NotSeparableError, match="it is made so"):
        extracted(dataset, opt, tmp_path / "c", schedule="sweep")


@pytest.mark.usefixtures("shown_log", "own_home")
def test_shards_are_cut_as_before_when_less_memory_is_left(
    dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Interrupted with all texts in one shard; then the plan, left alone, would take fewer."""
    settings: dict[str, Any] = {"schedule": "sweep", "checkpoint_layers": 1, "tokens_per_batch": 64}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ForwardPass, "_leave", _interrupted_at(3))  # two passes compare prefixes
        extracted(dataset, opt, tmp_path / "c", **settings)
    [kept] = tmp_path.glob(".c.*.sweep")
    assert sorted(path.name for path in kept.rglob("block-*")) == ["block-1"]
    monkeypatch.setattr("tcf.extract.plan.sweep_estimate._macro_batch", lambda inputs, room: _few(inputs))
    extracted(dataset, opt, tmp_path / "c", **settings)
    assert "sweep: resuming with block 2" in capfd.readouterr().err
    assert len(list((tmp_path / "c" / "shards").iterdir())) == 1
    assert not kept.exists()


def _interrupted_at(number: int) -> Callable[[ForwardPass], None]:
    """An end of a forward pass that interrupts the pass of this number."""
    calls: list[int] = []

    def leave(self: ForwardPass) -> None:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        LEAVE(self)

    return leave


def _few(inputs: PlanInputs) -> tuple[int, str]:
    return inputs.config.shard_rows or 8, "memory"


@pytest.mark.usefixtures("shown_log")
def test_unfinished_work_of_other_options_is_named(dataset: Dataset, opt: Path, tmp_path: Path, capfd: Any) -> None:
    other = tmp_path / f".c.{'0a' * 16}.sweep"
    other.mkdir()
    (tmp_path / f".c.d.{'0a' * 16}.sweep").mkdir()  # of a cache named c.d
    (other / "states.bin").write_bytes(bytes(2048))
    extracted(dataset, opt, tmp_path / "c")
    [said] = [line for line in capfd.readouterr().err.splitlines() if "unfinished work" in line]
    assert said.startswith(
        f"tcf: warning: extract: {other} holds 2.0 KiB of unfinished work of another encoder or with "
    )
    assert other.exists()


@pytest.mark.usefixtures("shown_log")
def test_settings_that_are_of_no_use_are_named(dataset: Dataset, opt: Path, tmp_path: Path, capfd: Any) -> None:
    extracted(dataset, opt, tmp_path / "c", checkpoint_layers=2)
    assert "extract: not used: --checkpoint-layers, which needs the sweep schedule; the schedule is resident" in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize("replaced", [False, True])
def test_weights_that_change_while_they_are_read_are_noticed(
    replaced: bool, family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = save_family("opt", tmp_path / "m")
    loaded = engine(path, "sweep", ("disk",) * 3)
    assert isinstance(loaded, SweepEngine)
    read(loaded, sequences_of(path), tmp_path / "s")
    file = sorted(path.glob("*.safetensors"))[0]
    content = file.read_bytes()
    if replaced:
        file.unlink()
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))
    with pytest.raises(ModelError, match=f"{file.name}: expected no change during the run, found one"):
        read(loaded, sequences_of(path), tmp_path / "s")
    loaded.close()


def test_memory_that_runs_out_while_loading_is_told(
    dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: ...")

    monkeypatch.setattr("tcf.extract.schedules.weight_stream.StoredWeightBuffer", none_left)
    with pytest.raises(ModelError, match="out of memory while loading weights .*DefaultCPUAllocator"):
        extracted(dataset, opt, tmp_path / "c", schedule="sweep")
