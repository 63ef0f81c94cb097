"""Units of a single command: where their state is, and what becomes of the command if one fails."""

from collections.abc import Sequence
from pathlib import Path

from tcf.common.errors import RunError
from tcf.common.files import check_destination
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.open_launcher import open_launcher
from tcf.launch.launchers.run_units import UnitResults, check_results, run_units
from tcf.launch.units.records import Records
from tcf.launch.units.unit import STAGES, Unit

__all__ = ["run_command_units", "state_folder", "try_command_units"]


def state_folder(out: Path) -> Path:
    """The folder of the records and logs of a command's units: `OUT.jobs`, beside its output."""
    place = out.absolute()
    return place.with_name(f"{place.name}.jobs")


def try_command_units(
    units: Sequence[Unit], config: LaunchConfig, out: Path, *, kept: Sequence[str] = ()
) -> tuple[UnitResults, Records]:
    """Run the units of a command.

    That a unit was done by an earlier command is not believed, unless the caller says so: inputs may have changed
    since, or the output may have been removed. A stage finds by itself what is there.

    Args:
        units: the units, with absolute paths.
        config: where and how they run.
        out: the command's output.
        kept: names of units that count as done if their records say so.

    Returns:
        What has become of them, and where their logs are.

    Raises:
        ConfigError: they cannot be run as the settings say.
        RunError: `out` cannot be written, or no process can be started.
    """
    check_destination(out)
    records = Records(state_folder(out))
    for unit in units:
        if unit.name not in kept and records.state(unit) == "done":
            records.file(unit.name).unlink(missing_ok=True)
    launcher = open_launcher(dict.fromkeys(STAGES, config), records)
    return run_units(units, records, launcher, tries=config.tries), records


def run_command_units(
    units: Sequence[Unit], config: LaunchConfig, out: Path, again: str, *, kept: Sequence[str] = ()
) -> UnitResults:
    """The same, where each unit must be done.

    Args:
        units: the units, with absolute paths.
        config: where and how they run.
        out: the command's output.
        again: the command line, for messages.
        kept: names of units that count as done if their records say so.

    Raises:
        RunError: a unit was given up; with the words of its own error if it is the only one.
        TcfError: see `try_command_units`.
    """
    results, records = try_command_units(units, config, out, kept=kept)
    try:
        check_results(results, records, again)
    except RunError:
        if len(units) > 1:
            raise
        [reason] = results.failed.values()
        raise RunError(reason) from None
    return results
