"""One launcher for all stages, wherever each of them runs."""

import importlib.util
from pathlib import Path

import pytest

from small.launch.units import PretendedLauncher, everywhere, pretended
from tcf.common.errors import TcfError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.local import LocalLauncher
from tcf.launch.launchers.open_launcher import JoinedLaunchers, open_launcher, runs_here
from tcf.launch.launchers.run_units import run_units
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd


def test_where_stages_run() -> None:
    launch = {**everywhere(launcher="slurm"), "evaluate": LaunchConfig()}
    here = {stage for stage in launch if runs_here(stage, launch)}
    assert here == {"download", "compare", "evaluate"}


def test_without_slurm_it_is_this_machine_alone(tmp_path: Path) -> None:
    launcher = open_launcher(everywhere(), Records(tmp_path))
    assert isinstance(launcher, LocalLauncher)
    launcher.close()


def test_the_library_for_slurm_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "submitit" else find(name))
    launch = {**everywhere(), "train": LaunchConfig(launcher="slurm")}
    with pytest.raises(TcfError, match=r'--launcher slurm: .* submitit, .* `pip install "text-cf\[slurm\]"`'):
        open_launcher(launch, Records(tmp_path))


def test_each_launcher_gets_its_own_units_and_both_are_heard(tmp_path: Path) -> None:
    units = [pretended(name, "end", tmp_path) for name in ("a1", "b1", "a2", "b2")]
    units.append(pretended("b3", "end", tmp_path, ["a1", "b1"]))
    first, second = PretendedLauncher(room=1), PretendedLauncher({"b2": [UnitEnd("b2", "lost", "gone")]})
    joined = JoinedLaunchers(first, second, lambda unit: unit.name.startswith("a"))
    results = run_units(units, Records(tmp_path / "records"), joined, tries=2)
    assert results.complete
    assert (first.tries, sorted(second.tries)) == (["a1", "a2"], ["b1", "b2", "b2", "b3"])
    assert (first.closed, second.closed) == (True, True)


def test_both_are_closed_though_one_cannot_be(tmp_path: Path) -> None:
    class Stuck(PretendedLauncher):
        def close(self) -> None:
            raise RuntimeError("stuck")

    second = PretendedLauncher()
    with pytest.raises(RuntimeError, match="stuck"):
        JoinedLaunchers(Stuck(), second, lambda unit: True).close()
    assert second.closed
