"""The protocol of launchers: they run units somewhere, and say how each try ended.

A launcher has no policy: what runs next, how often it is tried and what follows from failures is decided by
`tcf.launch.launchers.run_units`, for all launchers. What a launcher knows is lost with its process; what has been done
is known from records and outputs, so a new process goes on.
"""

from collections.abc import Sequence
from typing import Protocol

from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.unit import Unit

__all__ = ["Launcher"]


class Launcher(Protocol):
    """Runs units whose needs are met."""

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Begin as many of these units as there is room for, and return them; returns before they have run.

        Args:
            units: units that can run now; those not taken are offered again, and so may be one whose try has ended.

        Raises:
            TcfError: they cannot be run at all.
        """

    def ended(self, timeout: float) -> list[UnitEnd]:
        """Wait until tries of units that were taken have ended, and return how; nothing after the timeout.

        It waits as long if none were taken, since others may be at what is left.

        Args:
            timeout: in seconds.
        """

    def running(self) -> Sequence[str]:
        """Names of the units that have begun and not ended."""

    def close(self) -> None:
        """End what still runs here; jobs of a scheduler that should outlive this process are left to it."""
