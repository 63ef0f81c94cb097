"""A launcher whose units run in the process of the test, so that nothing has to be started or imported anew."""

from collections.abc import Mapping, Sequence

import pytest

from tcf.config.launch import LaunchConfig
from tcf.launch.launchers import run_command
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd, run_unit
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["InThisProcess", "launched_here"]


class InThisProcess:
    """Runs units one after the other; see `tcf.launch.launchers.launcher.Launcher`.

    Attributes:
        launch: settings of all stages.
        ran: what has been run, in order.
    """

    def __init__(self, launch: Mapping[Stage, LaunchConfig], records: Records) -> None:
        self.launch, self.ran = launch, list[Unit]()
        self._records, self._waiting = records, list[Unit]()

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        self._waiting.extend(units)
        return units

    def ended(self, timeout: float) -> list[UnitEnd]:
        unit = self._waiting.pop(0)
        self.ran.append(unit)
        return [run_unit(unit, self._records, "job 1")]

    def running(self) -> Sequence[str]:
        return [unit.name for unit in self._waiting]

    def close(self) -> None:
        pass


def launched_here(monkeypatch: pytest.MonkeyPatch) -> list[InThisProcess]:
    """Let units of commands run in this process, whatever their launcher; returns the launchers of later commands."""
    opened: list[InThisProcess] = []

    def open_here(launch: Mapping[Stage, LaunchConfig], records: Records) -> InThisProcess:
        opened.append(InThisProcess(launch, records))
        return opened[-1]

    monkeypatch.setattr(run_command, "open_launcher", open_here)
    return opened
