"""The command that checks the installation and the machine, and removes stored files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tcf.commands.options import JsonOption
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError

if TYPE_CHECKING:
    from tcf.doctor.entries import Clean, Entry

__all__ = ["doctor_command"]


def doctor_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER", help="Also list datasets, caches, runs and unfinished work in these folders."),
    ] = None,
    clean: Annotated[
        Literal["partial", "models", "datasets", "remembered", "all"] | None,
        typer.Option(
            "--clean",
            help="Remove what can be downloaded or computed again: unfinished downloads and half-written files "
            "(partial), models, datasets, results of calibration runs and checksums (remembered), or all.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --clean: remove without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show versions, devices, memory, disk space and stored files, and report problems.

    The exit status is 1 if there is a problem. --clean lists what it would remove, and asks before it removes anything
    unless --yes is given. It removes nothing that is in use, and only files that tcf has downloaded or written.

    Examples:
        tcf doctor
        tcf doctor runs caches --json
        tcf doctor --clean partial
    """
    from tcf.doctor.examine import examine

    if clean is not None:
        _clean(folders or [], clean, yes, as_json)
        return
    if yes:
        raise ConfigError("--yes: expected with --clean, found alone")
    found = examine(folders or [])
    print_result(found.as_json(), as_json=as_json, text=found.summary())
    if found.problems:
        raise typer.Exit(1)


def _clean(folders: list[Path], clean: "Clean", yes: bool, as_json: bool) -> None:
    """List what can be removed, ask, and remove it; with --json and without --yes, nothing is removed."""
    from tcf.common.units import as_bytes
    from tcf.doctor.entries import CLEAN, remove, selected
    from tcf.doctor.examine import entry_values, list_entries, render_entries
    from tcf.doctor.leftovers import open_files

    stored, found = list_entries(folders)
    chosen = selected([*stored, *(entry for entries in found.values() for entry in entries)], clean)
    if not as_json:
        print_result(chosen, as_json=False, text=render_entries(f"{CLEAN[clean]}, to be removed", chosen))
    agreed = yes or (bool(chosen) and not as_json and _agreed())
    in_use = open_files() if agreed and chosen else frozenset[str]()
    removed = [entry for entry in chosen if agreed and remove(entry, in_use)]
    freed = sum(entry.bytes for entry in removed)
    result = {
        "to_be_removed": [entry_values(entry) for entry in chosen],
        "removed": [entry.path for entry in removed],
        "freed_bytes": freed,
    }
    lines = [f"kept, because it is in use or cannot be removed: {entry.path}" for entry in _kept(chosen, removed)]
    lines = [*lines, f"{len(removed):,} removed, {as_bytes(freed)} freed"] if agreed and chosen else ["nothing removed"]
    print_result(result, as_json=as_json, text="\n".join(lines))


def _kept(chosen: "list[Entry]", removed: "list[Entry]") -> "list[Entry]":
    return [entry for entry in chosen if entry not in removed]


def _agreed() -> bool:
    """Ask the user, and return whether to remove the files."""
    try:
        return typer.confirm("Remove them?", err=True)
    except typer.Abort:
        raise ConfigError("--clean: expected an answer, found none; pass --yes to remove without a question") from None
