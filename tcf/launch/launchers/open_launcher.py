"""The launcher of a command or a study: each stage on this machine or on Slurm, as its settings say."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from tcf.config.launch import LaunchConfig
from tcf.config.libraries import require_library
from tcf.launch.launchers.launcher import Launcher
from tcf.launch.launchers.local import LocalLauncher
from tcf.launch.launchers.shares import AT_HOME
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["JoinedLaunchers", "open_launcher", "runs_here"]

_TURN = 0.5  # seconds for which one of two launchers is listened to


def runs_here(stage: Stage, launch: Mapping[Stage, LaunchConfig]) -> bool:
    """Whether units of a stage run on this machine: as set, and always downloads and the tables at the end."""
    return stage in AT_HOME or launch[stage].launcher == "local"


def open_launcher(launch: Mapping[Stage, LaunchConfig], records: Records) -> Launcher:
    """Open the launchers that stages are set to, as one.

    Args:
        launch: settings of all stages.
        records: where records and logs are.

    Raises:
        ConfigError: a stage asks for more than this machine has, or Slurm cannot be used.
        TcfError: the library for Slurm is not installed.
    """
    local = LocalLauncher(launch, records)
    if all(runs_here(stage, launch) for stage in launch):
        return local
    require_library("submitit", "--launcher slurm")
    from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher

    return JoinedLaunchers(local, SlurmLauncher(launch, records), lambda unit: runs_here(unit.stage, launch))


class JoinedLaunchers:
    """Two launchers as one; see `tcf.launch.launchers.launcher.Launcher`.

    Args:
        first: a launcher.
        second: another one.
        is_for_first: whether a unit is for the first one.
    """

    def __init__(self, first: Launcher, second: Launcher, is_for_first: Callable[[Unit], bool]) -> None:
        self._first, self._second, self._is_for_first = first, second, is_for_first
        self._with_first, self._with_second = set[str](), set[str]()

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """See `Launcher`."""
        first = [unit for unit in units if self._is_for_first(unit)]
        second = [unit for unit in units if not self._is_for_first(unit)]
        taken_first = self._first.take(first) if first else ()
        self._with_first.update(unit.name for unit in taken_first)
        taken_second = self._second.take(second) if second else ()
        self._with_second.update(unit.name for unit in taken_second)
        return [*taken_first, *taken_second]

    def ended(self, timeout: float) -> list[UnitEnd]:
        """See `Launcher`."""
        until = time.monotonic() + timeout
        while True:
            found = self._ended_within(max(0.0, until - time.monotonic()))
            if found or time.monotonic() >= until:
                return found

    def _ended_within(self, left: float) -> list[UnitEnd]:
        """The ends of one turn; both are listened to in turns, since they have nothing to wait for in common."""
        if not self._with_first and self._with_second:
            found = self._second.ended(left)
        else:
            found = self._second.ended(0) if self._with_second else []
            found += self._first.ended(0 if found else min(left, _TURN))
        names = {end.unit for end in found}
        self._with_first -= names
        self._with_second -= names
        return found

    def running(self) -> Sequence[str]:
        """See `Launcher`."""
        return [*self._first.running(), *self._second.running()]

    def close(self) -> None:
        """See `Launcher`; each is closed, even if the other cannot be."""
        with ExitStack() as stack:
            stack.callback(self._second.close)
            stack.callback(self._first.close)
